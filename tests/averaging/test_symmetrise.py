from __future__ import annotations

import pytest
import torch
from oracles import gaussians

from gumnet.averaging.accumulate import Accumulator
from gumnet.averaging.symmetrise import move, symmetrise
from gumnet.geometry.fourier import frequencies, to_fourier, to_real
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.symmetry import point_group
from gumnet.geometry.wedge import missing_wedge
from gumnet.particles import Poses

@pytest.mark.parametrize("name", ["C1", "C7", "D2", "T", "O", "I"])
def test_symmetry_is_the_mean_over_the_group(name: str, generator: torch.Generator) -> None:
    group = point_group(name)
    volumes, weights, poses = some_sums(generator, 12)
    sums = symmetrise(sums_of(volumes, weights, poses), group)
    expected = torch.stack([gaussians.density(BOX, r, sigma=SIGMA) for r in group.rotations]).mean(dim=0)
    print(name, error_of(sums.result(), expected), error_of(symmetrise(sums, group).result(), sums.result()))
    assert error_of(sums.result(), expected, 0.3) < 0.03
    # What is symmetric already stays as it is, and so does what it counts for.
    assert error_of(symmetrise(sums, group).result(), sums.result(), 0.3) < 0.02
    assert sums.count == 12
    assert float(sums.weights.sum()) == pytest.approx(float(sums_of(volumes, weights, poses).weights.sum()), rel=0.03)


def test_sums_move_to_another_reference(generator: torch.Generator) -> None:
    volumes, weights, poses = some_sums(generator, 12)
    frame = random_poses(1, generator)
    # The particles on the turned reference, which their poses are then of: x_particle = R F^-1 x_new.
    moved = move(sums_of(volumes, weights, poses), frame)
    again = sums_of(volumes, weights, poses.compose(frame))
    print(error_of(moved.result(), again.result()))
    assert error_of(moved.result(), again.result()) < 0.03
    assert moved.count == again.count
