from __future__ import annotations

import pytest
import torch
from oracles.half_maps import noise, noisy_phantom
from oracles.symmetric import symmetric_halves

from gumnet.alignment.score import default_mask
from gumnet.averaging.mask import soft_sphere
from gumnet.geometry.fourier import shift_volumes
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.symmetry import point_group
from gumnet.simulation.phantom import phantom
from gumnet.symmetry.angular import angular_part, without_spherical_average
from gumnet.symmetry.judge import agreements
from gumnet.symmetry.rotations import AllRotations


def test_a_function_of_the_radius_leaves_nothing() -> None:
    ball = soft_sphere(32, 6.0, 5.0)
    assert float(without_spherical_average(ball, default_mask(32)).norm()) < 0.02 * float(ball.norm())


def test_the_rest_agrees_with_itself_by_nothing_on_the_average_of_all_rotations(generator: torch.Generator) -> None:
    part = angular_part(noisy_phantom(32, 0.05, generator)[1].float())
    values = agreements(part.comparison(), random_rotations(2000, generator=generator), torch.zeros(3), 6)
    assert abs(float(values.mean())) < 4 * float(values.std()) / 2000**0.5
    assert float(values.std()) > 0.05


def test_all_rotations_at_once_are_what_each_gives(generator: torch.Generator) -> None:
    part = angular_part(noisy_phantom(32, 0.1, generator)[1].float())
    turns = torch.cat([random_rotations(300, generator=generator), point_group("O").rotations])
    # In the same shells; the maps hold finer ones.
    each = agreements(part.comparison(), turns, torch.zeros(3), 8)
    assert float(torch.corrcoef(torch.stack([AllRotations.of(part).at(turns).double(), each]))[0, 1]) > 0.97


def test_the_centre_is_that_of_the_mass(generator: torch.Generator) -> None:
    moved = torch.tensor([2.0, -1.5, 3.0])
    volume = shift_volumes(phantom(1, 32), moved)
    part = angular_part(volume + 0.05 * noise(2, 32, generator).float())
    torch.testing.assert_close(part.centre, moved.double(), atol=0.2, rtol=0)
    # A phantom has a radius of gyration of 0.23 boxes.
    assert part.periods / part.shells == pytest.approx(2 * (5 / 3) ** 0.5 * 0.23, rel=0.15)


def test_one_map_is_as_noisy_as_two_halves_say(generator: torch.Generator) -> None:
    halves, _ = symmetric_halves("D3", 0.5, generator)
    two, one = angular_part(halves), angular_part(halves[:1])
    assert one.reach < 0.9
    counting = (two.weights > 0) & (one.weights > 0)
    assert int(counting.sum()) > 6
    assert float((two.curve - one.curve)[counting].abs().mean()) < 0.08
