"""Rotations ``Q B`` of a few bases B and the 24 turns Q of a cube, and coefficients at all of them.

What is read or put back at the bases serves all 24 turns of each: see `gumnet.alignment.rotation_grid`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from gumnet.alignment.band import Band
from gumnet.alignment.rotation_grid import TURNS, RotationGrid, cube_turns, turned_indices
from gumnet.types import Rotations


@dataclass(frozen=True, eq=False)
class GridPart:
    """Some of the rotations of a grid.

    Parameters
    ----------
    bases
        Shape (b, 3, 3), float64.
    index
        Which rotations, (r,): ``24 i + j`` is the turn j of base i.
    """

    bases: Rotations
    index: Tensor

    @classmethod
    def of(cls, rotations: Rotations) -> GridPart:
        """Return any rotations (r, 3, 3), each a base of its own."""
        return cls(rotations.double(), TURNS * torch.arange(len(rotations)))

    @classmethod
    def of_grid(cls, grid: RotationGrid, turn: Rotations) -> GridPart:
        """Return the whole of a grid after a turn (3, 3): ``Q B turn``."""
        return cls(grid.bases @ turn, torch.arange(len(grid)))

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: Tensor) -> GridPart:
        return GridPart(self.bases, self.index[rows])

    @property
    def rotations(self) -> Rotations:
        """The rotations, (r, 3, 3), float64."""
        return cube_turns()[self.index % TURNS] @ self.bases[self.index // TURNS]

    def spread(self, values: Tensor, band: Band) -> Tensor:
        """Return the coefficients of maps at all rotations, (..., r, 2 M), of those at the bases, (..., b, 2 M).

        Real and imaginary parts lie side by side, of the M coefficients of the band.
        """
        found = values.new_empty(*values.shape[:-2], len(self), values.shape[-1])
        for rows, base, move in self._turns(band):
            # What is at k of a map turned by Q B is at Q^-1 k of the map turned by B.
            found[..., rows, :] = values[..., base, :].index_select(-1, move.back).mul_(move.signs_back)
        return found

    def gathered(self, values: Tensor, precision: Tensor, band: Band) -> tuple[Tensor, Tensor]:
        """Return what coefficients at all rotations add up to at the bases: `spread` transposed.

        Coefficients (r, 2 M) become (b, 2 M), and their precisions (r, M), (b, M).
        """
        m = precision.shape[1]
        found, known = values.new_zeros(len(self.bases), 2 * m), values.new_zeros(len(self.bases), m)
        for rows, base, move in self._turns(band):
            found.index_add_(0, base, values[rows].index_select(1, move.order).mul_(move.signs))
            known.index_add_(0, base, precision[rows].index_select(1, move.order[:m]))
        return found, known

    def _turns(self, band: Band) -> Iterator[tuple[Tensor, Tensor, _Move]]:
        """Yield for each turn the rotations that have it (c,), their bases (c,), and how it moves coefficients."""
        moves, device = _moves(band), band.index.device
        bases, turns = self.index // TURNS, self.index % TURNS
        for j in torch.unique(turns).tolist():
            rows = torch.nonzero(turns == j)[:, 0]
            yield rows.to(device), bases[rows].to(device), moves[j]


@dataclass(frozen=True)
class _Move:
    """How a turn Q of a cube moves coefficients, real and imaginary parts side by side (2 M,).

    Parameters
    ----------
    order, signs
        Which come to be those of k, from Q k, and by what they are multiplied, 1 or -1.
    back, signs_back
        The same from Q^-1 k.
    """

    order: Tensor
    signs: Tensor
    back: Tensor
    signs_back: Tensor


@lru_cache(maxsize=16)
def _moves(band: Band) -> tuple[_Move, ...]:
    """Return how each of the 24 turns moves the coefficients of a band."""
    found = []
    for order, conjugated in zip(*turned_indices(band), strict=True):
        both = torch.cat([order, order + len(order)])
        signs = torch.cat([torch.ones_like(conjugated, dtype=torch.float32), 1.0 - 2.0 * conjugated.float()])
        back = both.argsort()
        found.append(_Move(both, signs, back, signs[back]))
    return tuple(found)
