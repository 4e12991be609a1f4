"""Grids of rotations that are closed under the 24 turns of a cube.

A cube's turn maps the integer frequencies of a band onto themselves. So for a grid of rotations ``Q B`` with Q any of
the 24 turns and B any of a few bases, the reference is interpolated at the bases alone: ``A((Q B)^-1 k)`` is what
``A(B^-1 k')`` is at ``k' = Q^-1 k``. That is a 24th of the interpolation, and of the memory that it takes to keep.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from gumnet.alignment.band import Band
from gumnet.geometry.so3 import grid_size_for_spacing, super_fibonacci
from gumnet.types import Rotations

TURNS = 24


@lru_cache(maxsize=1)
def cube_turns() -> Rotations:
    """Return the 24 rotations of a cube (24, 3, 3), float64: signed permutations of the axes, the identity first."""
    turns = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = torch.zeros(3, 3, dtype=torch.float64)
            for row, (column, sign) in enumerate(zip(order, signs, strict=True)):
                matrix[row, column] = sign
            if torch.linalg.det(matrix) > 0:
                turns.append(matrix)
    return torch.stack(turns)


@dataclass(frozen=True, eq=False)
class RotationGrid:
    """The rotations ``Q B`` of n bases B and the 24 turns Q of a cube: ``24 i + j`` is ``turns[j] @ bases[i]``.

    Parameters
    ----------
    bases
        Shape (n, 3, 3), float64.
    """

    bases: Rotations

    @classmethod
    @lru_cache(maxsize=8)
    def of_spacing(cls, spacing_degrees: float) -> RotationGrid:
        """Return a grid over all of SO(3) with neighbours about ``spacing_degrees`` apart.

        The bases are the rotations of a super-Fibonacci grid that are nearest to the identity among their 24 turns.
        """
        grid = super_fibonacci(grid_size_for_spacing(spacing_degrees))
        traces = torch.einsum("jab,nab->nj", cube_turns(), grid)
        return cls(grid[traces.argmax(dim=1) == 0])

    def __len__(self) -> int:
        return TURNS * len(self.bases)

    @property
    def rotations(self) -> Rotations:
        """All rotations of the grid, (24 n, 3, 3), float64."""
        return (cube_turns() @ self.bases[:, None]).reshape(-1, 3, 3)

    def parents(self, coarse: RotationGrid) -> Tensor:
        """Return, for each rotation, the index of the nearest rotation of a coarser grid, (24 n,)."""
        return _nearest(self, coarse)


@lru_cache(maxsize=8)
def _nearest(fine: RotationGrid, coarse: RotationGrid) -> Tensor:
    # Grids are equal only to themselves; the same two come again with every batch.
    return (fine.rotations.reshape(-1, 9) @ coarse.rotations.reshape(-1, 9).mT).argmax(dim=1)


def turned_indices(band: Band) -> tuple[Tensor, Tensor]:
    """Return where the coefficients of a band go under the turns of a cube, and which of them are conjugated there.

    Returns
    -------
    tuple
        Index (24, M) of the coefficient at ``Q k``, or at ``-Q k`` if that is the one of the pair which the band holds,
        and whether it is the latter, (24, M).
    """
    side = 2 * band.shells + 1
    index = band.index

    def key(k: Tensor) -> Tensor:
        k = k + band.shells
        return (k[..., 2] * side + k[..., 1]) * side + k[..., 0]

    where = torch.full((side**3,), -1, dtype=torch.int64, device=index.device)
    where[key(index)] = torch.arange(len(index), device=index.device)
    moved = torch.einsum("jab,mb->jma", cube_turns().to(index.device), index.double()).round().to(torch.int64)
    forward, backward = where[key(moved)], where[key(-moved)]
    return torch.where(forward >= 0, forward, backward), forward < 0
