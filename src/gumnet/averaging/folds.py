"""The particles of a half, dealt to folds: each is aligned to the average of the other folds.

A particle finds its own noise in a map that it is part of, at the pose with which it came in. Each of n particles adds
1 / n of its spectrum to the map, so in D coefficients that are mostly noise its log-likelihood there is too high by
about D / n: in a half of 250 and the 3,000 coefficients of nine shells, by ten natural units, more than a right pose is
ahead of a wrong one. Poses then stay where they are, right or wrong, and are sure of it. Maps of others have none of
that, and their confidences mean what they say. The price is that a map lacks a quarter of its particles.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from gumnet.averaging.accumulate import Accumulator
from gumnet.averaging.sums import BoxSums
from gumnet.devices import seeded
from gumnet.particles import Particles
from gumnet.types import Labels

FOLDS = 4
MOST_FOLDED = 10_000
"""Beyond so many particles of a half, what one has in the map is too little to matter, and one map serves all."""
_LEAST_IN_FOLD = 2


@dataclass(frozen=True)
class HalfSums:
    """Sums of a half.

    Parameters
    ----------
    inserted
        Those of all particles, on the padded grid.
    whole
        The same on the grid of the box.
    others
        For each fold, those of all particles that are not in it; nothing where the half has one fold, or nothing will
        be aligned to them.
    """

    inserted: Accumulator
    whole: BoxSums
    others: tuple[BoxSums, ...]

    def reference(self, fold: int) -> BoxSums:
        """Return the sums that the particles of a fold are compared with."""
        return self.others[fold] if self.others else self.whole

    @property
    def share(self) -> float:
        """Which share of the half's particles these hold."""
        return 1 - 1 / len(self.others) if self.others else 1.0


def dealt(count: int, seed: int) -> Labels:
    """Return the fold, 0 ... F - 1, of each of ``count`` particles of a half, (count,); all 0 where there is one."""
    folds = 1 if count > MOST_FOLDED else max(1, min(FOLDS, count // _LEAST_IN_FOLD))
    return torch.randperm(count, generator=seeded(seed)) % folds


def rows_of_folds(folds: Labels) -> list[Labels]:
    """Return the rows of each fold."""
    return [torch.nonzero(folds == fold)[:, 0] for fold in range(int(folds.max()) + 1)]


def half_sums(
    half: Particles,
    folds: Labels,
    insert: Callable[[Particles], Accumulator],
    reduce: Callable[[Accumulator], BoxSums],
    *,
    aligned_next: bool = True,
) -> HalfSums:
    """Return the sums of a half at its poses.

    Parameters
    ----------
    folds
        Of its n particles, (n,).
    insert
        Returns the sums of particles on the padded grid.
    reduce
        Takes these to the grid of the box.
    aligned_next
        Whether particles will be aligned to these sums: each fold's others cost as much as the whole.
    """
    parts = [insert(half.select(rows)) for rows in rows_of_folds(folds)]
    whole = merged(parts)
    if len(parts) == 1 or not aligned_next:
        return HalfSums(whole, reduce(whole), ())
    others = [merged(parts[:fold] + parts[fold + 1 :]) for fold in range(len(parts))]
    return HalfSums(whole, reduce(whole), tuple(reduce(each) for each in others))


def merged(parts: Sequence[Accumulator]) -> Accumulator:
    """Return the sums of all parts."""
    return functools.reduce(Accumulator.merge, parts)
