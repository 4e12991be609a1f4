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

BOX, SIGMA = 24, 1.2


def posed_sums(poses: Poses, *, at: Poses | None = None, tilt_max_degrees: float = 60.0) -> Accumulator:
    """Return sums of wedged particles, at their poses unless others are given."""
    weights = missing_wedge(BOX, tilt_max_degrees)
    pairs = zip(poses.rotations, poses.shifts, strict=True)
    volumes = torch.stack([gaussians.density(BOX, r, t, sigma=SIGMA) for r, t in pairs]).float()
    sums = Accumulator(BOX)
    sums.add(to_real(to_fourier(volumes) * weights, BOX), weights[None], poses if at is None else at)
    return sums


def random_poses(n: int, generator: torch.Generator) -> Poses:
    return Poses.of(random_rotations(n, generator=generator), 2 * torch.rand(n, 3, generator=generator).double() - 1)


def error_of(mean: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the relative error of a map up to 0.375 cycles per voxel."""
    inside = frequencies(BOX).norm(dim=-1) <= 0.375
    difference = (to_fourier(mean) - to_fourier(expected.float()))[inside]
    return float(difference.norm() / to_fourier(expected.float())[inside].norm())


@pytest.mark.parametrize("name", ["C1", "C2", "C7", "D2", "T", "O", "I"])
def test_symmetry_is_the_mean_over_the_group(name: str, generator: torch.Generator) -> None:
    group = point_group(name)
    sums = posed_sums(random_poses(16, generator), tilt_max_degrees=90.0)
    symmetric = symmetrise(sums, group)
    expected = torch.stack([gaussians.density(BOX, r, sigma=SIGMA) for r in group.rotations]).mean(dim=0)
    assert error_of(symmetric.result(), expected) < 0.02
    assert symmetric.count == 16
    assert float(symmetric.weights.sum()) == pytest.approx(float(sums.weights.sum()), rel=0.05)


@pytest.mark.parametrize("name", ["C7", "I"])
def test_what_is_symmetric_stays(name: str, generator: torch.Generator) -> None:
    once = symmetrise(posed_sums(random_poses(16, generator)), point_group(name))
    assert error_of(symmetrise(once, point_group(name)).result(), once.result()) < 0.015


def test_symmetry_fills_what_no_particle_observed(generator: torch.Generator) -> None:
    """Each member is weighted by what it observed: a wedge that the axis turns is filled, and not averaged in as 0."""
    group = point_group("C7")
    copies = [gaussians.density(BOX, r, sigma=SIGMA) for r in group.rotations]
    expected = torch.stack(copies).mean(dim=0).float()
    weights = missing_wedge(BOX, 90.0, -40.0)
    sums = Accumulator(BOX)
    sums.add(to_real(to_fourier(expected) * weights, BOX)[None], weights[None], Poses.identity(1))
    alone, together = error_of(sums.result(), expected), error_of(symmetrise(sums, group).result(), expected)
    assert alone > 0.25
    assert together < 0.1


def test_sums_move_to_another_reference(generator: torch.Generator) -> None:
    poses, frame = random_poses(16, generator), random_poses(1, generator)
    # x_particle = R x_old + t and x_old = F x_new: the particles' poses on the new reference.
    again = posed_sums(poses, at=poses.compose(frame))
    moved = move(posed_sums(poses), frame)
    assert error_of(moved.result(), again.result()) < 0.03
    assert moved.count == again.count
