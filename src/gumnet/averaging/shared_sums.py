"""Sums of particles at their poses, part by part, on any number of workers: the same to the bit on one and on many."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.averaging.accumulate import Accumulator, default_batch_size
from gumnet.engine.place import Place
from gumnet.engine.run import batches_of, run
from gumnet.engine.tree import TreeSum, plus
from gumnet.engine.work import Result, Run
from gumnet.particles import Particles, Poses, Source
from gumnet.progress import progress

PARTICLES_A_PART = 64
"""Fixed, so that parts and the order of their sum depend on nothing but how many particles there are. A part travels as
the padded grid, 5 MB for a box of 32; that took 3 ms where its particles took 510 (by hand, 2026-11-26, one thread)."""


@dataclass(frozen=True)
class SumWork:
    """Sums particles on the reference.

    Parameters
    ----------
    volumes, weights
        Sources of n particles.
    poses
        Their poses (n).
    batch_size
        Particles to transform at once; by the size of the box unless given.
    counts
        How much each particle counts (n,); 1 unless given.
    """

    volumes: Source
    weights: Source | None
    poses: Poses
    batch_size: int | None = None
    counts: Tensor | None = None

    def start(self, device: torch.device) -> Run:
        """Return what sums some of the particles on a device."""
        size = self.batch_size or default_batch_size(self.volumes.box, device)

        def sums_of(rows: Sequence[int]) -> Result:
            sums = Accumulator(self.volumes.box, device=device)
            for first in range(0, len(rows), size):
                some = list(rows[first : first + size])
                weights = None if self.weights is None else self.weights.read(some)
                counts = None if self.counts is None else self.counts[some]
                sums.add(self.volumes.read(some), weights, self.poses[some], confidences=counts)
            return sums.to_parts()

        return sums_of

    def join(self, parts: Sequence[Result]) -> Result:
        """Return the sums of all parts, in their order."""
        return functools.reduce(plus, parts)


def shared_sums(
    particles: Particles,
    place: Place,
    *,
    counts: Tensor | None = None,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
    description: str = "averaging",
) -> Accumulator:
    """Return the sums of particles at their own poses, which are read and inserted where ``place`` says.

    Parameters
    ----------
    counts
        How much each particle counts (n,); see `Accumulator.add`.
    device
        Where the result is.
    batch_size
        Particles to transform at once; by the size of the box unless given.
    """
    work = SumWork(particles.volumes, particles.weights, particles.poses, batch_size, counts)
    batches = batches_of(len(particles), PARTICLES_A_PART)
    tree = TreeSum(len(batches))
    with progress(description, len(particles)) as display:
        for done in run(work, batches, place):
            assert done.result is not None  # nothing is tolerated
            tree.add(done.number, done.result)
            display.advance(len(done.rows))
    total = tree.result()
    if total is None:
        return Accumulator(particles.box, device=device)
    return Accumulator.of_parts(particles.box, {name: part.to(device) for name, part in total.items()})
