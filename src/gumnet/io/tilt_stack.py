"""2D tilt stacks of RELION 5 and Warp as 3D subtomograms with Fourier weights, made when they are asked for.

Both programs cut the particle out of every tilt image and multiply it by its CTF, its scale and its dose weights
(rlnCtfDataAreCtfPremultiplied 1; in RELION's ``subtomo.cpp`` and in Warp's ``ReconstructParticleSeries`` alike). So the
images are already ``transfer * image``, and the weights are back-projections of ``transfer^2``. Images that were not
multiplied are multiplied here. RELION's stacks hold the visible tilts alone, Warp's hold all.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.geometry.ctf import ctf, dose_weights
from gumnet.geometry.rigid import matrix_from_relion
from gumnet.geometry.tomography import premultiplied
from gumnet.io.mrc import read_image_stack
from gumnet.io.mrc_header import read_header
from gumnet.io.relion_optics import premultiplied as premultiplied_flags
from gumnet.io.relion_optics import voxel_size_from_table
from gumnet.io.relion_poses import SUBTOMOGRAM_ANGLES
from gumnet.io.relion_table import RelionTable, numbers, optional_numbers, require_columns
from gumnet.io.tomograms import NAME, TiltSeries, Tomograms
from gumnet.types import Rotations, Volumes, Weights

if TYPE_CHECKING:
    import pandas as pd

_IMAGE, _VISIBLE = "rlnImageName", "rlnTomoVisibleFrames"
_CENTRED = ("rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateZAngst")
_CORNER = ("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")
_CACHE_BYTES = 2**28


@dataclass(frozen=True)
class TiltParticle:
    """One particle: its stack, its tilt series, which tilts saw it, its frame and its place.

    Parameters
    ----------
    stack
        File of the images.
    series
        Tilt series that it is from.
    visible
        Which tilts saw it, (t,) bool.
    frame
        Rotation (3, 3) from the volume to the tomogram: ``A_sub``, see `gumnet.io.relion_poses`.
    position_angstrom
        Place (3,) in the tomogram, from its centre.
    premultiplied
        Whether the images were multiplied by CTF and dose weights.
    """

    stack: Path
    series: TiltSeries
    visible: Tensor
    frame: Rotations
    position_angstrom: Tensor
    premultiplied: bool


@dataclass(frozen=True)
class _Reconstruction:
    """Makes volumes and weights of particles, and keeps the latest, so that both of a batch read its stacks once."""

    particles: tuple[TiltParticle, ...]
    box: int
    voxel_size_angstrom: float
    full_tilts: int
    tilts: slice | None
    kept: OrderedDict[int, tuple[Tensor, Tensor]] = field(default_factory=OrderedDict)

    def pair(self, index: int) -> tuple[Tensor, Tensor]:
        """Return volume (N, N, N) and weights (N, N, N // 2 + 1) of one particle."""
        if index not in self.kept:
            self.kept[index] = self.make(self.particles[index])
            bytes_each = sum(t.numel() * t.element_size() for t in self.kept[index])
            while len(self.kept) > max(1, _CACHE_BYTES // bytes_each):
                self.kept.popitem(last=False)
        return self.kept[index]

    def make(self, particle: TiltParticle) -> tuple[Tensor, Tensor]:
        """Return volume and weights of any particle."""
        images, frames = self._images(particle)
        series = particle.series
        offsets = series.defocus_offsets_angstrom(particle.position_angstrom)
        transfer = ctf(
            self.box,
            self.voxel_size_angstrom,
            (series.defocus_u_angstrom + offsets)[frames],
            (series.defocus_v_angstrom + offsets)[frames],
            series.defocus_angle_degrees[frames],
            voltage_kv=series.voltage_kv,
            spherical_aberration_mm=series.spherical_aberration_mm,
            amplitude_contrast=series.amplitude_contrast,
            phase_shift_degrees=series.phase_shift_degrees[frames],
            scale=series.scale[frames],
        ) * dose_weights(self.box, self.voxel_size_angstrom, series.dose[frames])
        volumes, weights = premultiplied(
            images[None],
            series.matrices[frames] @ particle.frame,
            transfer,
            multiply=not particle.premultiplied,
            tilts=self.full_tilts,
        )
        return volumes[0], weights[0]

    def _images(self, particle: TiltParticle) -> tuple[Tensor, Tensor]:
        """Return the images (v, N, N) of the tilts in use, and which tilts of the series these are, (v,)."""
        if not os.path.isfile(particle.stack):
            raise InputError(
                f"no such file, which {_IMAGE} names", cure="check the folder of the stacks", path=particle.stack
            )
        images = read_image_stack(particle.stack)
        frames = torch.nonzero(particle.visible)[:, 0]
        if len(images) == len(particle.visible):
            images = images[frames]
        elif len(images) != len(frames):
            raise InputError(
                f"the stack holds {len(images)} images, for {len(particle.visible)} tilts of which {len(frames)} are "
                f"visible ({_VISIBLE})",
                cure="give the tomograms and particles that were written together",
                path=particle.stack,
            )
        if images.shape[-1] != self.box:
            raise InputError(
                f"the images are {images.shape[-1]} pixels wide, those before it {self.box}",
                cure="extract all particles at one box size",
                path=particle.stack,
            )
        chosen = slice(None) if self.tilts is None else self.tilts
        return images[chosen], frames[chosen]


@dataclass(frozen=True)
class _TiltStackSource:
    """What both sources of tilt stacks have in common: the reconstruction that makes volume and weights together."""

    reconstruction: _Reconstruction

    @property
    def box(self) -> int:
        """Side of the cubic box in voxels."""
        return self.reconstruction.box

    def __len__(self) -> int:
        return len(self.reconstruction.particles)


class TiltStackVolumes(_TiltStackSource):
    """Volumes (N, N, N), multiplied by their weights in Fourier space: implements `gumnet.particles.Source`."""

    def read(self, indices: Sequence[int]) -> Volumes:
        """Return the volumes at ``indices``, (k, N, N, N), float32."""
        return torch.stack([self.reconstruction.pair(i)[0] for i in indices])

    def turned(self, indices: Sequence[int], rotations: Rotations, *, tilts: slice) -> tuple[Volumes, Weights]:
        """Return volumes (k, N, N, N) of some of the tilts, put together turned by rotations (k, 3, 3), and weights.

        What is at x in the volume that `read` gives is at R x in these.
        """
        some = replace(self.reconstruction, tilts=tilts, kept=OrderedDict())
        made = []
        for i, rotation in zip(indices, rotations, strict=True):
            particle = some.particles[i]
            made.append(some.make(replace(particle, frame=particle.frame @ rotation.to(particle.frame).mT)))
        volumes, weights = zip(*made, strict=True)
        return torch.stack(volumes), torch.stack(weights)


class TiltStackWeights(_TiltStackSource):
    """Fourier weights (N, N, N // 2 + 1) of tilt stacks: implements `gumnet.particles.Source`."""

    def read(self, indices: Sequence[int]) -> Weights:
        """Return the weights at ``indices``, (k, N, N, N // 2 + 1), float32."""
        return torch.stack([self.reconstruction.pair(i)[1] for i in indices])


def tilt_stack_sources(
    particles_frame: pd.DataFrame,
    optics_frame: pd.DataFrame,
    tomograms: Tomograms,
    project_dir: str | Path,
    *,
    tilts: slice | None = None,
) -> tuple[TiltStackVolumes, TiltStackWeights]:
    """Return lazy volumes and weights of the particles of a RELION 5 or Warp table with 2D stacks.

    Parameters
    ----------
    particles_frame, optics_frame
        Blocks ``data_particles`` and ``data_optics``.
    tomograms
        Their table of tomograms.
    project_dir
        Folder that the names of the stacks start from.
    tilts
        Which of each particle's visible tilts to use, such as ``slice(0, None, 2)``; all unless given.

    Raises
    ------
    InputError
        If a column, a tomogram or the voxel size is missing, or visible frames do not fit the tilts.
    """
    table = RelionTable(Path("data_particles"), particles_frame, optics_frame, True, None)
    require_columns(particles_frame, [_IMAGE, NAME], table.path)
    voxel_size = voxel_size_from_table(table)
    if voxel_size is None:
        raise InputError(
            "data_optics has no rlnImagePixelSize, which the CTF of tilt stacks needs", cure="add it to data_optics"
        )
    series = [tomograms[str(name)] for name in particles_frame[NAME]]
    frames = optional_numbers(particles_frame, SUBTOMOGRAM_ANGLES, table.path)
    turned = matrix_from_relion(torch.zeros(len(series), 3, dtype=torch.float64) if frames is None else frames)
    positions = _positions(table, series, voxel_size)
    flags = premultiplied_flags(table)
    stacks = [Path(project_dir) / str(name) for name in particles_frame[_IMAGE]]
    visible = [_visible(particles_frame, i, series[i]) for i in range(len(series))]
    particles = tuple(
        TiltParticle(stacks[i], series[i], visible[i], turned[i], positions[i], flags[i]) for i in range(len(series))
    )
    reconstruction = _Reconstruction(particles, _box(stacks), voxel_size, tomograms.most_tilts, tilts)
    return TiltStackVolumes(reconstruction), TiltStackWeights(reconstruction)


def _box(stacks: Sequence[Path]) -> int:
    """Return the side of the images, from the first stack that is there."""
    found = next((stack for stack in stacks if os.path.isfile(stack)), None)
    if found is None:
        raise InputError(f"no such file, which {_IMAGE} names", cure="check the folder of the stacks", path=stacks[0])
    return read_header(found).shape[-1]


def _positions(table: RelionTable, series: Sequence[TiltSeries], voxel_size_angstrom: float) -> Tensor:
    """Return the places of the particles in their tomograms, (n, 3), in Angstrom from the centre.

    RELION 5 writes them so. RELION 4 writes pixels of the tilt images as recorded from the corner, Warp pixels of the
    particle images. rlnOrigin moves a particle by too little to matter to its defocus, and is left out.
    """
    centred = optional_numbers(table.particles, _CENTRED, table.path)
    if centred is not None:
        return centred
    corner = numbers(table.particles, _CORNER, table.path)
    rows = []
    for position, one in zip(corner, series, strict=True):
        if one.size is None:
            raise InputError(
                "the table of tomograms lacks rlnTomoSizeX, Y, Z, which coordinates from the corner need",
                cure="add the columns, or use rlnCenteredCoordinateXAngst, Y, Z",
            )
        pixel = voxel_size_angstrom if one.from_warp else one.pixel_size_angstrom
        rows.append(position * pixel - one.size / 2 * one.pixel_size_angstrom)
    return torch.stack(rows)


def _visible(frame: pd.DataFrame, row: int, series: TiltSeries) -> Tensor:
    """Return which tilts saw the particle in a row of the table, (t,) bool."""
    if _VISIBLE not in frame.columns:
        return torch.ones(len(series), dtype=torch.bool)
    text = str(frame[_VISIBLE].iloc[row])
    flags = [entry.strip() for entry in text.strip("[] ").split(",")]
    name = frame[_IMAGE].iloc[row]
    if not set(flags) <= {"0", "1"} or len(flags) != len(series) or "1" not in flags:
        raise InputError(
            f"{_VISIBLE} of {name} is not {len(series)} times 0 or 1 with a 1 among them, one for each tilt of its "
            "tomogram",
            cure="give the tomograms and particles that were written together",
        )
    return torch.tensor([flag == "1" for flag in flags])
