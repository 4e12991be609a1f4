"""Log likelihoods of particles on maps at all poses of a grid, or at those that each may have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.alignment.grid_part import GridPart
from gumnet.alignment.score import phases
from gumnet.averaging.low_band import LowBand
from gumnet.averaging.turned_table import turned_tables
from gumnet.types import Labels, Vectors

_VALUES_AT_ONCE = {"cpu": 2**20, "cuda": 2**28}
"""Likelihoods held at once: on a CPU few enough to stay in its cache."""


@dataclass(frozen=True)
class Compared:
    """Some particles of one fold on the maps of that fold.

    Parameters
    ----------
    rows
        Which particles, (b,).
    columns
        Which classes and rotations, (c,): class times r plus rotation.
    moved
        The particles moved back by each shift, real and imaginary parts side by side, (b, t, 2 M).
    precision
        Their precision, (b or 1, M).
    scores
        Log likelihoods (b, t, c).
    """

    rows: Tensor
    columns: Tensor
    moved: Tensor
    precision: Tensor
    scores: Tensor


def compare(
    data: LowBand,
    maps: Tensor,
    folds: Labels,
    grid: GridPart,
    shifts: Vectors,
    candidates: Tensor,
    centres: Vectors,
) -> Iterator[tuple[int, Iterator[Compared]]]:
    """Yield each fold with its particles on its maps.

    Parameters
    ----------
    data
        n particles.
    maps
        Shape (F, K, N, N, N).
    folds
        Fold of each particle, (n,).
    grid, shifts
        r rotations, and (t, 3), in voxels.
    candidates
        Which classes, (n, K), or which classes and rotations, (n, K, r), each particle may have; boolean.
    centres
        Shift of each particle that those of the grid are relative to, (n, 3), in voxels.
    """
    band, device = data.band, data.matched.device
    waves = phases(band, -shifts.to(device))
    turns = len(grid)

    def of_fold(rows_of_fold: Tensor, table: Tensor, power: Tensor) -> Iterator[Compared]:
        for columns, rows_of_group in _groups(candidates, rows_of_fold, turns):
            at = columns.to(device)
            whole = len(columns) == len(table)
            spectra, squares = (table, power) if whole else (table[at], power[at])
            size = max(1, _VALUES_AT_ONCE[device.type] // (len(shifts) * len(columns)))
            for rows in torch.split(rows_of_group, size):
                observed = data.rows(rows)
                matched = observed.matched * phases(band, -centres[rows].to(device))
                moved = matched[:, None] * waves
                moved = torch.cat([moved.real, moved.imag], dim=-1)
                scores = (moved.flatten(0, 1) @ spectra.mT).view(len(rows), len(shifts), -1)
                scores = torch.sub(2 * scores, (observed.precision @ squares.mT)[:, None])
                yield Compared(rows, at, moved, observed.precision, scores)

    for fold, table, power in turned_tables(maps, torch.unique(folds).tolist(), grid, band):
        yield fold, of_fold(torch.nonzero(folds == fold)[:, 0], table, power)


def _groups(candidates: Tensor, rows: Tensor, turns: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield columns (c,) and the rows among ``rows`` that are compared with just these."""
    if candidates.ndim == 3:
        for row in rows:
            yield torch.nonzero(candidates[row].flatten())[:, 0], row[None]
        return
    patterns, which = torch.unique(candidates[rows], dim=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        allowed = torch.nonzero(pattern)[:, 0]
        yield (allowed[:, None] * turns + torch.arange(turns)).flatten(), rows[which == number]
