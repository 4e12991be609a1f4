"""Dynamo's particle tables (``.tbl``): 26 to 42 columns of numbers, without a header.

Columns (Castaño-Díez et al., J. Struct. Biol. 2012, and Dynamo's own ``dynamo_table_help``): R is the inverse of
``from_euler('zxz', [tdrot, tilt, narot])``, the particle is at x + dx, and x counts voxels from 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gumnet.errors import InputError
from gumnet.geometry.rigid import euler_from_matrix, matrix_from_euler
from gumnet.io.atomic import write_whole
from gumnet.io.check import existing_file
from gumnet.io.pose_table import FTYPE, PoseTable
from gumnet.io.relion_table import whole
from gumnet.io.tomogram_numbers import check_names, names_of, numbers_of, write_names
from gumnet.io.written import Written

if TYPE_CHECKING:
    import pandas as pd

FEWEST, MOST, USUAL = 26, 42, 35
"""Numbers of columns that a table may have, and that Dynamo writes."""
_TAG, _SHIFT, _ANGLES, _SCORE, _TILTS = 1, (4, 5, 6), (7, 8, 9), 10, (14, 15)
_TOMOGRAM, _REGION, _CLASS, _POSITION, _VOXEL = 20, 21, 22, (24, 25, 26), 36
_NEEDED = (_TAG, *_SHIFT, *_ANGLES, *_TILTS, _TOMOGRAM, _REGION, _CLASS, *_POSITION)
"""The columns in which a NaN is an error; programs leave some in others."""
_OTHERS = {
    2: "Aligned", 3: "Averaged", 11: "Cc2", 12: "Cpu", 13: "Ftype", 16: "Xmintilt", 17: "Xmaxtilt", 18: "Fs1",
    19: "Fs2", 23: "Annotation", 27: "Dshift", 28: "Daxis", 29: "Dnarot", 30: "Dcc", 31: "Otag", 32: "Npar",
    33: "Column33", 34: "Ref", 35: "Sref", 36: "Apix", 37: "Def", 38: "Column38", 39: "Column39", 40: "Column40",
    41: "Eig1", 42: "Eig2",
}  # fmt: skip
_COLUMN = {f"dynamo{name}": number for number, name in _OTHERS.items()}
_APIX = "dynamoApix"
"""Column 36, where it is not the voxel size of all particles."""
_MEND = "mend the entry"
_ALWAYS = ("dynamoAligned", "dynamoAveraged", FTYPE)


def read_dynamo(path: str | Path, *, voxel_size_angstrom: float | None = None) -> PoseTable:
    """Return the particles of a Dynamo table.

    Columns beyond those that mean the same everywhere are kept as ``dynamoCc2`` and so on, unless all entries are 0.

    Parameters
    ----------
    voxel_size_angstrom
        Used in place of column 36 (apix).

    Raises
    ------
    InputError
        If the file is no table of 26 to 42 numbers a line.
    """
    import pandas as pd

    path = existing_file(path, "a Dynamo table")
    values = _values(path)

    def column(number: int) -> NDArray[np.float64]:
        return values[:, number - 1] if number <= values.shape[1] else np.zeros(len(values))

    def columns(numbers: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(np.stack([column(n) for n in numbers], axis=1))

    def labels(number: int, name: str) -> Tensor:
        return whole(columns((number,))[:, 0], f"column {number} ({name})", path)

    others = {name: column(n) for name, n in _COLUMN.items() if name in _ALWAYS or bool(column(n).any())}
    scores, tilts, size = columns((_SCORE,))[:, 0], columns(_TILTS), column(_VOXEL)
    if size.min() > 0 and size.max() - size.min() <= 1e-3 * size.max():
        voxel_size_angstrom = float(size[0]) if voxel_size_angstrom is None else voxel_size_angstrom
        others.pop(_APIX, None)
    return PoseTable(
        path=path,
        program="Dynamo",
        rotations=matrix_from_euler("zxz", columns(_ANGLES)).mT,
        coordinates=columns(_POSITION) - 1,
        shifts=columns(_SHIFT),
        tomograms=names_of(labels(_TOMOGRAM, "tomo").tolist(), path),
        numbers=labels(_TAG, "tag"),
        half_sets=torch.zeros(len(values), dtype=torch.int64),
        classes=labels(_CLASS, "class"),
        objects=labels(_REGION, "reg"),
        scores=scores if bool(scores.any()) else torch.full_like(scores, torch.nan),
        tilt_ranges=tilts if bool(tilts.any()) else None,
        voxel_size_angstrom=voxel_size_angstrom,
        extra=pd.DataFrame({name: _integers(v) for name, v in others.items()}, index=range(len(values))),
    )


def _values(path: Path) -> NDArray[np.float64]:
    """Return the numbers (rows, columns) of a table."""
    cure = "give a Dynamo table, 26 to 42 numbers a line"
    try:
        with path.open(encoding="utf-8") as file:
            lines = [line for line in file if line.strip()]
    except (OSError, UnicodeDecodeError):
        raise InputError("this is not text, so no Dynamo table", cure=cure, path=path) from None
    if not lines:
        raise InputError("the table is empty", cure="check how it was written", path=path)
    try:
        values = np.loadtxt(lines, ndmin=2)
    except ValueError as error:
        raise InputError(f"the table cannot be read ({error})", cure=cure, path=path) from None
    if not FEWEST <= values.shape[1] <= MOST:
        raise InputError(f"the table has {values.shape[1]} columns", cure=cure, path=path)
    needed = np.array(_NEEDED) - 1
    bad = np.argwhere(~np.isfinite(values[:, needed]))
    if len(bad):
        row, column = bad[0, 0] + 1, _NEEDED[bad[0, 1]]
        raise InputError(f"column {column} is NaN or infinite in row {row}", cure=_MEND, path=path)
    return values


def _integers(values: NDArray[np.float64]) -> NDArray[Any]:
    """Return whole numbers as integers, so that they are written as such."""
    whole = bool((values == np.round(values)).all()) and bool((np.abs(values) < 2**53).all())
    return values.astype(np.int64) if whole else values


def write_dynamo(path: Path, table: PoseTable, *, overwrite: bool = False) -> Written:
    """Write a Dynamo table, and beside it ``.doc`` with the names of the tomograms where they are not numbers."""
    table = table.from_corner()
    numbers, names = numbers_of(table.tomograms)
    columns: dict[int, NDArray[Any]] = {
        _TAG: table.numbers.numpy(),
        _SCORE: table.scores.nan_to_num().numpy(),
        _TOMOGRAM: numbers.numpy(),
        _REGION: table.objects.numpy(),
        _CLASS: table.classes.numpy(),
    }
    columns |= dict(zip(_SHIFT, table.shifts.T.numpy(), strict=True))
    columns |= dict(zip(_ANGLES, euler_from_matrix("zxz", table.rotations.mT).T.numpy(), strict=True))
    columns |= dict(zip(_POSITION, (table.coordinates + 1).T.numpy(), strict=True))
    if table.tilt_ranges is not None:
        columns |= dict(zip(_TILTS, table.tilt_ranges.T.numpy(), strict=True))
    if table.voxel_size_angstrom is not None:
        columns[_VOXEL] = np.full(len(table), table.voxel_size_angstrom)
    columns |= {_COLUMN[name]: _numeric(table.extra, name, table.path) for name in table.extra if name in _COLUMN}
    ones = np.ones(len(table), dtype=np.int64)
    # Without these Dynamo leaves particles out of averages, or takes tilts for full sampling.
    columns = {2: ones, 3: ones, 13: ones * (table.tilt_ranges is not None)} | columns
    width = max(USUAL, *columns)
    rows = np.zeros((len(table), width))
    for number, values in columns.items():
        rows[:, number - 1] = values
    check_names(path, names, overwrite=overwrite)
    with write_whole(path, overwrite=overwrite) as temporary:
        np.savetxt(temporary, rows, fmt="%.9g")
    left_out = {str(name): "no such column" for name in table.extra if name not in _COLUMN}
    if bool(table.half_sets.any()):
        left_out["half sets"] = "Dynamo has no column for them"
    notes = []
    if table.tilt_ranges is None and FTYPE not in table.extra:
        notes.append("The tilt limits are not known (--tilt-range): ftype is 0, for all of Fourier space.")
    return Written.of(table, [path, *write_names(path, names)], left_out, notes)


def _numeric(frame: pd.DataFrame, name: str, path: Path) -> NDArray[np.float64]:
    try:
        return frame[name].to_numpy(dtype=np.float64)
    except (ValueError, TypeError):
        raise InputError(f"column {name} holds text, numbers are wanted", cure=_MEND, path=path) from None
