"""A particle must not find its own noise in the map that it is aligned to."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gumnet.averaging import folds
from gumnet.averaging.accumulate import accumulate
from gumnet.averaging.begin import Beginning
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.folds import dealt, half_sums, rows_of_folds
from gumnet.averaging.iterate import iterate
from gumnet.devices import seeded
from gumnet.geometry.so3 import random_rotations
from gumnet.particles import Particles, Poses

BOX = 16


def noise(count: int, seed: int) -> Particles:
    """Return particles of white noise, in random orientations, in two halves."""
    volumes = torch.randn(count, BOX, BOX, BOX, generator=seeded(seed))
    particles = Particles.from_tensors(volumes, voxel_size_angstrom=20.0)
    return replace(particles, half_sets=torch.arange(count) % 2 + 1)


@pytest.mark.parametrize(("most", "stays"), [(1, True), (4, False)])
def test_noise_does_not_stay_where_it_was(most: int, stays: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of noise all orientations are alike; with one map of all particles each finds the one that it was put in with."""
    monkeypatch.setattr(folds, "FOLDS", most)
    maps = torch.randn(2, BOX, BOX, BOX, generator=seeded(8))
    beginning = Beginning((maps[0], maps[1]), 7, False, (), ())
    made = iterate(noise(12, 3), AverageConfig(iterations=2, device="cpu"), beginning)
    moved = made.history[1].mean_change_degrees
    assert moved < 75 if stays else moved > 100  # degrees; two random rotations are 126 apart in the mean


def test_maps_of_others_are_those_without_the_fold() -> None:
    particles = noise(9, 4)
    turns = random_rotations(9, generator=seeded(5))
    particles = particles.with_poses(Poses.of(turns, torch.zeros(9, 3, dtype=torch.float64)))
    deal = dealt(9, 6)
    sums = half_sums(particles, deal, accumulate, lambda each: each.reduced())
    assert [len(rows) for rows in rows_of_folds(deal)] == [3, 2, 2, 2]
    assert sums.whole.count == 9
    for fold in range(4):
        without = accumulate(particles.select(torch.nonzero(deal != fold)[:, 0])).reduced()
        assert sums.reference(fold).count == without.count
        torch.testing.assert_close(sums.reference(fold).spectrum, without.spectrum)
        torch.testing.assert_close(sums.reference(fold).weights, without.weights)


@pytest.mark.parametrize(("count", "many"), [(1, 1), (3, 1), (4, 2), (8, 4), (75, 4), (folds.MOST_FOLDED + 1, 1)])
def test_small_halves_have_fewer_folds_and_large_ones_one(count: int, many: int) -> None:
    deal = dealt(count, 7)
    assert len(rows_of_folds(deal)) == many
    sizes = [len(rows) for rows in rows_of_folds(deal)]
    assert sum(sizes) == count
    assert max(sizes) - min(sizes) <= 1
    assert bool((deal == dealt(count, 7)).all())
