"""Trilinear reading of grids on a CPU, several grids at the same points at once, and what putting back needs too.

Where a point lies on a grid hangs on rotation and frequency alone, so the eight corners about it and their weights are
found once and serve every volume that is read there. The reading itself is a weighted sum of eight short rows, which
`torch.nn.functional.embedding_bag` does four to twelve times as fast as `grid_sample` (two to sixteen grids, one
thread, by hand, 2026-11-27), and the corners cost about what `grid_sample` does for two grids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from gumnet.types import Rotations

_POINTS_AT_ONCE = 2**16
"""Few enough for what is found on the way to stay in a cache, many enough for each call to be worth it."""


@dataclass(frozen=True)
class Corners:
    """The corners about p points of a grid of side D.

    Parameters
    ----------
    index
        Of the eight corners in the flat grid, (p, 8), int32.
    weights
        Shape (p, 8); they add to 1.
    """

    index: Tensor
    weights: Tensor

    @classmethod
    def of(cls, points: Tensor, side: int) -> Corners:
        """Return the corners about points (3, p), (x, y, z) in steps of the grid from its first corner.

        All points lie at 0 ... D - 1 in each direction, to rounding.
        """
        below = points.floor().clamp_(0, side - 2)
        above = points - below
        under = 1 - above
        first = (below[0] + below[1] * side + below[2] * (side * side)).int()
        steps = [(z * side + y) * side + x for z, y, x in product((0, 1), repeat=3)]
        weights = torch.empty(points.shape[1], 8, dtype=points.dtype)
        for number, (z, y) in enumerate(product((under[2], above[2]), (under[1], above[1]))):
            plane = z * y
            torch.mul(plane, under[0], out=weights[:, 2 * number])
            torch.mul(plane, above[0], out=weights[:, 2 * number + 1])
        return cls(first[:, None] + torch.tensor(steps, dtype=torch.int32), weights)

    def read(self, grids: Tensor) -> Tensor:
        """Return the values (p, c) of grids (D^3, c) at the points."""
        read: Tensor = torch.nn.functional.embedding_bag(self.index, grids, per_sample_weights=self.weights, mode="sum")
        return read


def turned_corners(rotations: Rotations, points: Tensor, side: int) -> Iterator[tuple[slice, Corners]]:
    """Yield which of the rotations, and the corners about all points as these turn them, (r m).

    Parameters
    ----------
    rotations
        Shape (r, 3, 3); points are read at ``R^-1 k``.
    points
        Shape (m, 3), in steps of the grid from its centre.
    side
        Of the grid, D, odd.
    """
    size = max(1, _POINTS_AT_ONCE // len(points))
    for first in range(0, len(rotations), size):
        some = rotations[first : first + size]
        turned = torch.einsum("mj,rji->irm", points, some).reshape(3, -1)
        yield slice(first, first + len(some)), Corners.of(turned + side // 2, side)
