"""Halves of particles with 2D tilt stacks: even and odd tilts, put together apart (`gumnet.training.half_views`)."""

from __future__ import annotations

import torch
from torch import Tensor

from gumnet.geometry.so3 import random_rotations
from gumnet.io.tilt_stack import TiltStackVolumes
from gumnet.particles import Particles, SubsetSource
from gumnet.training.half_views import HalfSource, no_second_volume
from gumnet.types import Rotations, Volumes, Weights

HALVES = (slice(0, None, 2), slice(1, None, 2))
"""Even and odd tilts, in the order of the stack."""


class TiltViewSource(HalfSource):
    """Draws both halves of particles with tilt stacks.

    Parameters
    ----------
    particles
        With 2D tilt stacks.
    rows
        Those to draw from.
    grid
        The working grid M of the filter.

    Raises
    ------
    InputError
        If the particles are volumes: whose noise is in one piece.
    """

    def __init__(self, particles: Particles, rows: Tensor, grid: int) -> None:
        self._stacks, index = stacks_of(particles)
        super().__init__([index[int(row)] for row in rows], grid)

    def _halves(
        self, rows: list[int], generator: torch.Generator
    ) -> tuple[Rotations, tuple[Volumes, Volumes], tuple[Weights, Weights]]:
        frame = random_rotations(1, generator=generator, dtype=torch.float64)
        frames = frame.expand(len(rows), 3, 3)
        even, odd = (self._stacks.turned(rows, frames, tilts=tilts) for tilts in HALVES)
        return frame, (even[0], odd[0]), (even[1], odd[1])


def has_stacks(particles: Particles) -> bool:
    """Return whether particles are made of 2D tilt stacks."""
    source = particles.volumes
    while isinstance(source, SubsetSource):
        source = source.parent
    return isinstance(source, TiltStackVolumes)


def stacks_of(particles: Particles) -> tuple[TiltStackVolumes, list[int]]:
    """Return the tilt stacks that particles are made of, and which of them each particle is.

    Raises
    ------
    InputError
        If they are volumes.
    """
    source, index = particles.volumes, list(range(len(particles)))
    while isinstance(source, SubsetSource):
        index = [int(source.indices[i]) for i in index]
        source = source.parent
    if not isinstance(source, TiltStackVolumes):
        raise no_second_volume()
    return source, index
