"""Sums that are shared among workers are those of one, to the bit."""

from __future__ import annotations

import pickle

import pytest
import torch

from gumnet.averaging.accumulate import Accumulator, accumulate
from gumnet.averaging.shared_sums import shared_sums
from gumnet.engine.backend import InProcess
from gumnet.engine.place import Place
from gumnet.engine.work import Answer, Work
from gumnet.geometry.so3 import random_rotations
from gumnet.particles import Particles, Poses

BOX, COUNT = 8, 10


class LastFirst(InProcess):
    """Stands for workers elsewhere: work and answers travel as bytes, and the batches come back in reverse."""

    slots = 99

    def next(self) -> Answer:
        return Answer.from_bytes(self._runner.answer(*self._waiting.pop()).to_bytes())


class Elsewhere(Place):
    """A place of such workers."""

    def open(self, work: Work, batches: int) -> LastFirst:
        return LastFirst(pickle.loads(pickle.dumps(work)), torch.device("cpu"))


def particles(generator: torch.Generator, *, turned: int) -> Particles:
    poses = Poses.identity(COUNT)
    poses.rotations[:turned] = random_rotations(turned, generator=generator).double()
    poses.shifts[:] = torch.rand(COUNT, 3, generator=generator, dtype=torch.float64)
    weights = torch.rand(COUNT, BOX, BOX, BOX // 2 + 1, generator=generator)
    volumes = torch.randn(COUNT, BOX, BOX, BOX, generator=generator)
    return Particles.from_tensors(volumes, voxel_size_angstrom=10.0, weights=weights, poses=poses)


@pytest.mark.parametrize("turned", [0, 1, COUNT])
def test_sums_do_not_depend_on_the_workers(
    turned: int, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gumnet.averaging.shared_sums.PARTICLES_A_PART", 3)
    some = particles(generator, turned=turned)
    here, there = (shared_sums(some, place("cpu", workers=1)) for place in (Place, Elsewhere))
    assert here.count == there.count == COUNT
    assert torch.equal(here.spectrum, there.spectrum)
    assert torch.equal(here.weights, there.weights)
    # Rounding alone tells them from sums in one go.
    whole = accumulate(some)
    torch.testing.assert_close(here.spectrum, whole.spectrum, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(here.weights, whole.weights, atol=1e-8, rtol=1e-8)


def test_sums_put_together_from_parts_are_the_sums(generator: torch.Generator) -> None:
    sums = accumulate(particles(generator, turned=COUNT).select([0]))
    again = Accumulator.of_parts(BOX, sums.to_parts())
    # A single particle is solved in a way of its own, which the number of poses decides.
    assert torch.equal(again.spectrum, sums.spectrum)
    assert torch.equal(again.merge(sums).weights, sums.merge(sums).weights)


def test_of_no_particles_there_are_no_sums(generator: torch.Generator) -> None:
    assert shared_sums(particles(generator, turned=1).select([]), Place("cpu", workers=1)).count == 0
