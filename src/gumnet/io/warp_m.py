"""Particle tables of M (Warp): wrpCoordinateX1, Y1, Z1 in Angstrom from the corner, wrpAngleRot1, Tilt1, Psi1.

M refines trajectories: a particle may have poses X1, X2, … at several doses. The first is read, the others are kept.
Angles are RELION's.
"""

from __future__ import annotations

from pathlib import Path

import torch

from gumnet.errors import InputError
from gumnet.geometry.rigid import matrix_from_relion, relion_from_matrix
from gumnet.io.pose_table import PoseTable
from gumnet.io.relion_table import labels, numbers, require_columns
from gumnet.io.star import read_star, write_star
from gumnet.io.written import Written

_NUMBERED = (("wrpCoordinate", ("X", "Y", "Z")), ("wrpAngle", ("Rot", "Tilt", "Psi")))
SOURCE, HALF_SET = "wrpSourceName", "wrpRandomSubset"


def read_warp_m(path: str | Path, *, voxel_size_angstrom: float | None = None) -> PoseTable:
    """Return the particles of a table of M, in voxels of 1 Angstrom unless a voxel size is given.

    Raises
    ------
    InputError
        If there is no such table, or a column is missing.
    """
    path = Path(path)
    blocks = [b for b in read_star(path).values() if {"wrpCoordinateX1", "wrpCoordinateX"} & set(b.columns)]
    if len(blocks) != 1 or len(blocks[0]) == 0:
        raise InputError("there is no table with wrpCoordinateX1", cure="give particles of M", path=path)
    frame = blocks[0].reset_index(drop=True)
    # With one sample in time M leaves the number out.
    suffix = "1" if "wrpCoordinateX1" in frame.columns else ""
    places, angles = ([f"{stem}{axis}{suffix}" for axis in axes] for stem, axes in _NUMBERED)
    require_columns(frame, [*places, *angles], path)
    size = 1.0 if voxel_size_angstrom is None else voxel_size_angstrom
    half_sets = labels(frame, HALF_SET, path, largest=2)
    names = tuple(frame[SOURCE].astype(str)) if SOURCE in frame.columns else ("",) * len(frame)
    used = [c for c in (*places, *angles, SOURCE, HALF_SET) if c in frame.columns]
    return PoseTable(
        path=path,
        program="M",
        rotations=matrix_from_relion(numbers(frame, angles, path)),
        coordinates=numbers(frame, places, path) / size,
        shifts=torch.zeros(len(frame), 3, dtype=torch.float64),
        tomograms=names,
        numbers=torch.arange(1, len(frame) + 1),
        half_sets=half_sets,
        classes=torch.zeros(len(frame), dtype=torch.int64),
        objects=torch.zeros(len(frame), dtype=torch.int64),
        scores=torch.full((len(frame),), torch.nan, dtype=torch.float64),
        voxel_size_angstrom=size,
        extra=frame.drop(columns=used),
    )


def write_warp_m(path: Path, table: PoseTable, *, overwrite: bool = False) -> Written:
    """Write a table for M; it has no shifts apart from the coordinates, so these go into them."""
    import pandas as pd

    table = table.from_corner()
    size = table.needed_voxel_size("M wants coordinates in Angstrom")
    columns: dict[str, object] = {}
    for (stem, axes), values in zip(
        _NUMBERED, (table.positions * size, relion_from_matrix(table.rotations)), strict=True
    ):
        columns |= {f"{stem}{axis}1": column for axis, column in zip(axes, values.T.numpy(), strict=True)}
    if any(table.tomograms):
        columns[SOURCE] = list(table.tomograms)
    if bool(table.half_sets.any()):
        columns[HALF_SET] = table.half_sets.numpy()
    left_out = {}
    for what, there in (
        ("classes", bool(table.classes.any())),
        ("objects", bool(table.objects.any())),
        ("scores", bool(table.scores.isfinite().any())),
        ("tilt limits", table.tilt_ranges is not None),
    ):
        if there:
            left_out[what] = "M has no column for them"
    frame = pd.concat([pd.DataFrame(columns, index=table.extra.index), table.extra], axis=1)
    write_star(path, {"": frame}, overwrite=overwrite)
    return Written.of(table, [path], left_out)
