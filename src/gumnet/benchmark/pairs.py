"""Pairs of simulated volumes with their true poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gumnet.averaging.mask import soft_sphere
from gumnet.particles import Poses
from gumnet.simulation.dataset import Simulation
from gumnet.types import Volumes, Weights


@dataclass(frozen=True)
class Pairs:
    """Pairs of volumes with their weights and the true poses of b on a, ``x_b = R x_a + t``."""

    a: Volumes
    b: Volumes
    weights_a: Weights | None
    weights_b: Weights | None
    truth: Poses

    @classmethod
    def of(cls, made: Simulation) -> Pairs:
        """Return the pairs of a simulation, which depend on its arguments alone; another count gives other pairs."""
        truth = made.pair_truth()
        assert made.pairs is not None
        rows_a, rows_b = made.pairs.T.tolist()
        read, weights = made.particles.read_volumes, made.particles.read_weights
        return cls(read(rows_a), read(rows_b), weights(rows_a), weights(rows_b), truth)

    def __len__(self) -> int:
        return len(self.a)

    def rows(self, rows: slice | Tensor) -> Pairs:
        """Return some of the pairs."""

        def some(weights: Weights | None) -> Weights | None:
            return None if weights is None else weights[rows]

        return Pairs(self.a[rows], self.b[rows], some(self.weights_a), some(self.weights_b), self.truth[rows])

    @classmethod
    def concatenate(cls, parts: Sequence[Pairs]) -> Pairs:
        """Return the pairs of all parts, in order."""

        def joined(weights: list[Weights | None]) -> Weights | None:
            given = [each for each in weights if each is not None]
            return torch.cat(given) if given else None

        return cls(
            torch.cat([part.a for part in parts]),
            torch.cat([part.b for part in parts]),
            joined([part.weights_a for part in parts]),
            joined([part.weights_b for part in parts]),
            Poses.concatenate([part.truth for part in parts]),
        )

    def masked(self, radius: float | None) -> Pairs:
        """Return the pairs with a soft sphere of this radius, in voxels, on every a; None leaves them."""
        if radius is None:
            return self
        return replace(self, a=self.a * soft_sphere(self.a.shape[-1], radius))
