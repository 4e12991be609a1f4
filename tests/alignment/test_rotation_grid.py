from __future__ import annotations

import math

import pytest
import torch

from gumnet.alignment.band import Band
from gumnet.alignment.rotation_grid import TURNS, RotationGrid, cube_turns, turned_indices
from gumnet.geometry.fourier import to_fourier
from gumnet.geometry.so3 import angular_distance_degrees, random_rotations
from gumnet.geometry.warp import voxel_coordinates


def nearest_degrees(rotations: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Return the distance (n,) of rotations (n, 3, 3) to the nearest of a grid (r, 3, 3)."""
    index = (rotations.flatten(1) @ grid.flatten(1).mT).argmax(dim=1)
    return angular_distance_degrees(rotations, grid[index])


def test_a_cube_has_24_turns() -> None:
    turns = cube_turns()
    assert turns.shape == (TURNS, 3, 3)
    assert torch.equal(turns[0], torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(torch.linalg.det(turns), torch.ones(TURNS, dtype=torch.float64))
    # Each takes the axes to axes, and no two do so alike.
    assert torch.equal(turns.abs().sum(dim=1), torch.ones(TURNS, 3, dtype=torch.float64))
    assert len(torch.unique(turns, dim=0)) == TURNS


def test_a_grid_is_closed_under_the_turns() -> None:
    grid = RotationGrid.of_spacing(30.0)
    rotations = grid.rotations
    assert len(grid) == len(rotations) == TURNS * len(grid.bases)
    for turn in cube_turns():
        assert nearest_degrees(turn @ rotations, rotations).max() < 1e-5
    i, j = len(grid.bases) - 1, 7
    torch.testing.assert_close(rotations[TURNS * i + j], cube_turns()[j] @ grid.bases[i])


@pytest.mark.parametrize("spacing", [15.0, 25.0])
def test_a_grid_covers_all_rotations(spacing: float, generator: torch.Generator) -> None:
    grid = RotationGrid.of_spacing(spacing)
    assert nearest_degrees(random_rotations(2000, generator=generator), grid.rotations).max() < 1.03 * spacing
    # No denser than its spacing says: each rotation has a cube of that side to itself, of a volume of 8 pi^2.
    assert len(grid) == pytest.approx(8 * math.pi**2 / math.radians(spacing) ** 3, rel=0.1)
    apart = grid.rotations.flatten(1) @ grid.rotations.flatten(1).mT
    assert apart.fill_diagonal_(-1.0).max() < 1 + 2 * math.cos(math.radians(spacing / 3)), "no two nearly the same"


def test_the_grid_is_closed_under_the_turns() -> None:
    grid = RotationGrid.of_spacing(40.0)
    for turn in cube_turns():
        assert nearest_degrees(turn @ grid.rotations, grid.rotations).max() < 1e-5


def test_parents_are_the_nearest() -> None:
    fine, coarse = RotationGrid.of_spacing(20.0), RotationGrid.of_spacing(35.0)
    parents = fine.parents(coarse)
    everything = angular_distance_degrees(fine.rotations[:, None], coarse.rotations[None])
    chosen = everything.gather(1, parents[:, None])[:, 0]
    torch.testing.assert_close(chosen, everything.min(dim=1).values, atol=1e-5, rtol=0)


@pytest.mark.parametrize("box", [10, 11])
def test_turned_coefficients_are_those_at_the_turned_frequencies(box: int, generator: torch.Generator) -> None:
    volume = torch.randn(box, box, box, generator=generator, dtype=torch.float64)
    band = Band.up_to(box, 4)
    index, conjugated = turned_indices(band)
    held = band.take(to_fourier(volume))
    points = voxel_coordinates(box, dtype=torch.float64).reshape(-1, 3)
    for j, turn in enumerate(cube_turns()):
        angle = -2 * math.pi / box * (band.index.double() @ turn.mT) @ points.mT
        direct = torch.polar(torch.ones_like(angle), angle) @ volume.reshape(-1).to(torch.complex128)
        found = torch.where(conjugated[j], held[index[j]].conj(), held[index[j]])
        torch.testing.assert_close(found, direct)
