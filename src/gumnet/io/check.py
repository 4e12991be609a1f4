"""Checks of what was read, with errors that name the file and the cure."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gumnet.errors import InputError


def existing_file(path: str | Path, what: str) -> Path:
    """Return ``path`` if it is a file that exists; ``what`` says what was wanted, as in "a volume"."""
    path = Path(path)
    # `Path.exists` raises for names that no file system takes, such as one of 300 letters.
    if not os.path.exists(path):
        raise InputError("no such file", cure="check the name and the folder", path=path)
    if os.path.isdir(path):
        raise InputError(f"is a folder, {what} is wanted", cure="give a file", path=path)
    return path


def positive_voxel_size(size: float) -> float:
    """Return a voxel size in Angstrom that a person gave, if it is possible."""
    if not (math.isfinite(size) and size > 0):
        raise InputError(f"a voxel size of {size} Angstrom is not possible", cure="give --voxel-size a positive number")
    return float(size)


def informative(values: NDArray[np.float32], path: Path, where: str = "") -> NDArray[np.float32]:
    """Return ``values`` if all of them are finite and they are not all the same.

    Parameters
    ----------
    where
        What of the file is checked, as in "volume 3"; empty for the whole file.
    """
    finite(values, path, where)
    if values.min() == values.max():
        raise InputError(f"{_what(where)} is constant, {values.flat[0]:g} everywhere", cure=_cure(where), path=path)
    return values


def finite(values: NDArray[np.float32], path: Path, where: str = "") -> NDArray[np.float32]:
    """Return ``values`` if none of them is NaN or infinite."""
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise InputError(f"{_what(where)} holds {bad} values that are NaN or infinite", cure=_cure(where), path=path)
    return values


def _cure(where: str) -> str:
    """Return what to do: only what is part of a set can be left out."""
    return "extract it again, or leave bad particles out with --skip-bad" if where else "give another file"


def _what(where: str) -> str:
    return where or "the volume"
