import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from gumnet.geometry import so3


def test_super_fibonacci_covers_so3_as_measured():
    """Mean and maximum distance to a grid of 14,832 points are 4.8 and 8.1 degrees (14,832 is healpix order 2)."""
    grid = so3.super_fibonacci(14832)
    probes = so3.random_rotations(400, generator=torch.Generator().manual_seed(1))
    trace = torch.einsum("nij,mij->nm", probes, grid).max(dim=1).values
    nearest = torch.rad2deg(torch.acos(((trace - 1) / 2).clamp(-1, 1)))
    assert nearest.mean() == pytest.approx(4.8, abs=0.2)
    assert nearest.max() < 8.2


def test_grid_rotations_are_proper_rotations():
    grid = so3.super_fibonacci(100)
    assert torch.allclose(grid @ grid.mT, torch.eye(3, dtype=torch.float64).expand(100, 3, 3), atol=1e-12)
    assert torch.allclose(torch.linalg.det(grid), torch.ones(100, dtype=torch.float64))


def test_grid_size_covers_nearly_as_densely_as_a_cubic_lattice_of_that_spacing():
    """In a cubic lattice a random point lies 0.480 spacings from its nearest neighbour; the spiral is 6 % looser."""
    grid = so3.super_fibonacci(so3.grid_size_for_spacing(15.0))
    probes = so3.random_rotations(500, generator=torch.Generator().manual_seed(3))
    nearest = so3.angular_distance_degrees(probes[:, None], grid[None]).min(dim=1).values
    assert nearest.mean() == pytest.approx(1.06 * 0.480 * 15.0, rel=0.03)


def test_random_rotations_are_uniform():
    """The angle of a Haar rotation has density (1 - cos a) / pi, so its mean is pi / 2 + 2 / pi."""
    rotations = so3.random_rotations(20000, generator=torch.Generator().manual_seed(2))
    eye = torch.eye(3, dtype=torch.float64)
    mean = so3.angular_distance_degrees(rotations, eye).mean()
    assert mean == pytest.approx(math.degrees(math.pi / 2 + 2 / math.pi), abs=0.8)
    assert rotations.mean(dim=0).abs().max() < 0.02


def test_same_seed_gives_the_same_rotations():
    first = so3.random_rotations(3, generator=torch.Generator().manual_seed(5))
    second = so3.random_rotations(3, generator=torch.Generator().manual_seed(5))
    assert torch.equal(first, second)


@pytest.mark.parametrize("degrees", [1e-6, 0.01, 5.0, 90.0, 179.999])
def test_distance_is_the_angle_of_the_rotation_between(degrees, generator):
    start = so3.random_rotations(1, generator=generator)[0]
    step = Rotation.from_rotvec([0.0, math.radians(degrees) * 0.6, math.radians(degrees) * 0.8]).as_matrix()
    distance = so3.angular_distance_degrees(start, start @ torch.from_numpy(step))
    assert float(distance) == pytest.approx(degrees, rel=1e-6)


def test_rotation_vectors_are_scipys_and_differentiable_at_zero():
    vector = torch.tensor([[0.3, -1.2, 0.5], [0.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    matrices = so3.rotation_from_vector(vector)
    expected = Rotation.from_rotvec(vector.detach().numpy()).as_matrix()
    assert torch.allclose(matrices, torch.from_numpy(expected))
    matrices[1, 2, 1].backward()
    assert torch.allclose(vector.grad[1], torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))


def test_mean_rotation_undoes_a_common_rotation_of_scattered_ones(generator):
    truth = so3.random_rotations(1, generator=generator)[0]
    scatter = so3.rotation_from_vector(0.05 * torch.randn(500, 3, dtype=torch.float64, generator=generator))
    assert so3.angular_distance_degrees(so3.mean_rotation(scatter @ truth), truth) < 0.5


def test_mean_rotation_heeds_weights(generator):
    two = so3.random_rotations(2, generator=generator)
    mean = so3.mean_rotation(two, torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert so3.angular_distance_degrees(mean, two[0]) < 1e-5
