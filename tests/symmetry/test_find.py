"""The point group of phantoms that were made symmetric, or not, from half maps in any frame."""

from __future__ import annotations

import doctest

import pytest
import torch
from oracles.half_maps import noise
from oracles.symmetric import BOX, symmetric_halves

import gumnet
import gumnet.symmetry.find
from gumnet.averaging.mask import soft_sphere
from gumnet.errors import InputError
from gumnet.geometry.so3 import angular_distance_degrees
from gumnet.geometry.symmetry import point_group
from gumnet.geometry.warp import voxel_coordinates, warp
from gumnet.particles import Poses
from gumnet.symmetry.result import Symmetry

VOXEL = 10.0


def found(maps: torch.Tensor, max_fold: int = 7) -> Symmetry:
    return gumnet.find_symmetry(maps, voxel_size_angstrom=VOXEL, max_fold=max_fold)


def frame_error_degrees(name: str, pose: Poses, true: Poses) -> float:
    """Return how far the turns of a group in one frame are from those in another, at most."""
    members = point_group(name).rotations[1:]
    first, second = (p.rotations[0] @ members @ p.rotations[0].mT for p in (pose, true))
    return float(angular_distance_degrees(first[:, None], second[None]).amin(dim=1).max())


@pytest.mark.parametrize(
    ("name", "snr", "degrees"),
    [
        ("C2", 0.1, 3.0),
        ("C7", 1.0, 1.0),
        ("D2", 0.3, 2.5),
        ("D5", 1.0, 1.5),
        ("T", 0.3, 2.5),
        ("O", 1.0, 2.0),
        ("I", 10.0, 2.0),
        ("I", 1.0, 4.0),
    ],
)
def test_the_group_and_its_axes_are_found(name: str, snr: float, degrees: float, generator: torch.Generator) -> None:
    halves, pose = symmetric_halves(name, snr, generator)
    symmetry = found(halves)
    assert symmetry.name == name, symmetry.words()
    assert frame_error_degrees(name, symmetry.pose, pose) < degrees
    offset = symmetry.pose.shifts[0] - pose.shifts[0]
    if name[0] == "C":  # where along its axis is free
        offset = offset - (offset @ pose.rotations[0, :, 2]) * pose.rotations[0, :, 2]
    assert float(offset.norm()) < 0.5


@pytest.mark.parametrize(("snr", "seed"), [(100.0, 0), (0.3, 1), (0.03, 0)])
def test_what_has_no_symmetry_gets_none(snr: float, seed: int, generator: torch.Generator) -> None:
    symmetry = found(symmetric_halves("C1", snr, generator, seed=seed)[0])
    assert symmetry.name in {"C1"} if snr >= 0.1 else {"C1", None}, symmetry.words()
    assert torch.equal(symmetry.pose.rotations, Poses.identity(1).rotations)
    assert "C2" in {candidate.group.name for candidate in symmetry.candidates}


@pytest.mark.parametrize("deviation", [0.0, 0.02, 0.3])
def test_a_sphere_is_not_icosahedral(deviation: float, generator: torch.Generator) -> None:
    hollow = soft_sphere(BOX, 7.0, 2.0) - soft_sphere(BOX, 3.0, 3.0)
    symmetry = found(hollow + deviation * noise(2, BOX, generator).float())
    assert symmetry.name is None
    assert "featureless" in symmetry.words()


def test_noise_has_no_symmetry(generator: torch.Generator) -> None:
    symmetry = found(noise(2, BOX, generator).float())
    assert symmetry.name is None
    assert "half maps do not agree" in symmetry.words()


def test_the_fold_of_a_round_axis_is_not_told(generator: torch.Generator) -> None:
    points = voxel_coordinates(BOX)
    rod = soft_sphere(BOX, 7.0, 3.0) * torch.exp(-points[..., :2].square().sum(dim=-1) / 12)
    symmetry = found(rod + 0.02 * noise(2, BOX, generator).float(), max_fold=4)
    assert symmetry.name is None
    assert "(0.0" in symmetry.words()
    assert "fold of that axis does not show" in symmetry.words()


def test_few_periods_tell_nothing(generator: torch.Generator) -> None:
    blob = torch.exp(-(voxel_coordinates(BOX).square() / torch.tensor([10.0, 20.0, 40.0])).sum(dim=-1))
    symmetry = found(blob + 0.3 * noise(2, BOX, generator).float())
    assert symmetry.name is None
    assert "too coarse" in symmetry.words()


def test_the_pose_brings_the_map_into_the_setting(generator: torch.Generator) -> None:
    halves, _ = symmetric_halves("D4", 30.0, generator, shift=2.5)
    pose = found(halves).pose
    onto = warp(halves[:1], pose.rotations.float(), pose.shifts.float(), oversampling=2)[0] * soft_sphere(BOX, 8, 3)
    inner = onto[1:, 1:, 1:]
    # A quarter turn about z, [z, y, x], and half a turn about x.
    for turned in (inner.rot90(1, (1, 2)), inner.flip(0, 1)):
        assert float(torch.corrcoef(torch.stack([inner.flatten(), turned.flatten()]))[0, 1]) > 0.93


def test_one_map_is_enough_where_it_is_clean(generator: torch.Generator) -> None:
    halves, pose = symmetric_halves("D3", 3.0, generator)
    symmetry = found(halves[0])
    assert symmetry.name == "D3"
    assert frame_error_degrees("D3", symmetry.pose, pose) < 1.5
    assert found(soft_sphere(BOX, 6.0, 3.0) + 0.3 * noise(1, BOX, generator)[0].float()).name is None


def test_parts_of_the_group_fit_too_and_are_listed(generator: torch.Generator) -> None:
    symmetry = found(symmetric_halves("O", 1.0, generator)[0])
    assert symmetry.candidates[0].group.name == "O"
    fitting = {candidate.group.name for candidate in symmetry.candidates if candidate.weakest > 0.75}
    assert {"C2", "C3", "C4", "D2", "D3", "D4", "T", "O"} <= fitting
    assert not {"C5", "C7", "D7", "I"} & fitting


def test_wrong_input_is_refused() -> None:
    with pytest.raises(InputError, match="maps of shape"):
        found(torch.zeros(3, 8, 8, 8))
    with pytest.raises(InputError, match="NaN"):
        found(torch.full((8, 8, 8), torch.nan))
    with pytest.raises(InputError, match="fold of 1"):
        found(torch.zeros(8, 8, 8), max_fold=1)
    with pytest.raises(InputError, match="mask has shape"):
        gumnet.find_symmetry(torch.zeros(8, 8, 8), voxel_size_angstrom=1.0, mask=torch.zeros(4, 4, 4))


def test_the_example_is_true() -> None:
    assert doctest.testmod(gumnet.symmetry.find) == (0, 5)
