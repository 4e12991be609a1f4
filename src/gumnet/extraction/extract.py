"""Particles cut out of tomograms at picked places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import torch

from gumnet.errors import InputError
from gumnet.extraction.window import background, cut, inside, normalised, share_outside
from gumnet.geometry.wedge import missing_wedge
from gumnet.io.picks import Picks
from gumnet.io.relion import CTF_IMAGE, IMAGE, PARTICLE_NAME, TOMOGRAMS_FILE
from gumnet.io.relion_optics import PREMULTIPLIED
from gumnet.io.relion_pose_table import BINNING, CENTRED, CLASS, COORDINATES, HALF_SET, MICROGRAPH, TILT_PIXEL
from gumnet.io.relion_poses import ORIGINS_LONG, ORIGINS_PIXELS, SUBTOMOGRAM_ANGLES
from gumnet.io.relion_table import labels
from gumnet.io.tomogram_files import bare_name
from gumnet.io.tomogram_volume import Tomogram
from gumnet.io.tomograms import NAME
from gumnet.particles import Particles, Poses, SharedWeights
from gumnet.types import Rotations, Vectors, Volume, Volumes

if TYPE_CHECKING:
    import pandas as pd

Edge = Literal["skip", "pad"]
PADDED = "gumnetPadded"
"""Column with the share of each box, 0 to 1, that lay outside its tomogram and was filled with the mean."""
BACKGROUND_OF_BOX = 0.75
"""The background is outside a sphere of this part of the box in diameter, unless given."""
_STALE = (IMAGE, CTF_IMAGE, "rlnTomoVisibleFrames", *SUBTOMOGRAM_ANGLES, *ORIGINS_LONG, *ORIGINS_PIXELS)
"""Columns of particles that were extracted before, which are no longer true of the new ones."""
_STALE_OPTICS = (PREMULTIPLIED, "rlnImageSize", "rlnImageDimensionality", TOMOGRAMS_FILE)


@dataclass(frozen=True)
class ExtractConfig:
    """How to cut particles out.

    Parameters
    ----------
    box
        Side of the box in voxels, after binning.
    binning
        How many voxels of the tomogram become one, by Fourier crop.
    edge
        What to do with boxes that reach over the edge of the tomogram: leave them out and say so, or fill what is
        missing with the mean and say so.
    invert
        Whether to invert the contrast: for tomograms in which protein is dark.
    normalise
        Whether the background gets mean 0 and standard deviation 1.
    background_diameter_angstrom
        The background is what lies outside a sphere of this diameter, or a cylinder along a filament; three quarters of
        the box unless given.
    tilt_range_degrees
        Lowest and highest tilt, for a missing wedge as weights; tilt axis y. None for no weights.
    along_z
        Whether the z axis of each pose is a filament, which is no background.
    """

    box: int
    binning: int = 1
    edge: Edge = "skip"
    invert: bool = False
    normalise: bool = True
    background_diameter_angstrom: float | None = None
    tilt_range_degrees: tuple[float, float] | None = None
    along_z: bool = False

    def __post_init__(self) -> None:
        if self.box < 8:
            raise InputError(f"a box of {self.box} voxels is too small", cure="give 8 or more")
        if self.binning < 1:
            raise InputError(f"binning by {self.binning} is not possible", cure="give 1 or more")

    def background_radius(self, voxel_size_angstrom: float) -> float:
        """Return the radius, in voxels of the box, that the background starts at."""
        if self.background_diameter_angstrom is None:
            return BACKGROUND_OF_BOX * self.box / 2
        radius = self.background_diameter_angstrom / voxel_size_angstrom / 2
        # The corners of a larger sphere's box are all that is left; a cylinder has its edges only.
        limit = self.box / 2 * (math.sqrt(2) if self.along_z else math.sqrt(3)) - 1
        if not 0 <= radius < limit:
            raise InputError(
                f"a box of {self.box * voxel_size_angstrom:.4g} Angstrom has no background outside a diameter of "
                f"{self.background_diameter_angstrom:g}",
                cure="give a larger --box or a smaller --background-diameter",
            )
        return radius


@dataclass(frozen=True)
class CutSource:
    """Volumes cut out of tomograms when they are asked for: implements `gumnet.particles.Source`.

    Parameters
    ----------
    tomograms
        That of each particle.
    where
        Voxel that the centre of each box lies on, (n, 3), whole (x, y, z).
    config
        How.
    rotations
        Orientations (n, 3, 3), for the directions of filaments.
    names
        One a particle, for messages.
    """

    tomograms: tuple[Tomogram, ...]
    where: Vectors
    config: ExtractConfig
    rotations: Rotations
    names: tuple[str, ...]

    @property
    def box(self) -> int:
        """Side of the cubic box in voxels."""
        return self.config.box

    def __len__(self) -> int:
        return len(self.tomograms)

    def read(self, indices: Sequence[int]) -> Volumes:
        """Return the volumes (k, N, N, N) at ``indices``, float32."""
        return torch.stack([self._read(i) for i in indices])

    def _read(self, index: int) -> Volume:
        config, tomogram, where = self.config, self.tomograms[index], self.where[index]
        try:
            volume = cut(tomogram, where, config.box, config.binning)
            volume = -volume if config.invert else volume
            if not config.normalise:
                return volume
            radius = config.background_radius(tomogram.voxel_size_angstrom * config.binning)
            over = background(config.box, radius, self.rotations[index][:, 2] if config.along_z else None)
            x, y, z = inside(where, config.box, config.binning, tomogram)
            return normalised(volume, over & (z[:, None, None] & y[:, None] & x))
        except InputError as error:
            problem = f"particle {self.names[index]}: {error.problem}"
            raise InputError(problem, cure=error.cure, path=tomogram.path) from None


@dataclass(frozen=True)
class Extraction:
    """What came of an extraction.

    Parameters
    ----------
    particles
        The particles; their volumes are cut out when read.
    left_out
        Row of the picks from 1, name and reason of each one that reaches over the edge and is not among them.
    padded
        How many particles were filled with the mean at the edge.
    """

    particles: Particles
    left_out: tuple[tuple[int, str, str], ...] = field(default_factory=tuple)
    padded: int = 0


def extract(picks: Picks, tomograms: Sequence[Tomogram], config: ExtractConfig) -> Extraction:
    """Return the particles at picked places.

    A box is cut about the voxel nearest to the place; the rest, below one voxel, is the shift of the pose, so nothing
    is interpolated. Orientations are those in the tomogram: boxes are never turned.

    Parameters
    ----------
    picks
        n places.
    tomograms
        That of each one, all of one voxel size to a thousandth.

    Raises
    ------
    InputError
        If no box is left, or tomograms differ in voxel size.
    """
    size = _common_size(tomograms) * config.binning
    config.background_radius(size)
    exact = torch.stack([picks.voxels(i, tomogram) for i, tomogram in enumerate(tomograms)])
    where = torch.round(exact)
    names = _names(picks, tomograms)
    kept: list[int] = []
    shares: list[float] = []
    left_out: list[tuple[int, str, str]] = []
    for i, tomogram in enumerate(tomograms):
        share = share_outside(where[i], config.box, config.binning, tomogram)
        reason = _reason(where[i], share, config.edge, tomogram)
        if reason:
            left_out.append((i + 1, names[i], reason))
        else:
            kept.append(i)
            shares.append(share)
    if not kept:
        raise InputError(
            f"none of {len(picks)} boxes can be cut; the first: {left_out[0][2]}",
            cure="check the unit and origin of the coordinates, or give a smaller --box",
            path=picks.path,
        )
    source = CutSource(
        tuple(tomograms[i] for i in kept), where[kept], config, picks.rotations[kept], tuple(names[i] for i in kept)
    )
    low, high = config.tilt_range_degrees or (0.0, 0.0)
    weights = None if config.tilt_range_degrees is None else missing_wedge(config.box, high, low)
    table, optics = _tables(picks, kept, source, shares, config)
    particles = Particles(
        volumes=source,
        poses=_poses(picks, (exact - where) / config.binning)[kept],
        voxel_size_angstrom=size,
        weights=None if weights is None else SharedWeights(weights, len(kept)),
        half_sets=labels(table, HALF_SET, picks.path, largest=2),
        classes=labels(table, CLASS, picks.path),
        names=source.names,
        table=table,
        optics=optics,
    )
    return Extraction(particles, tuple(left_out), sum(share > 0 for share in shares))


def _poses(picks: Picks, shifts: Vectors) -> Poses:
    """Return the poses of all picks in their boxes, with what is known of them already."""
    return replace(
        Poses.of(picks.rotations, shifts, picks.scores),
        confidences=picks.confidences,
        spreads_degrees=picks.spreads_degrees,
    )


def _common_size(tomograms: Sequence[Tomogram]) -> float:
    sizes = [tomogram.voxel_size_angstrom for tomogram in tomograms]
    if max(sizes) - min(sizes) > 1e-3 * max(sizes):
        raise InputError(
            f"the tomograms have voxel sizes from {min(sizes):g} to {max(sizes):g} Angstrom",
            cure="extract from tomograms of one voxel size at a time",
        )
    return sizes[0]


def _reason(where: Vectors, share: float, edge: Edge, tomogram: Tomogram) -> str:
    """Return why a box is left out, or nothing."""
    size = tomogram.shape[::-1]
    place = ", ".join(f"{int(value)}" for value in where)
    extent = " x ".join(str(n) for n in size)
    if any(not 0 <= int(value) < n for value, n in zip(where, size, strict=True)):
        return f"voxel {place} is outside its tomogram of {extent}"
    if share > 0 and edge == "skip":
        return f"{share:.1%} of the box about voxel {place} is outside its tomogram of {extent}"
    return ""


def _names(picks: Picks, tomograms: Sequence[Tomogram]) -> list[str]:
    """Return one name a particle: that of the table, or its tomogram and its number in it."""
    if picks.table is not None and PARTICLE_NAME in picks.table.columns:
        return [str(name) for name in picks.table[PARTICLE_NAME]]
    counts: dict[str, int] = {}
    names = []
    for given, tomogram in zip(picks.tomograms, tomograms, strict=True):
        stem = _tomogram_name(given, tomogram)
        counts[stem] = counts.get(stem, 0) + 1
        names.append(f"{stem}/{counts[stem]}")
    return names


def _tomogram_name(given: str | None, tomogram: Tomogram) -> str:
    return bare_name(str(tomogram.path) if given is None else given).replace(" ", "_")


def _tables(
    picks: Picks, kept: list[int], source: CutSource, shares: list[float], config: ExtractConfig
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return the rows of the particles that were kept, with the centres of their boxes, and the optics groups."""
    import pandas as pd

    table = pd.DataFrame(index=range(len(picks))) if picks.table is None else picks.table
    table = table.iloc[kept].reset_index(drop=True)
    table = table.drop(columns=[c for c in (*_STALE, *(CENTRED if not picks.centred else COORDINATES)) if c in table])
    if NAME not in table.columns and MICROGRAPH not in table.columns:
        table[NAME] = [
            _tomogram_name(picks.tomograms[i], tomogram) for i, tomogram in zip(kept, source.tomograms, strict=True)
        ]
    size = source.tomograms[0].voxel_size_angstrom * config.binning
    centres = torch.stack(
        [
            picks.coordinate(i, where, tomogram, image_voxel_size_angstrom=size)
            for i, where, tomogram in zip(kept, source.where, source.tomograms, strict=True)
        ]
    )
    for axis, column in enumerate(CENTRED if picks.centred else COORDINATES):
        table[column] = centres[:, axis].numpy()
    table[PARTICLE_NAME] = list(source.names)
    if config.edge == "pad":
        table[PADDED] = shares
    optics = picks.optics
    if optics is not None:
        optics = optics.drop(columns=[c for c in _STALE_OPTICS if c in optics.columns])
        if TILT_PIXEL in optics.columns:
            optics[BINNING] = size / optics[TILT_PIXEL].astype(float)
    return table, optics
