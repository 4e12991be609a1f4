"""Reading by corners is trilinear interpolation."""

from __future__ import annotations

import torch

from gumnet.alignment.corners import Corners, turned_corners
from gumnet.devices import seeded
from gumnet.geometry.so3 import random_rotations

SIDE = 7


def test_a_function_that_is_linear_in_each_direction_is_read_exactly() -> None:
    """1 + x + 2 y - z + x y z / 5 between grid points too."""
    z, y, x = torch.meshgrid(*[torch.arange(SIDE, dtype=torch.float32)] * 3, indexing="ij")
    points = torch.rand(3, 50, generator=seeded(1)) * (SIDE - 1)

    def functions(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return torch.stack([1 + x + 2 * y - z, x * y * z / 5], dim=-1)

    read = Corners.of(points, SIDE).read(functions(x, y, z).reshape(-1, 2))
    torch.testing.assert_close(read, functions(*points), rtol=1e-5, atol=1e-4)


def test_grid_points_are_read_as_they_are() -> None:
    grid = torch.randn(SIDE**3, 3, generator=seeded(2))
    points = torch.tensor([[0.0, 3.0, 5.0], [1.0, 0.0, 5.0], [2.0, 4.0, 5.0]])  # x, y and z of three points
    read = Corners.of(points, SIDE).read(grid)
    expected = torch.stack([grid[(2 * SIDE + 1) * SIDE], grid[4 * SIDE * SIDE + 3], grid[(5 * SIDE + 5) * SIDE + 5]])
    torch.testing.assert_close(read, expected)


def test_turned_points_are_those_of_the_inverse_rotation() -> None:
    rotations = random_rotations(700, generator=seeded(3)).float()
    points = torch.rand(130, 3, generator=seeded(4)) * 3 - 1.5  # within the grid however they are turned
    axis = torch.arange(SIDE, dtype=torch.float32) - SIDE // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    grid = torch.stack([x, y, z], dim=-1).reshape(-1, 3)
    rows, read = [], []
    for some, corners in turned_corners(rotations, points, SIDE):
        rows += list(range(some.start, some.stop))
        read.append(corners.read(grid).view(-1, len(points), 3))
    assert rows == list(range(700))
    assert len(read) > 1, "in parts"
    expected = torch.einsum("rji,mj->rmi", rotations, points)
    torch.testing.assert_close(torch.cat(read), expected, rtol=1e-4, atol=1e-5)
