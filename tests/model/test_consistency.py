"""Consistency of both directions of a pair."""

from __future__ import annotations

import math

import pytest
import torch

from gumnet.devices import seeded
from gumnet.geometry.so3 import angular_distance_degrees, random_rotations, rotation_from_vector
from gumnet.model.consistency import consistency_loss, inverse_poses
from gumnet.model.gumnet import GumNet, GumNetConfig
from gumnet.particles import Poses

BOX = 32


def poses(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = seeded(2)
    rotations = random_rotations(n, generator=generator, dtype=torch.float64)
    return rotations, 5 * torch.randn(n, 3, generator=generator, dtype=torch.float64)


def test_exact_inverses_cost_nothing_and_are_those_of_poses() -> None:
    rotations, shifts = poses(5)
    back = inverse_poses(rotations, shifts)
    known = Poses.of(rotations, shifts).inverse()
    torch.testing.assert_close(back, (known.rotations, known.shifts))
    loss = consistency_loss(rotations, shifts, *back, BOX)
    torch.testing.assert_close(loss, torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-20)


@pytest.mark.parametrize("degrees", [4.0, 90.0, 180.0])
def test_a_turn_and_a_shift_cost_what_they_are(degrees: float) -> None:
    """(1 - cos w) / 2 of the turn that is left, and the square of the shift that is left in quarters of the box."""
    rotations, shifts = poses(4)
    axes = torch.nn.functional.normalize(torch.randn(4, 3, generator=seeded(0), dtype=torch.float64), dim=1)
    left = rotation_from_vector(axes * math.radians(degrees))
    back, moved = inverse_poses(rotations, torch.zeros_like(shifts))
    loss = consistency_loss(rotations, torch.zeros_like(shifts), left @ back, moved, BOX)
    turned = torch.full((4,), (1 - math.cos(math.radians(degrees))) / 2, dtype=torch.float64)
    torch.testing.assert_close(loss, turned)
    back, moved = inverse_poses(rotations, shifts)
    off = torch.tensor([0.0, BOX / 4, 0.0], dtype=torch.float64)
    ones = torch.ones(4, dtype=torch.float64)
    torch.testing.assert_close(consistency_loss(rotations, shifts, back, moved + off, BOX), ones)
    # From either side it is the same.
    one = consistency_loss(rotations, shifts, left @ back, moved + off, BOX)
    torch.testing.assert_close(one, consistency_loss(left @ back, moved + off, rotations, shifts, BOX))


def test_its_gradient_moves_a_wrong_pose_towards_the_inverse() -> None:
    rotations, shifts = poses(3)
    back, moved = inverse_poses(rotations, shifts)
    turn = torch.tensor([[0.5, 0.0, 0.1], [0.0, -1.0, 0.0], [1.2, 1.2, 0.0]], dtype=torch.float64).requires_grad_()
    step = torch.full((3, 3), 2.0, dtype=torch.float64).requires_grad_()

    def off() -> tuple[torch.Tensor, torch.Tensor]:
        return rotation_from_vector(turn) @ back, moved + step

    before = angular_distance_degrees(off()[0], back).detach()
    consistency_loss(rotations, shifts, *off(), BOX).sum().backward()
    assert turn.grad is not None
    assert step.grad is not None
    with torch.no_grad():
        turn -= 0.2 * turn.grad
        step -= 2.0 * step.grad
        after = angular_distance_degrees(off()[0], back)
    assert bool((after < before - 1.0).all())
    assert float(step.detach().norm(dim=1).max()) < 2.0 * 3**0.5


def test_a_network_asked_both_ways_says_what_it_says_each_way() -> None:
    torch.manual_seed(0)
    config = GumNetConfig(box=20, channels=(2, 2, 4, 4, 8), branch_channels=4, hidden=16)
    model = GumNet(config).eval()
    with torch.no_grad():
        model.head.last.weight.add_(0.3 * torch.randn(model.head.last.weight.shape))
        a, b = torch.randn(2, 3, 20, 20, 20, generator=seeded(1))
        there, back, both = model(a, b), model(b, a), model(a, b, both_ways=True)
    for one, other, whole in zip(there, back, both, strict=True):
        assert float((one - other).abs().max()) > 1e-3
        torch.testing.assert_close(whole, torch.cat([one, other]), atol=1e-5, rtol=1e-4)
