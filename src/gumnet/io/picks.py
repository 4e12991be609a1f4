"""Where particles are in tomograms: coordinates, orientations and filaments, from RELION tables, CSV or plain text.

Every format is brought into `Picks`, which keeps the unit and the origin that its coordinates are counted in; only with
the tomogram's own voxel size and, for RELION 5, its own size do they become voxels (`Picks.voxels`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.io.check import existing_file, positive_voxel_size
from gumnet.io.picks_text import read_text_table
from gumnet.io.relion import CTF_IMAGE, IMAGE
from gumnet.io.relion_optics import optics_rows, voxel_size_from_table
from gumnet.io.relion_pose_table import (
    CENTRED,
    CLASS,
    COORDINATES,
    HALF_SET,
    MICROGRAPH,
    NUMBER,
    OBJECT,
    TILT_PIXEL,
    TILTS,
    TUBE,
    counts_particle_pixels,
)
from gumnet.io.relion_poses import (
    ORIGINS,
    ORIGINS_LONG,
    ORIGINS_PIXELS,
    box_rotations,
    poses_from_table,
)
from gumnet.io.relion_table import RelionTable, numbers, optional_numbers, read_relion_table
from gumnet.io.tables import SUFFIXES, read_pose_table, star_program
from gumnet.io.tomogram_volume import Tomogram
from gumnet.io.tomograms import NAME
from gumnet.particles import Poses
from gumnet.types import Rotations, Scores, Vectors

if TYPE_CHECKING:
    import pandas as pd

CountedIn = Literal["tomogram", "series", "images"]
_OTHER_SUFFIXES = tuple(suffix for suffix in SUFFIXES if suffix not in (".star", ".csv"))


@dataclass(frozen=True)
class Picks:
    """n places in tomograms.

    Parameters
    ----------
    path
        The file that they come from.
    coordinates
        (n, 3), (x, y, z): voxels, the first one being 0, or Angstrom from the centre of the tomogram.
    rotations
        Orientations in the tomogram, (n, 3, 3), reference to tomogram; the identity where they are not known.
    offsets_angstrom
        Where the particle is from its coordinate, (n, 3), from an earlier refinement.
    tomograms
        The name of each one's tomogram, None where none is given.
    voxel_sizes_angstrom
        Size of the voxels that coordinates are counted in, (n,); None for the voxels of the tomogram.
    centred
        Whether coordinates are in Angstrom from the centre, as in RELION 5.
    counted_in
        What the voxels of coordinates are in a table that is written: those of the tomogram, those of the tilt series
        as its optics groups tell (RELION 4), or those of the particle images (Warp).
    filaments
        Which filament of its tomogram each one is on, from the table; None where it does not say.
    scores, confidences, spreads_degrees
        What an earlier alignment thought of the poses, (n,) each, see `gumnet.particles.Poses`; None where unknown.
    table, optics
        Rows as they were read.
    """

    path: Path
    coordinates: Vectors
    rotations: Rotations
    offsets_angstrom: Vectors
    tomograms: tuple[str | None, ...]
    voxel_sizes_angstrom: Tensor | None = None
    centred: bool = False
    counted_in: CountedIn = "tomogram"
    filaments: tuple[str, ...] | None = None
    scores: Scores | None = None
    confidences: Scores | None = None
    spreads_degrees: Scores | None = None
    table: pd.DataFrame | None = None
    optics: pd.DataFrame | None = None

    def __len__(self) -> int:
        return len(self.coordinates)

    def voxels(self, index: int, tomogram: Tomogram) -> Vectors:
        """Return where particle ``index`` is in its tomogram, (3,), in voxels, the first one being 0.

        The centre of RELION 5 is half the size of the tomogram, as in its C++; its Python pickers take a voxel less.
        """
        size = tomogram.voxel_size_angstrom
        offset = self.offsets_angstrom[index] / size
        if self.centred:
            centre = torch.tensor(tomogram.shape[::-1], dtype=torch.float64) / 2
            return self.coordinates[index] / size + centre + offset
        scale = 1.0 if self.voxel_sizes_angstrom is None else float(self.voxel_sizes_angstrom[index]) / size
        return self.coordinates[index] * scale + offset

    def coordinate(
        self, index: int, voxels: Vectors, tomogram: Tomogram, *, image_voxel_size_angstrom: float
    ) -> Vectors:
        """Return the coordinate, (3,), of a place in voxels, as a table says it that keeps unit and origin of these.

        Parameters
        ----------
        image_voxel_size_angstrom
            Voxel size of the particles that the table is about.
        """
        size = tomogram.voxel_size_angstrom
        if self.centred:
            return (voxels - torch.tensor(tomogram.shape[::-1], dtype=torch.float64) / 2) * size
        if self.counted_in == "series" and self.voxel_sizes_angstrom is not None:
            return voxels * (size / float(self.voxel_sizes_angstrom[index]))
        return voxels * (size / image_voxel_size_angstrom) if self.counted_in == "images" else voxels


def read_picks(
    path: str | Path, *, first_voxel: float = 0.0, coordinate_voxel_size_angstrom: float | None = None
) -> Picks:
    """Return the places that a table of coordinates names.

    Parameters
    ----------
    path
        RELION STAR file of version 3.0 to 5, or CSV or text with x, y, z; see `gumnet.io.picks_text`. Tables of
        Dynamo, STOPGAP, AV3, EMAN2 and M as `gumnet.io.tables.read_pose_table` understands them.
    first_voxel
        What the file calls the centre of the first voxel: 0 in RELION, 0.5 in models of IMOD. Tables of other
        programs than RELION are read by their own rule.
    coordinate_voxel_size_angstrom
        Voxel size that coordinates are counted in, in place of what the table says or, where it says nothing, of the
        tomogram's.

    Raises
    ------
    InputError
        If columns are missing or hold no numbers.
    """
    path = existing_file(path, "a table of coordinates")
    suffix = path.suffix.lower()
    if suffix in _OTHER_SUFFIXES or (suffix == ".star" and star_program(path) != "RELION"):
        return _from_pose_table(path, first_voxel, coordinate_voxel_size_angstrom)
    picks = _from_star(path) if suffix == ".star" else _from_text(path)
    if coordinate_voxel_size_angstrom is not None or first_voxel:
        if picks.centred:
            raise InputError(
                "coordinates from the centre of the tomogram, in Angstrom, have no voxel size and no first voxel",
                cure="leave out --coordinate-voxel-size and --first-voxel",
                path=path,
            )
        coordinates, told = picks.coordinates - first_voxel, picks.voxel_sizes_angstrom
        if coordinate_voxel_size_angstrom is not None:
            size = positive_voxel_size(coordinate_voxel_size_angstrom)
            if told is None:
                told = torch.full((len(picks),), size, dtype=torch.float64)
            coordinates = coordinates * (size / told[:, None])
        picks = replace(picks, coordinates=coordinates, voxel_sizes_angstrom=told)
    return picks


def _from_star(path: Path) -> Picks:
    table = read_relion_table(path)
    frame, path = table.particles, table.path
    centred = optional_numbers(frame, CENTRED, path)
    corner = numbers(frame, COORDINATES, path) if centred is None else None
    poses = _orientations(table)
    column = next((c for c in (NAME, MICROGRAPH) if c in frame.columns), None)
    coordinates = corner if centred is None else centred
    assert coordinates is not None  # numbers raises where the columns are not there
    sizes, counted_in = _coordinate_sizes(table)
    return Picks(
        path=path,
        coordinates=coordinates,
        rotations=poses.rotations,
        offsets_angstrom=poses.shifts,
        tomograms=(None,) * len(frame) if column is None else tuple(str(name) for name in frame[column]),
        voxel_sizes_angstrom=sizes,
        centred=centred is not None,
        counted_in=counted_in,
        filaments=_tubes(frame),
        scores=poses.scores,
        confidences=poses.confidences,
        spreads_degrees=poses.spreads_degrees,
        table=frame,
        optics=table.optics,
    )


def _orientations(table: RelionTable) -> Poses:
    """Return orientations and, as shifts, offsets in Angstrom in the tomogram: turned boxes are turned back."""
    frame, path = table.particles, table.path
    in_pixels = not {*ORIGINS, *ORIGINS_LONG} & set(frame.columns) and bool({*ORIGINS_PIXELS} & set(frame.columns))
    # Origins in Angstrom come out in Angstrom at a voxel size of 1.
    poses = poses_from_table(frame, 1.0, path)
    offsets = poses.shifts
    if in_pixels and bool((offsets != 0).any()):
        size = voxel_size_from_table(table)
        if size is None:
            raise InputError(
                f"{ORIGINS_PIXELS[0]} is in pixels and the table does not say their size",
                cure="add a column rlnPixelSize",
                path=path,
            )
        offsets = offsets * size
    box = box_rotations(frame, path)
    return replace(poses, rotations=box @ poses.rotations, shifts=(box @ offsets[..., None])[..., 0])


def _coordinate_sizes(table: RelionTable) -> tuple[Tensor | None, CountedIn]:
    """Return the voxel size (n,) that coordinates from the corner are counted in, and what these voxels are.

    RELION 4 counts pixels of the tilt series as recorded, Warp pixels of the particle images, older RELION voxels of
    the tomogram, for which the size is None.
    """
    frame, optics = table.particles, table.optics
    if optics is None:
        return None, "tomogram"
    if NAME in frame.columns and counts_particle_pixels(tuple(frame[NAME].astype(str))):
        size = voxel_size_from_table(table)
        if size is not None:
            return torch.full((len(frame),), size, dtype=torch.float64), "images"
    if TILT_PIXEL not in optics.columns:
        return None, "tomogram"
    return numbers(optics, [TILT_PIXEL], table.path)[optics_rows(table), 0], "series"


def _tubes(frame: pd.DataFrame) -> tuple[str, ...] | None:
    return tuple(str(tube) for tube in frame[TUBE]) if TUBE in frame.columns else None


def _from_pose_table(path: Path, first_voxel: float, voxel_size_angstrom: float | None) -> Picks:
    """Return the places in a table of another program; regions and objects are taken for filaments."""
    table = read_pose_table(path, voxel_size_angstrom=voxel_size_angstrom)
    if first_voxel:
        raise InputError(
            f"tables of {table.program} have a rule for the first voxel", cure="leave out --first-voxel", path=path
        )
    n, size = len(table), table.voxel_size_angstrom
    frame = table.extra.drop(columns=[IMAGE, CTF_IMAGE], errors="ignore").reset_index(drop=True)
    told = {HALF_SET: table.half_sets, CLASS: table.classes.clamp(min=0), OBJECT: table.objects, NUMBER: table.numbers}
    if table.tilt_ranges is not None:
        told |= dict(zip(TILTS, table.tilt_ranges.T, strict=True))
    frame = frame.assign(**{column: values.numpy() for column, values in told.items() if bool(values.any())})
    named = all(table.tomograms)
    frame = frame.assign(**{NAME: list(table.tomograms)}) if named else frame
    zero = torch.zeros(n, 3, dtype=torch.float64)
    return Picks(
        path=path,
        # Shifts are in the same voxels: without their size in Angstrom they go into the coordinates.
        coordinates=table.positions if size is None else table.coordinates,
        rotations=table.rotations,
        offsets_angstrom=zero if size is None else table.shifts * size,
        tomograms=table.tomograms if named else (None,) * n,
        voxel_sizes_angstrom=None if size is None else torch.full((n,), size, dtype=torch.float64),
        filaments=tuple(str(int(number)) for number in table.objects),
        scores=table.scores,
        table=frame,
    )


def _from_text(path: Path) -> Picks:
    frame = read_text_table(path)
    n = len(frame)
    poses = poses_from_table(frame, 1.0, path)
    return Picks(
        path=path,
        coordinates=numbers(frame, COORDINATES, path),
        rotations=poses.rotations,
        offsets_angstrom=torch.zeros(n, 3, dtype=torch.float64),
        tomograms=tuple(str(name) for name in frame[NAME]) if NAME in frame.columns else (None,) * n,
        filaments=_tubes(frame),
        table=frame.rename(columns={c: re.sub(r"\W+", "_", c) for c in frame.columns}),
    )
