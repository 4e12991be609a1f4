"""RELION's particle tables of versions 3.0, 3.1, 4 and 5, and Warp's of the same kind, as `PoseTable`.

With ``A_sub`` of rlnTomoSubtomogramRot, Tilt, Psi (the identity without them), the orientation in the tomogram is
``A_sub @ A_particle`` and the particle is at ``coordinate - A_sub @ origin / pixel``, see `gumnet.io.relion_poses`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gumnet.errors import InputError
from gumnet.io.check import positive_voxel_size
from gumnet.io.pose_table import PoseTable
from gumnet.io.relion_optics import ONLY_3_0, are_tilt_stacks, optics_rows, voxel_size_from_table
from gumnet.io.relion_poses import (
    ANGLES,
    ORIGINS,
    ORIGINS_LONG,
    ORIGINS_PIXELS,
    SCORE,
    SUBTOMOGRAM_ANGLES,
    box_rotations,
    poses_from_table,
)
from gumnet.io.relion_table import RelionTable, labels, numbers, optional_numbers, read_relion_table, whole_numbers
from gumnet.io.tomograms import NAME, tomogram_sizes_angstrom
from gumnet.types import Labels

if TYPE_CHECKING:
    import pandas as pd

COORDINATES = ("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")
CENTRED = ("rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateZAngst")
MICROGRAPH, HALF_SET, CLASS = "rlnMicrographName", "rlnRandomSubset", "rlnClassNumber"
TUBE = "rlnHelicalTubeID"
"""Number of the filament that a particle is on."""
NUMBER, OBJECT, TILTS = "gumnetParticleNumber", "gumnetObject", ("gumnetTiltMin", "gumnetTiltMax")
"""Our own columns, for what RELION has none: tag, region or filament, tilt range in degrees."""
TILT_PIXEL, BINNING = "rlnTomoTiltSeriesPixelSize", "rlnTomoSubtomogramBinning"
_UNDERSTOOD = (
    *COORDINATES, *CENTRED, *ANGLES, *ORIGINS, *ORIGINS_LONG, *ORIGINS_PIXELS, HALF_SET, CLASS, SCORE, NUMBER, OBJECT,
    *TILTS, *ONLY_3_0,
)  # fmt: skip


def read_relion_pose_table(
    path: str | Path, *, voxel_size_angstrom: float | None = None, tomograms: str | Path | None = None
) -> PoseTable:
    """Return the particles of a RELION table, or of the one that an optimisation set names.

    Coordinates count pixels of the tilt images as recorded where the optics say their size, else pixels of the
    particles; Warp (tomograms named ``.tomostar``) always counts the latter.

    Parameters
    ----------
    voxel_size_angstrom
        Size of the voxels that coordinates count, in place of what the table says.
    tomograms
        RELION's table of tomograms, for their sizes; one in the folder of the table is found without.

    Raises
    ------
    InputError
        If a column holds what it may not.
    """
    table = read_relion_table(path)
    frame = table.particles
    own = NAME if NAME in frame.columns else MICROGRAPH
    names = tuple(frame[own].astype(str)) if own in frame.columns else ("",) * len(frame)
    size = voxel_size_angstrom
    size = _coordinate_size(table, names) if size is None else positive_voxel_size(size)
    poses = poses_from_table(frame, size, table.path)
    image = voxel_size_from_table(table)
    in_pixels = not {*ORIGINS, *ORIGINS_LONG} & set(frame.columns)
    # Origins of 3.0 count pixels of the particles, which need not be those of the coordinates.
    scale = image / size if in_pixels and voxel_size_angstrom is None and image and size else 1.0
    turned = box_rotations(frame, table.path)
    found = tomograms_of(table, names) if tomograms is None else Path(tomograms)
    centred = optional_numbers(frame, CENTRED, table.path)
    if centred is not None:
        if size is None:
            raise InputError(
                f"{CENTRED[0]} is in Angstrom and the voxel size is not known",
                cure="give the voxel size in Angstrom with --voxel-size",
                path=table.path,
            )
        coordinates = centred / size
    else:
        corner = optional_numbers(frame, COORDINATES, table.path)
        coordinates = torch.zeros(len(frame), 3, dtype=torch.float64) if corner is None else corner
    result = PoseTable(
        path=table.path,
        program="RELION",
        version=_version(table),
        rotations=turned @ poses.rotations,
        coordinates=coordinates,
        shifts=(turned @ poses.shifts[..., None])[..., 0] * scale,
        tomograms=names,
        numbers=_whole(frame, NUMBER, table.path) if NUMBER in frame.columns else torch.arange(1, len(frame) + 1),
        half_sets=labels(frame, HALF_SET, table.path, largest=2),
        classes=_whole(frame, CLASS, table.path),
        objects=_whole(frame, OBJECT, table.path),
        scores=poses.scores,
        tilt_ranges=optional_numbers(frame, TILTS, table.path),
        voxel_size_angstrom=size,
        centred=centred is not None,
        tomogram_sizes=_sizes(found, size),
        extra=frame.drop(columns=[c for c in (*_UNDERSTOOD, own) if c in frame.columns]),
        optics=table.optics,
        stacks_2d=are_tilt_stacks(table),
        tomograms_path=found,
    )
    known = result.halves_of_tomograms() is not None
    return result.from_corner() if known else result


def _whole(frame: pd.DataFrame, column: str, path: Path) -> Labels:
    """Return a column of whole numbers, which other programs may have made negative; zeros where it is not there."""
    if column not in frame.columns:
        return torch.zeros(len(frame), dtype=torch.int64)
    return whole_numbers(frame, column, path)


def _version(table: RelionTable) -> str:
    """Return the version of RELION that writes such a table, told by what is only there."""
    columns = set(table.particles.columns)
    if table.stacks_2d or CENTRED[0] in columns:
        return "5"
    # Not rlnTomoParticleName: gumnet names particles so in its own tables of version 3.1.
    if {NAME, SUBTOMOGRAM_ANGLES[0]} & columns:
        return "4"
    return "3.0" if table.optics is None else "3.1"


def counts_particle_pixels(names: tuple[str, ...]) -> bool:
    """Return whether Warp wrote the table, by names of tomograms: then coordinates count pixels of the particles."""
    return bool(names) and all(name.endswith(".tomostar") for name in names)


def _coordinate_size(table: RelionTable, names: tuple[str, ...]) -> float | None:
    """Return the size in Angstrom of the voxels that coordinates count, or None where the table does not say."""
    image = voxel_size_from_table(table)
    rows = table.particles if table.optics is None else table.optics
    if TILT_PIXEL not in rows.columns or counts_particle_pixels(names):
        return image
    sizes = numbers(rows, [TILT_PIXEL], table.path)[:, 0]
    if table.optics is not None:
        sizes = sizes[optics_rows(table)]
    low, high = float(sizes.min()), float(sizes.max())
    if high - low > 1e-3 * high:
        raise InputError(
            f"the tilt series have pixel sizes ({TILT_PIXEL}) from {low:g} to {high:g} Angstrom",
            cure="split the table by optics group",
            path=table.path,
        )
    return float(sizes[0]) if low > 0 else image


def tomograms_of(table: RelionTable, names: tuple[str, ...]) -> Path | None:
    """Return RELION's table of the tomograms of particles: the named one, or the only one in the folder that fits."""
    if table.tomograms_path is not None:
        return table.tomograms_path
    found = []
    for candidate in sorted(table.path.parent.glob("*tomograms*.star")):
        try:
            known = tomogram_sizes_angstrom(candidate)
        except InputError:
            continue  # it is something else
        if set(names) <= set(known):
            found.append(candidate)
    return found[0] if len(found) == 1 else None


def _sizes(tomograms: Path | None, voxel_size: float | None) -> dict[str, tuple[float, float, float]]:
    if tomograms is None or voxel_size is None:
        return {}
    return {
        name: (x / voxel_size, y / voxel_size, z / voxel_size)
        for name, (x, y, z) in tomogram_sizes_angstrom(tomograms).items()
    }
