from __future__ import annotations

import math

import pytest
import torch

from gumnet.alignment.near import Near
from gumnet.errors import InputError
from gumnet.geometry.so3 import angular_distance_degrees, random_rotations, rotation_from_vector

RANGES = [(30.0, 180.0), (0.0, 50.0), (40.0, 0.0), (90.0, 60.0), (180.0, 25.0), (180.0, 180.0)]


def swing_and_twist(tilt: torch.Tensor, azimuth: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Return rotations (n, 3, 3) that turn about z first, then about an axis in the plane, from degrees (n,)."""
    tilt, azimuth, turn = (torch.deg2rad(angle) for angle in (tilt, azimuth, turn))
    zero = torch.zeros_like(tilt)
    swing = rotation_from_vector(torch.stack([tilt * torch.cos(azimuth), tilt * torch.sin(azimuth), zero], dim=-1))
    return swing @ rotation_from_vector(torch.stack([zero, zero, turn], dim=-1))


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return low + (high - low) * torch.rand(n, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_cone_and_a_range_in_plane_allow_what_lies_within_both(
    dtype: torch.dtype, generator: torch.Generator
) -> None:
    tilt, turn = uniform(500, 0, 170, generator), uniform(500, -180, 180, generator)
    rotations = swing_and_twist(tilt, uniform(500, 0, 360, generator), turn).to(dtype)
    torch.testing.assert_close(torch.rad2deg(torch.acos(rotations[:, 2, 2])).double(), tilt, atol=0.05, rtol=0)
    clear = ((tilt - 60).abs() > 0.1) & ((turn.abs() - 100).abs() > 0.1)
    expected = (tilt <= 60) & (turn.abs() <= 100)
    assert torch.equal(Near(60.0, 100.0).allows(rotations)[clear], expected[clear])
    assert Near().allows(rotations).all()
    # The order of swing and twist does not matter: the turn after a swing is one before another swing.
    twist = swing_and_twist(torch.zeros(1), torch.zeros(1), torch.full((1,), 70.0)).to(dtype)
    swing = swing_and_twist(torch.full((1,), 50.0), torch.full((1,), 20.0), torch.zeros(1)).to(dtype)
    for rotation in (twist @ swing, swing @ twist):
        assert Near(51.0, 71.0).allows(rotation).all()
        assert not Near(49.0, 180.0).allows(rotation).any()
        assert not Near(180.0, 69.0).allows(rotation).any()


@pytest.mark.parametrize(("cone", "in_plane"), RANGES)
@pytest.mark.parametrize("spacing", [15.0, 22.0])
def test_a_grid_fills_its_range_and_stays_within(
    cone: float, in_plane: float, spacing: float, generator: torch.Generator
) -> None:
    near = Near(cone, in_plane)
    grid = near.grid(spacing)
    torch.testing.assert_close(grid[0], torch.eye(3, dtype=torch.float64))
    assert near.allows(grid).all()
    n = 1000
    # Directions evenly over the cap of the sphere.
    tilt = torch.rad2deg(torch.acos(uniform(n, math.cos(math.radians(cone)), 1, generator)))
    anywhere = swing_and_twist(tilt, uniform(n, 0, 360, generator), uniform(n, -in_plane, in_plane, generator))
    nearest = (anywhere.flatten(1) @ grid.flatten(1).mT).argmax(dim=1)
    assert angular_distance_degrees(anywhere, grid[nearest]).max() < spacing


def test_a_range_of_nothing_is_the_prior_itself() -> None:
    grid = Near(0.0, 0.0).grid(15.0)
    assert torch.equal(grid, torch.eye(3, dtype=torch.float64)[None])


def test_a_grid_over_part_of_all_rotations_is_as_much_smaller() -> None:
    # A cap of 30 degrees is 1/15 of the sphere; its rim is in the grid whole.
    assert len(Near(30.0, 180.0).grid(15.0)) < 0.25 * len(Near(180.0, 180.0).grid(15.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_leaves_the_range_is_cut_to_its_edge(dtype: torch.dtype, generator: torch.Generator) -> None:
    tilt, azimuth, turn = (uniform(500, *ends, generator) for ends in ((0, 170), (0, 360), (-180, 180)))
    rotations = swing_and_twist(tilt, azimuth, turn).to(dtype)
    expected = swing_and_twist(tilt.clamp(max=60), azimuth, turn.clamp(-100, 100)).to(dtype)
    near = Near(60.0, 100.0)
    torch.testing.assert_close(near.clamped(rotations), expected, atol=2e-5, rtol=0)
    torch.testing.assert_close(Near().clamped(rotations), rotations, atol=2e-5, rtol=0)
    identity = torch.eye(3, dtype=dtype)
    torch.testing.assert_close(near.clamped(identity), identity)
    torch.testing.assert_close(Near(0.0, 0.0).clamped(rotations), identity.expand_as(rotations))
    assert near.allows(near.clamped(rotations.double())).all()


def test_a_prior_is_within_any_range_of_itself_in_float32(generator: torch.Generator) -> None:
    rotations = random_rotations(1000, generator=generator).float()
    assert Near(0.0, 0.0).allows(rotations.mT @ rotations).all()


@pytest.mark.parametrize("arguments", [(-1.0, 10.0), (10.0, 181.0), (math.nan, 10.0)])
def test_ranges_beyond_a_half_turn_are_refused(arguments: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="give 0 to 180 degrees"):
        Near(*arguments)
