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
from gumnet.geometry.symmetry import PointGroup, point_group
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


SYMMETRIES = ["C2", "C7", "D5", "T", "O", "I1"]


def members(group: PointGroup, n: int, generator: torch.Generator) -> Poses:
    """Return n members of a group, drawn at random, as poses."""
    drawn = torch.randint(group.order, (n,), generator=generator)
    return Poses.of(group.rotations[drawn], torch.zeros(n, 3, dtype=torch.float64))


def test_c1_is_bit_identical_to_no_symmetry(generator: torch.Generator) -> None:
    estimated, truth, references = poses(50, generator), poses(50, generator), poses(50, generator)
    c1 = point_group("C1")
    for plain, symmetric in (
        (pair_errors(estimated, truth), pair_errors(estimated, truth, symmetry=c1, reference_poses=references)),
        (set_errors(estimated, truth), set_errors(estimated, truth, symmetry=c1)),
    ):
        for name in ("frobenius", "degrees", "shifts", "shifts_rounded"):
            assert torch.equal(getattr(plain, name), getattr(symmetric, name))


@pytest.mark.parametrize("name", ["C3", "D2", "T"])
def test_equivalents_of_a_pair_lay_the_structures_on_each_other(name: str, generator: torch.Generator) -> None:
    """Blobs of a structure in the particles a and b: every pose that takes those of a to those of b has no error."""
    group = point_group(name)
    blobs = group.rotations @ torch.tensor([5.0, -2.0, 3.5], dtype=torch.float64)
    a, b = poses(1, generator), poses(1, generator)
    blobs_a, blobs_b = (blobs @ pose.rotations[0].mT + pose.shifts for pose in (a, b))
    truth = b.compose(a.inverse())
    found = 0
    # Every rotation between the two that is a turn about the structure's axes, with the shift that the centres give.
    for turn in group.equivalents(b.rotations[0]):
        rotation = (turn @ a.rotations[0].mT)[None]
        estimated = Poses.of(rotation, b.shifts - (rotation @ a.shifts[..., None])[..., 0])
        moved = blobs_a @ rotation[0].mT + estimated.shifts
        assert float(torch.cdist(moved, blobs_b).amin(dim=1).max()) < 1e-9
        errors = pair_errors(estimated, truth, symmetry=group, reference_poses=a)
        assert float(errors.degrees) < 1e-5
        assert float(errors.shifts) < 1e-9
        found += float(pair_errors(estimated, truth).degrees) < 1
    assert found == 1


@pytest.mark.parametrize("name", SYMMETRIES)
def test_pairs_forgive_a_turn_about_the_references_own_axes(name: str, generator: torch.Generator) -> None:
    group = point_group(name)
    a, b = poses(40, generator), poses(40, generator)
    truth = b.compose(a.inverse())
    estimated = b.compose(members(group, 40, generator)).compose(a.inverse())
    errors = pair_errors(estimated, truth, symmetry=group, reference_poses=a)
    assert float(errors.degrees.max()) < 1e-5
    assert float(errors.shifts.max()) < 1e-9
    assert float(errors.shifts_rounded.max()) == 0
    # Axes through the centre of the box, or in the standard orientation, are wrong for these references.
    centred = Poses.of(a.rotations, torch.zeros_like(a.shifts))
    assert float(pair_errors(estimated, truth, symmetry=group, reference_poses=centred).shifts.mean()) > 0.5
    assert float(pair_errors(estimated, truth, symmetry=group).degrees.mean()) > 5
    assert pair_errors(estimated, truth).summary()["degrees"]["mean"] > 30


def test_pairs_without_reference_poses_have_the_structure_as_reference(generator: torch.Generator) -> None:
    group, truth = point_group("D2"), poses(40, generator)
    errors = pair_errors(truth.compose(members(group, 40, generator)), truth, symmetry=group)
    assert float(errors.degrees.max()) < 1e-5
    assert float(errors.shifts.max()) < 1e-9


