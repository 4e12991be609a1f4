"""Motive lists of AV3 and TOM (``.em``): 20 numbers a particle.

R is ``from_euler('zxz', [phi, the, psi])`` and the particle is at x + shift (rows 8 to 13). They are kept as double,
as cryoCAT does: float32 would round coordinates beyond 1000 to more than 1e-4.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gumnet.errors import InputError
from gumnet.geometry.rigid import euler_from_matrix, matrix_from_euler
from gumnet.io.check import existing_file
from gumnet.io.em import read_em_values, write_em_values
from gumnet.io.pose_table import PoseTable
from gumnet.io.relion_table import numbers, whole
from gumnet.io.tomogram_numbers import check_names, names_of, numbers_of, write_names
from gumnet.io.written import Written

ROWS = 20
_SCORE, _NUMBER, _TOMOGRAM, _OBJECT, _POSITION, _SHIFT = 1, 4, 5, 6, (8, 9, 10), (11, 12, 13)
_PHI, _PSI, _THETA, _CLASS = 17, 18, 19, 20
_OTHERS = {"emGeom1": 2, "emGeom2": 3, "emSubtomoMean": 7, "emGeom3": 14, "emGeom4": 15, "emGeom5": 16}
"""The rows that each group uses as it likes, by cryoCAT's names."""


def read_em_motive_list(path: str | Path, *, voxel_size_angstrom: float | None = None) -> PoseTable:
    """Return the particles of a motive list; it never says the voxel size.

    Raises
    ------
    InputError
        If the EM file is no motive list.
    """
    import pandas as pd

    path = existing_file(path, "a motive list")
    values = read_em_values(path)
    if values.shape[0] != 1 or values.shape[2] != ROWS:
        shape = " x ".join(str(n) for n in reversed(values.shape))
        raise InputError(f"{shape} numbers are no motive list of {ROWS} x n", cure="give a motive list", path=path)
    rows = values[0]
    bad = np.argwhere(~np.isfinite(rows))
    if len(bad):
        raise InputError(
            f"row {bad[0, 1] + 1} of particle {bad[0, 0] + 1} is NaN or infinite", cure="mend it", path=path
        )

    def columns(*numbers: int) -> torch.Tensor:
        return torch.from_numpy(np.stack([rows[:, n - 1] for n in numbers], axis=1))

    def labels(number: int) -> torch.Tensor:
        return whole(columns(number)[:, 0], f"number {number} of the particle", path)

    others = {name: rows[:, n - 1] for name, n in _OTHERS.items() if rows[:, n - 1].any()}
    return PoseTable(
        path=path,
        program="EM motive list",
        rotations=matrix_from_euler("zxz", columns(_PHI, _THETA, _PSI)),
        coordinates=columns(*_POSITION),
        shifts=columns(*_SHIFT),
        tomograms=names_of(labels(_TOMOGRAM).tolist(), path),
        numbers=labels(_NUMBER),
        half_sets=torch.zeros(len(rows), dtype=torch.int64),
        classes=labels(_CLASS),
        objects=labels(_OBJECT),
        scores=columns(_SCORE)[:, 0],
        voxel_size_angstrom=voxel_size_angstrom,
        extra=pd.DataFrame(others, index=range(len(rows))),
    )


def _column(table: PoseTable, name: str) -> NDArray[Any]:
    return numbers(table.extra, [name], table.path)[:, 0].numpy()


def write_em_motive_list(path: Path, table: PoseTable, *, overwrite: bool = False) -> Written:
    """Write a motive list, and beside it ``.doc`` with the names of the tomograms where they are not numbers."""
    table = table.from_corner()
    tomograms, names = numbers_of(table.tomograms)
    phi, theta, psi = euler_from_matrix("zxz", table.rotations).T.numpy()
    classes = table.classes if bool(table.classes.any()) else torch.ones_like(table.classes)
    columns: dict[int, NDArray[Any]] = {
        _SCORE: table.scores.nan_to_num().numpy(),
        _NUMBER: table.numbers.numpy(),
        _TOMOGRAM: tomograms.numpy(),
        _OBJECT: table.objects.numpy(),
        _PHI: phi,
        _PSI: psi,
        _THETA: theta,
        _CLASS: classes.numpy(),
        **dict(zip(_POSITION, table.coordinates.T.numpy(), strict=True)),
        **dict(zip(_SHIFT, table.shifts.T.numpy(), strict=True)),
        **{_OTHERS[name]: _column(table, name) for name in table.extra if name in _OTHERS},
    }
    values = np.zeros((1, len(table), ROWS))
    for number, column in columns.items():
        values[0, :, number - 1] = column
    left_out = {str(name): "no such row" for name in table.extra if name not in _OTHERS}
    if bool(table.half_sets.any()):
        left_out["half sets"] = "a motive list has no row for them"
    if table.tilt_ranges is not None:
        left_out["tilt limits"] = "a motive list has no row for them"
    if table.voxel_size_angstrom is not None:
        left_out["voxel size"] = "a motive list does not hold it"
    check_names(path, names, overwrite=overwrite)
    write_em_values(path, values, overwrite=overwrite)
    return Written.of(table, [path, *write_names(path, names)], left_out)
