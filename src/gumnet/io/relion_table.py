"""The tables of a RELION particle file, of any version, with their columns checked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.io.star import read_star

if TYPE_CHECKING:
    import pandas as pd

_PARTICLES_FILE, _TOMOGRAMS_FILE = "rlnTomoParticlesFile", "rlnTomoTomogramsFile"
_STACKS_2D = "rlnTomoSubTomosAre2DStacks"


@dataclass(frozen=True)
class RelionTable:
    """A particle table as it stands in its file.

    Parameters
    ----------
    path
        The STAR file that holds the particles.
    particles
        One row a particle.
    optics
        One row an optics group; None for RELION 3.0, which has no such table.
    stacks_2d
        Whether the images are 2D tilt stacks, as ``data_general`` of RELION 5 says.
    tomograms_path
        The table of tomograms that an optimisation set names, or None.
    """

    path: Path
    particles: pd.DataFrame
    optics: pd.DataFrame | None
    stacks_2d: bool
    tomograms_path: Path | None


def read_relion_table(path: str | Path) -> RelionTable:
    """Return the tables of a particle file, or of the one that an optimisation set names.

    Raises
    ------
    InputError
        If there is no particle table in the file, or no row in the table.
    """
    path = Path(path)
    blocks = read_star(path)
    tomograms = None
    for block in blocks.values():
        if _PARTICLES_FILE in block.columns:
            tomograms = _named_file(block, _TOMOGRAMS_FILE, path) if _TOMOGRAMS_FILE in block.columns else None
            path = _named_file(block, _PARTICLES_FILE, path)
            blocks = read_star(path)
            break
    particles = _particle_block(blocks, path)
    if len(particles) == 0:
        raise InputError("the particle table is empty", cure="check how it was written", path=path)
    stacks = "general" in blocks and bool(labels(blocks["general"], _STACKS_2D, path)[0])
    return RelionTable(path, particles.reset_index(drop=True), blocks.get("optics"), stacks, tomograms)


def _particle_block(blocks: dict[str, pd.DataFrame], path: Path) -> pd.DataFrame:
    """Return ``data_particles``, or in RELION 3.0 the block with images, angles or coordinates, whatever its name."""
    if "particles" in blocks:
        return blocks["particles"]
    candidates = [
        block
        for name, block in blocks.items()
        if name not in ("optics", "general") and {"rlnImageName", "rlnAngleRot", "rlnCoordinateX"} & set(block.columns)
    ]
    if "optics" in blocks or len(candidates) != 1:
        found = ", ".join(f"data_{name}" for name in blocks)
        raise InputError(
            f"there is no particle table, only {found}",
            cure="give a file with data_particles, or an optimisation set",
            path=path,
        )
    return candidates[0]


def _named_file(block: pd.DataFrame, column: str, path: Path) -> Path:
    """Return the file that an optimisation set names, beside it or in a folder above."""
    name = str(block[column].iloc[0])
    folder = find_upwards(path, name)
    if folder is None:
        raise InputError(
            f"no such file: {column} {name}", cure="keep it in the folder that the name starts from", path=path
        )
    return folder / name


def find_upwards(star: Path, name: str) -> Path | None:
    """Return the folder from which the file ``name`` exists: that of a STAR file, one above it, or the current one.

    RELION's names start from its project folder, in or below which the STAR file is. For an absolute name, the
    folder is the root.
    """
    here = star.absolute().parent
    folders = [Path(here.anchor)] if Path(name).is_absolute() else [here, *here.parents, Path.cwd()]
    return next((folder for folder in folders if os.path.exists(folder / name)), None)


def require_columns(frame: pd.DataFrame, columns: Sequence[str], path: Path) -> None:
    """Raise `InputError` for the columns that ``frame`` lacks."""
    missing = [c for c in columns if c not in frame.columns]
    if missing:
        names = ", ".join(missing)
        plural = "s" if len(missing) > 1 else ""
        raise InputError(
            f"column{plural} {names} missing from the particle table",
            cure="add what is missing, or write the table again",
            path=path,
        )


def numbers(frame: pd.DataFrame, columns: Sequence[str], path: Path) -> Tensor:
    """Return columns as float64 numbers, shape (rows, columns); all must be there, numeric and finite."""
    require_columns(frame, columns, path)
    values = np.empty((len(frame), len(columns)))
    for i, column in enumerate(columns):
        try:
            values[:, i] = frame[column].to_numpy(dtype=np.float64)
        except (ValueError, TypeError):
            raise InputError(f"column {column} holds text, numbers are wanted", cure=_MEND, path=path) from None
        bad = np.flatnonzero(~np.isfinite(values[:, i]))
        if len(bad):
            raise InputError(f"column {column} is NaN or infinite in row {bad[0] + 1}", cure=_MEND, path=path)
    return torch.from_numpy(values)


def optional_numbers(frame: pd.DataFrame, columns: Sequence[str], path: Path) -> Tensor | None:
    """Return columns as `numbers` does, or None where none of them is there; some without the others are an error."""
    return numbers(frame, columns, path) if set(columns) & set(frame.columns) else None


def labels(frame: pd.DataFrame, column: str, path: Path, *, largest: int | None = None) -> Tensor:
    """Return a column of whole numbers from 0, int64; zeros where the column is not there."""
    values = optional_numbers(frame, [column], path)
    if values is None:
        return torch.zeros(len(frame), dtype=torch.int64)
    whole = values[:, 0].round()
    bad = (whole != values[:, 0]) | (whole < 0)
    if largest is not None:
        bad |= whole > largest
    if bool(bad.any()):
        row = int(torch.nonzero(bad)[0, 0])
        raise InputError(f"column {column} is {values[row, 0]:g} in row {row + 1}", cure=_MEND, path=path)
    return whole.to(torch.int64)


def whole(values: Tensor, what: str, path: Path) -> Tensor:
    """Return numbers (n,) of a table as int64; ``what`` names them, as in "column tomo_num"."""
    bad = torch.nonzero(values != values.round())
    if len(bad):
        row = int(bad[0, 0])
        raise InputError(f"{what} is {values[row]:g} in row {row + 1}", cure=_MEND, path=path)
    return values.to(torch.int64)


def whole_numbers(frame: pd.DataFrame, column: str, path: Path) -> Tensor:
    """Return a column of whole numbers (n,), which may be negative, as int64."""
    return whole(numbers(frame, [column], path)[:, 0], f"column {column}", path)


def optional_scores(frame: pd.DataFrame, column: str, path: Path) -> Tensor | None:
    """Return a column of numbers (n,), NaN for particles that have no value; None where it is not there."""
    if column not in frame.columns:
        return None
    try:
        return torch.from_numpy(frame[column].to_numpy(dtype=np.float64, copy=True))
    except (ValueError, TypeError):
        raise InputError(f"column {column} holds what is no number", cure=_MEND, path=path) from None


_MEND = "mend the entry"
