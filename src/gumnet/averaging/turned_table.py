"""Maps at all rotations of a grid, as rows of a table that particles are compared with."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gumnet.alignment.band import Band
from gumnet.alignment.corners import turned_corners
from gumnet.alignment.grid_part import GridPart
from gumnet.alignment.spectrum import PADDING, TurnedSpectra
from gumnet.types import Rotations

_BYTES_AT_ONCE = 2**28
"""Of the tables of several folds, which are read together on a CPU."""


def turned_tables(maps: Tensor, folds: list[int], grid: GridPart, band: Band) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield folds with their maps at all rotations.

    Parameters
    ----------
    maps
        Shape (F, K, N, N, N).
    folds
        Which of the F are wanted.
    grid
        r rotations. Maps are read at its bases.
    band
        M coefficients.

    Yields
    ------
    tuple
        Fold, real and imaginary parts of its maps side by side (K r, 2 M), and their squares (K r, M).
    """
    device = band.index.device
    bases = grid.bases.to(device, torch.float32)
    size = 4 * maps.shape[1] * len(bases) * 2 * len(band.frequencies)
    together = max(1, _BYTES_AT_ONCE // size) if device.type == "cpu" else 1
    for first in range(0, len(folds), together):
        some = folds[first : first + together]
        for fold, values in zip(some, _read(maps[some].to(device), bases, band), strict=True):
            table = grid.spread(values.flatten(2), band).flatten(0, 1)
            yield fold, table, table.view(len(table), 2, -1).square().sum(dim=1)


def _read(maps: Tensor, rotations: Rotations, band: Band) -> Tensor:
    """Return maps (f, K, N, N, N) at all rotations, (f, K, r, 2, M)."""
    f, k = maps.shape[:2]
    turned = TurnedSpectra.of(maps.flatten(0, 1), None, band.shells)
    if rotations.device.type != "cpu":
        values, _ = turned.read(rotations.expand(f * k, -1, -1, -1), band)
        return values.movedim(1, 2).reshape(f, k, len(rotations), 2, -1)
    side = turned.fine.shape[-1]
    grids = turned.fine.flatten(2).permute(2, 0, 1).flatten(1).contiguous()
    table = torch.empty(f, k, len(rotations), 2, len(band.frequencies))
    points = band.frequencies * (PADDING * band.box)
    for rows, corners in turned_corners(rotations, points, side):
        values = corners.read(grids).view(-1, len(points), f, k, 2)
        table[:, :, rows] = values.permute(2, 3, 0, 4, 1)
    return table
