from __future__ import annotations

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from gumnet.errors import InputError
from gumnet.evaluation.metrics import (
    pair_errors,
    rotation_error_degrees,
    rotation_error_frobenius,
    set_errors,
    shift_error,
    shift_error_rounded,
)
from gumnet.geometry.so3 import random_rotations, rotation_from_vector
from gumnet.particles import Poses


def poses(n: int, generator: torch.Generator) -> Poses:
    return Poses.of(
        random_rotations(n, generator=generator), 3 * torch.randn(n, 3, generator=generator, dtype=torch.float64)
    )


def test_uniform_random_rotations_average_2_40(generator: torch.Generator) -> None:
    error = rotation_error_frobenius(
        random_rotations(40_000, generator=generator), random_rotations(40_000, generator=generator)
    )
    # Haar measure: density (1 - cos a) / pi of the angle a, error 2 sqrt(2) sin(a / 2), so the mean is
    # 2 sqrt(2) * 8 / (3 pi) = 2.401.
    assert float(error.mean()) == pytest.approx(16 * math.sqrt(2) / (3 * math.pi), abs=0.01)
    assert float(error.max()) <= 2 * math.sqrt(2) + 1e-9


@pytest.mark.parametrize("degrees", [0.0, 1e-4, 25.0, 90.0, 180.0])
def test_frobenius_is_the_chord_of_the_angle(degrees: float, generator: torch.Generator) -> None:
    base = random_rotations(4, generator=generator)
    axis = torch.nn.functional.normalize(torch.randn(4, 3, generator=generator, dtype=torch.float64), dim=-1)
    turned = base @ rotation_from_vector(axis * math.radians(degrees))
    expected = torch.full((4,), 2 * math.sqrt(2) * math.sin(math.radians(degrees) / 2), dtype=torch.float64)
    torch.testing.assert_close(rotation_error_frobenius(turned, base), expected, atol=1e-9, rtol=0)
    oracle = Rotation.from_matrix((turned.mT @ base).numpy()).magnitude()
    torch.testing.assert_close(
        rotation_error_degrees(turned, base), torch.rad2deg(torch.from_numpy(oracle)), atol=1e-5, rtol=0
    )


def test_0_62_is_about_25_degrees() -> None:
    turned = rotation_from_vector(torch.tensor([[0.0, 0.0, math.radians(25.0)]], dtype=torch.float64))
    assert float(rotation_error_frobenius(turned, torch.eye(3))) == pytest.approx(0.62, abs=0.01)


def test_shifts_are_rounded_both_before_their_distance() -> None:
    estimated, truth = torch.tensor([[0.4, 0.0, 0.0]]), torch.tensor([[0.6, 0.0, 3.4]])
    assert float(shift_error(estimated, truth)) == pytest.approx(math.hypot(0.2, 3.4), abs=1e-6)
    assert float(shift_error_rounded(estimated, truth)) == pytest.approx(math.hypot(1, 3), abs=1e-12)


def test_always_float64(generator: torch.Generator) -> None:
    truth = poses(3, generator)
    errors = pair_errors(truth.to(dtype=torch.float32), truth)
    assert errors.frobenius.dtype == errors.degrees.dtype == errors.shifts.dtype == torch.float64
    assert float(errors.degrees.max()) < 1e-4


def test_summary_and_failure_rate() -> None:
    angles = torch.tensor([0.0, 10.0, 20.0, 170.0], dtype=torch.float64)
    vectors = torch.zeros(4, 3, dtype=torch.float64)
    vectors[:, 2] = torch.deg2rad(angles)
    errors = pair_errors(Poses.of(rotation_from_vector(vectors), torch.zeros(4, 3)), Poses.identity(4))
    summary = errors.summary()["degrees"]
    assert summary["mean"] == pytest.approx(50.0)
    assert summary["median"] == pytest.approx(15.0)
    assert summary["std"] == pytest.approx(float(angles.std()))
    assert errors.failure_rate == 0.25
    assert len(errors) == 4


def test_set_errors_ignore_the_frame_exactly(generator: torch.Generator) -> None:
    truth, frame = poses(30, generator), poses(1, generator)
    # x_est = G x_true + g, so the estimated poses are the true ones after the inverse of the frame.
    estimated = truth.compose(frame.inverse())
    errors = set_errors(estimated, truth)
    assert float(errors.degrees.max()) < 1e-5
    assert float(errors.shifts.max()) < 1e-6
    torch.testing.assert_close(errors.frame.rotations, frame.rotations, atol=1e-8, rtol=0)
    torch.testing.assert_close(errors.frame.shifts, frame.shifts, atol=1e-6, rtol=0)
    # Without removing the frame the same poses are far off.
    assert pair_errors(estimated, truth).summary()["degrees"]["mean"] > 10


def test_set_errors_stand_a_third_of_outliers(generator: torch.Generator) -> None:
    truth, frame = poses(60, generator), poses(1, generator)
    estimated = truth.compose(frame.inverse())
    wrong = poses(20, generator)
    estimated = Poses.concatenate([estimated[:40], wrong])
    errors = set_errors(estimated, truth)
    assert float(errors.degrees[:40].max()) < 0.5
    assert float(errors.shifts[:40].max()) < 0.05
    assert float(errors.degrees[40:].mean()) > 60


def test_set_errors_show_noise_of_the_poses(generator: torch.Generator) -> None:
    truth, frame = poses(200, generator), poses(1, generator)
    noise = torch.randn(200, 3, generator=generator, dtype=torch.float64) * math.radians(5)
    noisy = Poses.of(truth.rotations @ rotation_from_vector(noise), truth.shifts)
    errors = set_errors(noisy.compose(frame.inverse()), truth)
    # The length of a normal 3-vector of std 5 averages 5 * sqrt(8 / pi) = 7.98 degrees.
    assert errors.summary()["degrees"]["mean"] == pytest.approx(5 * math.sqrt(8 / math.pi), rel=0.1)


def test_random_sets_stay_near_chance(generator: torch.Generator) -> None:
    errors = set_errors(poses(400, generator), poses(400, generator))
    # The frame is fitted to the same poses, so it gains a little on the 2.40 of chance.
    assert 2.2 < errors.summary()["frobenius"]["mean"] < 2.401


def test_lengths_must_match(generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="2 estimated poses"):
        pair_errors(poses(2, generator), poses(3, generator))
    with pytest.raises(InputError, match="0 estimated poses"):
        set_errors(Poses.identity(0), Poses.identity(0))
