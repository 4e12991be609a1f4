"""Pairs of particles for training: who is held back, who is drawn, and reading them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.particles import Particles
from gumnet.types import Volumes, Weights

# What a stream of random numbers is for. A stream depends on the seed and on its purpose alone, so a run that resumes
# needs no stored state to go on with the same pairs.
SPLIT, VALIDATION, START, EPOCH = range(4)


@dataclass(frozen=True)
class Batch:
    """Pairs of volumes (n, N, N, N) with their weights (n, N, N, N // 2 + 1), None where all was observed."""

    a: Volumes
    b: Volumes
    weights_a: Weights | None
    weights_b: Weights | None

    def to(self, device: torch.device) -> Batch:
        """Return the batch on another device."""
        return Batch(
            self.a.to(device),
            self.b.to(device),
            None if self.weights_a is None else self.weights_a.to(device),
            None if self.weights_b is None else self.weights_b.to(device),
        )

    def both_ways(self) -> Batch:
        """Return the pairs (a, b), and after them the pairs (b, a)."""

        def after(first: Tensor | None, second: Tensor | None) -> Tensor | None:
            return None if first is None or second is None else torch.cat([first, second])

        a, b = torch.cat([self.a, self.b]), torch.cat([self.b, self.a])
        return Batch(a, b, after(self.weights_a, self.weights_b), after(self.weights_b, self.weights_a))


def stream(seed: int, purpose: int, number: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """Return the random generator for one purpose, as `EPOCH` number 3, on a device; streams do not overlap."""
    state = np.random.SeedSequence((seed, purpose, number)).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state >> np.uint64(1)))


def split(count: int, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the indices of the particles to train on and of those held back for validation.

    At least two are held back, unless ``fraction`` is 0.
    """
    held = 0 if fraction == 0 else max(2, round(fraction * count))
    if count - held < 2:
        raise InputError(
            f"{count} particles are too few to train on",
            cure="give 2 or more" if held == 0 else "give 4 or more and hold back fewer, or set validation_fraction 0",
        )
    order = torch.randperm(count, generator=stream(seed, SPLIT))
    return order[held:].sort().values, order[:held].sort().values


def draw_pairs(members: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return ``count`` random ordered pairs (count, 2) of two different members, whatever their class.

    Particles come up equally often: the first of the pairs go through all members in random order before any returns.
    """
    n = len(members)
    rounds = [torch.randperm(n, generator=generator) for _ in range(-(-count // n))]
    first = torch.cat(rounds)[:count]
    # A step of 1 to n - 1 around the ring reaches every other member with the same chance, and never the first itself.
    second = (first + torch.randint(1, n, (count,), generator=generator)) % n
    return torch.stack([members[first], members[second]], dim=1)


@dataclass
class PairReader:
    """Reads pairs of particles, and keeps what it has read in memory up to a limit.

    Parameters
    ----------
    particles
        Where the pairs come from.
    cache_gigabytes
        Size limit of what is kept.
    """

    particles: Particles
    cache_gigabytes: float

    def __post_init__(self) -> None:
        self.particles = self.particles.cached(self.cache_gigabytes)

    def batches(self, parts: Iterable[Tensor]) -> Iterator[Batch]:
        """Yield the pairs of each part (m, 2)."""
        for chosen in parts:
            a, weights_a = self._read(chosen[:, 0].tolist())
            b, weights_b = self._read(chosen[:, 1].tolist())
            yield Batch(a, b, weights_a, weights_b)

    def _read(self, indices: Sequence[int]) -> tuple[Volumes, Weights | None]:
        return self.particles.read_volumes(indices), self.particles.read_weights(indices)
