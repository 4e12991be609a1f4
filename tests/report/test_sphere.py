"""Directions on the sphere: even ones are called even, others by the direction that they prefer."""

from __future__ import annotations

import math

import pytest
import torch

from gumnet.geometry.so3 import random_rotations, rotation_from_vector
from gumnet.report.sphere import coverage, density, seen_from, sphere_figure
from gumnet.resolution.conical import half_sphere


def sphere(n: int) -> torch.Tensor:
    return torch.cat([half_sphere(n // 2), -half_sphere(n // 2)])


def test_a_particle_turned_by_r_is_seen_along_r_transposed_z() -> None:
    quarter = rotation_from_vector(torch.tensor([[math.pi / 2, 0.0, 0.0]], dtype=torch.float64))  # y becomes z
    assert seen_from(quarter)[0].tolist() == pytest.approx([0.0, 1.0, 0.0], abs=1e-12)


def test_random_orientations_are_not_preferred(generator: torch.Generator) -> None:
    found = [coverage(seen_from(random_rotations(60, generator=generator))) for _ in range(20)]
    assert not any(each.is_preferred for each in found)
    mean = sum(each.empty for each in found) / len(found)
    assert mean == pytest.approx(found[0].empty_by_chance, abs=0.01)
    assert "as evenly as chance" in found[0].words()


def test_one_direction_leaves_all_but_its_cap_empty() -> None:
    found = coverage(torch.tensor([[0.0, 1.0, 0.0]]).expand(40, -1))
    cap = (1 - math.cos(math.radians(found.cap_degrees))) / 2
    assert cap == pytest.approx(4 / 40), "which holds four of forty on average"
    assert found.empty == pytest.approx(1 - cap, abs=0.01)
    assert found.times_mean == pytest.approx(10.0)
    assert found.is_preferred
    assert "views along y are 10.0 times" in found.words()


def test_two_opposite_sides_are_preferred_though_they_balance() -> None:
    poles = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]).repeat(20, 1)
    assert "Preferred orientation: views along z" in coverage(poles).words()


def test_density_is_one_on_average_and_high_where_directions_are(generator: torch.Generator) -> None:
    directions = seen_from(random_rotations(10, generator=generator))
    assert density(directions, sphere(4000), 20.0).mean() == pytest.approx(1.0, abs=0.01)
    one = density(torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64), torch.tensor([[0.0, 0.0, 1.0]]).double(), 20.0)
    assert float(one) == pytest.approx(2 / math.radians(20) ** 2, rel=1e-6)


def test_the_figure_says_what_it_shows(generator: torch.Generator) -> None:
    figure = sphere_figure(random_rotations(30, generator=generator), caption="")
    assert "30 particles on the sphere" in figure.alt
    assert "tilt axis" in figure.svg