@pytest.mark.parametrize("name", SYMMETRIES)
def test_errors_of_pairs_under_symmetry_are_kept(name: str, generator: torch.Generator) -> None:
    """A small error on top of an equivalent pose comes out as it went in; a wrong pose is not forgiven."""
    group = point_group(name)
    a, b = poses(40, generator), poses(40, generator)
    truth = b.compose(a.inverse())
    error = Poses.of(
        rotation_from_vector(torch.tensor([[0.0, math.radians(3.0), 0.0]], dtype=torch.float64)).expand(40, 3, 3),
        torch.tensor([[0.0, 0.4, 0.3]], dtype=torch.float64).expand(40, 3),
    )
    equivalent = b.compose(members(group, 40, generator)).compose(a.inverse())
    turned = Poses.of(error.rotations @ equivalent.rotations, equivalent.shifts + error.shifts)
    errors = pair_errors(turned, truth, symmetry=group, reference_poses=a)
    assert torch.allclose(errors.degrees, torch.full_like(errors.degrees, 3.0), atol=1e-9, rtol=0)
    assert torch.allclose(errors.shifts, torch.full_like(errors.shifts, 0.5), atol=1e-9, rtol=0)
    wrong = pair_errors(poses(40, generator), truth, symmetry=group, reference_poses=a)
    oracle = group.distance_degrees(torch.eye(3), random_rotations(20_000, generator=generator))
    assert float(wrong.degrees.mean()) == pytest.approx(float(oracle.mean()), rel=0.2)
    assert float(wrong.degrees.mean()) > 20


def test_ties_in_rotation_go_to_the_smaller_shift(generator: torch.Generator) -> None:
    """A quarter turn about a 2-fold axis is equally far from both equivalents, whose shifts differ."""
    group = point_group("C2")
    quarter = rotation_from_vector(torch.tensor([[0.0, 0.0, math.pi / 2]], dtype=torch.float64))
    a = Poses.of(torch.eye(3, dtype=torch.float64)[None], torch.tensor([[4.0, 0.0, 0.0]], dtype=torch.float64))
    for shift, expected in (([0.0, 0.0, 0.0], 0.0), ([8.0, 0.0, 0.0], 0.0), ([3.0, 0.0, 0.0], 3.0)):
        estimated = Poses.of(quarter, torch.tensor([shift], dtype=torch.float64))
        errors = pair_errors(estimated, Poses.identity(1), symmetry=group, reference_poses=a)
        assert float(errors.degrees) == pytest.approx(90.0)
        assert float(errors.shifts) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", SYMMETRIES)
def test_sets_find_the_frame_and_every_particles_own_turn(name: str, generator: torch.Generator) -> None:
    group = point_group(name)
    truth, frame = poses(60, generator), poses(1, generator)
    estimated = truth.compose(members(group, 60, generator)).compose(frame.inverse())
    errors = set_errors(estimated, truth, symmetry=group)
    assert float(errors.degrees.max()) < 1e-5
    assert float(errors.shifts.max()) < 1e-6
    # The frame itself is known up to a member of the group, the nearest to the identity is given.
    assert float(group.distance_degrees(errors.frame.rotations, frame.rotations)) < 1e-5
    assert bool(group.in_asymmetric_unit(errors.frame.rotations))
    torch.testing.assert_close(errors.frame.shifts, frame.shifts, atol=1e-6, rtol=0)
    assert set_errors(estimated, truth).summary()["degrees"]["mean"] > 20


@pytest.mark.parametrize("name", ["D2", "I1"])
def test_sets_under_symmetry_stand_noise_and_a_third_of_outliers(name: str, generator: torch.Generator) -> None:
    group = point_group(name)
    truth, frame = poses(300, generator), poses(1, generator)
    noise = torch.randn(300, 3, generator=generator, dtype=torch.float64) * math.radians(2)
    shaken = Poses.of(truth.rotations @ rotation_from_vector(noise), truth.shifts)
    estimated = shaken.compose(members(group, 300, generator)).compose(frame.inverse())
    estimated = Poses.concatenate([estimated[:200], poses(100, generator)])
    errors = set_errors(estimated, truth, symmetry=group)
    # As without symmetry: 2 * sqrt(8 / pi) = 3.19 degrees for the good ones.
    assert float(errors.degrees[:200].mean()) == pytest.approx(2 * math.sqrt(8 / math.pi), rel=0.12)
    assert float(errors.degrees[200:].mean()) > 20
    assert float(group.distance_degrees(errors.frame.rotations, frame.rotations)) < 1.5


def test_random_sets_stay_near_chance_under_symmetry(generator: torch.Generator) -> None:
    group = point_group("O")
    errors = set_errors(poses(400, generator), poses(400, generator), symmetry=group)
    # The mean misorientation of cubes is 40.736 degrees (Mackenzie 1958); the frame is fitted to the same poses.
    assert 37 < errors.summary()["degrees"]["mean"] < 40.736


def test_reference_poses_must_match(generator: torch.Generator) -> None:
    estimated, truth = poses(3, generator), poses(3, generator)
    with pytest.raises(InputError, match="2 poses of references do not fit 3 pairs"):
        pair_errors(estimated, truth, symmetry=point_group("C2"), reference_poses=poses(2, generator))
    with pytest.raises(InputError, match="2 estimated poses"):
        pair_errors(estimated[:2], truth, symmetry=point_group("C2"))
