import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from gumnet.geometry.rigid import (
    euler_from_matrix,
    matrix_from_euler,
    matrix_from_relion,
    matrix_from_six,
    relion_from_matrix,
)
from gumnet.geometry.so3 import angular_distance_degrees, random_rotations
from gumnet.particles import Poses

angle = st.floats(-360, 360, allow_nan=False)


@pytest.mark.parametrize("convention", ["ZYZ", "zyz", "zxz", "ZXZ", "xyz"])
@settings(max_examples=25, deadline=None)
@given(st.tuples(angle, angle, angle))
def test_euler_angles_mean_what_scipy_says(convention, angles):
    ours = matrix_from_euler(convention, torch.tensor(angles, dtype=torch.float64))
    theirs = Rotation.from_euler(convention, angles, degrees=True).as_matrix()
    assert torch.allclose(ours, torch.from_numpy(theirs), atol=1e-12)


def test_relion_angles_are_the_inverse_of_intrinsic_zyz():
    angles = [20.0, 75.0, -130.0]
    expected = Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()
    assert torch.allclose(matrix_from_relion(torch.tensor(angles, dtype=torch.float64)), torch.from_numpy(expected))


@settings(max_examples=50, deadline=None)
@given(st.tuples(angle, st.sampled_from([0.0, 1e-7, 30.0, 90.0, 180.0, -45.0]), angle))
def test_relion_angles_survive_the_round_trip_also_at_the_poles(angles):
    rotation = matrix_from_relion(torch.tensor(angles, dtype=torch.float64))
    again = matrix_from_relion(relion_from_matrix(rotation))
    assert angular_distance_degrees(rotation, again) < 1e-5


@pytest.mark.parametrize("tilt", [1e-9, 1e-7, 1e-6, 5e-6, 1e-3])
@pytest.mark.parametrize("pole", [0.0, 180.0])
def test_relion_angles_are_as_exact_beside_the_poles(pole, tilt, generator):
    angles = torch.rand(20, 3, generator=generator, dtype=torch.float64) * 360 - 180
    angles[:, 1] = abs(pole - tilt)
    rotations = matrix_from_relion(angles)
    back = relion_from_matrix(rotations)
    torch.testing.assert_close(matrix_from_relion(back), rotations, atol=1e-14, rtol=0)
    assert back[:, [0, 2]].abs().max() <= 180


def test_euler_from_matrix_returns_batches(generator):
    rotations = random_rotations(7, generator=generator)
    angles = euler_from_matrix("zxz", rotations)
    assert angles.shape == (7, 3)
    assert torch.allclose(matrix_from_euler("zxz", angles), rotations, atol=1e-9)


def test_six_numbers_give_rotations_and_columns_of_a_rotation_give_it_back(generator):
    rotations = random_rotations(5, generator=generator)
    six = torch.cat([2.5 * rotations[..., 0], 0.3 * rotations[..., 1] + 0.7 * rotations[..., 0]], dim=-1)
    assert torch.allclose(matrix_from_six(six), rotations, atol=1e-12)
    free = matrix_from_six(torch.randn(20, 6, dtype=torch.float64, generator=generator))
    assert torch.allclose(free @ free.mT, torch.eye(3, dtype=torch.float64).expand(20, 3, 3), atol=1e-12)
    assert torch.allclose(torch.linalg.det(free), torch.ones(20, dtype=torch.float64))


def test_six_gradcheck(generator):
    six = torch.randn(3, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(matrix_from_six, six)


def poses(n, generator):
    return Poses.of(
        random_rotations(n, generator=generator), torch.randn(n, 3, dtype=torch.float64, generator=generator)
    )


def test_pose_and_inverse_cancel(generator):
    pose = poses(6, generator)
    both = pose.compose(pose.inverse())
    assert torch.allclose(both.rotations, Poses.identity(6).rotations, atol=1e-12)
    assert torch.allclose(both.shifts, torch.zeros(6, 3, dtype=torch.float64), atol=1e-12)


def test_compose_applies_the_inner_pose_first(generator):
    outer, inner = poses(4, generator), poses(4, generator)
    point = torch.randn(4, 3, 1, dtype=torch.float64, generator=generator)
    step = inner.rotations @ point + inner.shifts[..., None]
    step = outer.rotations @ step + outer.shifts[..., None]
    both = outer.compose(inner)
    assert torch.allclose(both.rotations @ point + both.shifts[..., None], step)
