from __future__ import annotations

import math

import pytest
import torch
from oracles import gaussians
from scipy.spatial.transform import Rotation
from torch import Tensor

from gumnet.errors import InputError
from gumnet.geometry.so3 import angular_distance_degrees, random_rotations, rotation_from_vector, super_fibonacci
from gumnet.geometry.symmetry import PointGroup, point_group, symmetrised
from gumnet.geometry.warp import voxel_coordinates, warp

PHI = (1 + math.sqrt(5)) / 2
ORDERS = {"C1": 1, "C2": 2, "C7": 7, "D1": 2, "D2": 4, "D5": 10, "T": 12, "O": 24} | dict.fromkeys(
    ("I", "I1", "I2", "I3", "I4"), 60
)
X, Y, Z = (1, 0, 0), (0, 1, 0), (0, 0, 1)


def turn(fold: int, axis: tuple[float, float, float]) -> Tensor:
    unit = torch.tensor(axis, dtype=torch.float64)
    return rotation_from_vector(unit / unit.norm() * 2 * math.pi / fold)


def holds(group: PointGroup, rotation: Tensor) -> bool:
    return bool(((group.rotations - rotation).abs().amax(dim=(1, 2)) < 1e-9).any())


def fold_of(group: PointGroup, axis: tuple[float, float, float]) -> int:
    """Return how many members leave the axis where it is."""
    unit = torch.tensor(axis, dtype=torch.float64)
    unit = unit / unit.norm()
    return int(((group.rotations @ unit - unit).norm(dim=-1) < 1e-9).sum())


def orbit_density(box: int, group: PointGroup, rotation: Tensor, shift: Tensor) -> Tensor:
    """Return Gaussians on the orbits of two points, as a particle at a pose: exactly symmetric before it is placed."""
    points = voxel_coordinates(box, dtype=torch.float64)
    out = torch.zeros(box, box, box, dtype=torch.float64)
    for seed, height in (((5.0, -2.0, 3.5), 1.0), ((-1.0, 3.0, 5.5), 0.7)):
        for centre in group.rotations @ torch.tensor(seed, dtype=torch.float64):
            out += height * torch.exp(-((points - rotation @ centre - shift) ** 2).sum(-1) / (2 * 1.6**2))
    return out


@pytest.mark.parametrize("name", ORDERS)
def test_order_closure_and_inverses(name: str) -> None:
    group = point_group(name)
    s = group.rotations
    assert group.order == len(s) == ORDERS[name]
    assert s.dtype == torch.float64
    assert torch.equal(s[0], torch.eye(3, dtype=torch.float64))
    assert torch.allclose(s @ s.mT, torch.eye(3, dtype=torch.float64).expand_as(s), atol=1e-13, rtol=0)
    assert torch.allclose(torch.linalg.det(s), torch.ones(len(s), dtype=torch.float64))
    distinct = torch.cdist(s.flatten(1), s.flatten(1)) + 10 * torch.eye(len(s))
    assert float(distinct.min()) > 0.5 or group.order == 1
    assert all(holds(group, first @ second) for first in s for second in s)
    assert all(holds(group, member.mT) for member in s)


@pytest.mark.parametrize(
    ("name", "folds"),
    [
        ("C7", {7: Z}),
        ("D5", {5: Z, 2: X}),
        ("T", {3: Z, 2: (0, math.sqrt(2), 1)}),
        ("O", {4: Z, 3: (1, 1, 1), 2: (1, 1, 0)}),
        ("I1", {2: Z, 5: (0, 1, PHI), 3: (1, 0, PHI**2)}),
        ("I2", {2: Z, 5: (1, 0, PHI), 3: (0, 1, PHI**2)}),
        ("I3", {5: Z, 2: Y}),
        ("I4", {5: Z, 2: Y}),
    ],
)
def test_axes(name: str, folds: dict[int, tuple[float, float, float]]) -> None:
    group = point_group(name)
    for fold, axis in folds.items():
        assert fold_of(group, axis) == fold
        assert holds(group, turn(fold, axis))


def test_axes_that_tell_settings_apart() -> None:
    assert [fold_of(point_group("O"), axis) for axis in (X, Y, Z)] == [4, 4, 4]
    for name in ("I1", "I2"):
        assert [fold_of(point_group(name), axis) for axis in (X, Y, Z)] == [2, 2, 2]
    assert fold_of(point_group("I1"), (1, 0, PHI)) == fold_of(point_group("I2"), (0, 1, PHI)) == 1
    # RELION: I3 has a 5-fold axis at (-2, 0, 1), I4 at (2, 0, 1).
    assert fold_of(point_group("I3"), (-2, 0, 1)) == fold_of(point_group("I4"), (2, 0, 1)) == 5
    assert fold_of(point_group("I3"), (2, 0, 1)) == fold_of(point_group("I4"), (-2, 0, 1)) == 1
    # RELION's T: of the 3-folds around z, one points down the negative y axis.
    assert fold_of(point_group("T"), (0, -2 * math.sqrt(2), 1)) == 3
    assert fold_of(point_group("T"), (0, 2 * math.sqrt(2), 1)) == 1
    assert fold_of(point_group("D2"), Y) == 2
    assert fold_of(point_group("D5"), Y) == 1


@pytest.mark.parametrize(("first", "second", "fold"), [("I1", "I2", 4), ("I3", "I4", 2)])
def test_settings_differ_by_a_turn_about_z(first: str, second: str, fold: int) -> None:
    onto = turn(fold, Z)
    assert all(holds(point_group(second), onto @ member @ onto.mT) for member in point_group(first).rotations)
    assert not all(holds(point_group(second), member) for member in point_group(first).rotations)


@pytest.mark.parametrize(("name", "scipys"), [("C7", "C7"), ("D5", "D5"), ("O", "O"), ("I1", "I"), ("I2", "I")])
def test_scipy_has_the_same_turns(name: str, scipys: str) -> None:
    """Scipy's groups may be set otherwise, but the angles of their rotations are the same."""
    angles = Rotation.from_matrix(point_group(name).rotations.numpy()).magnitude()
    expected = Rotation.create_group(scipys).magnitude()
    assert sorted(angles) == pytest.approx(sorted(expected), abs=1e-7)


def test_names() -> None:
    assert point_group(" d7 ").name == "D7"
    assert point_group("C07") == point_group("c7")
    assert torch.equal(point_group("i").rotations, point_group("I2").rotations)
    assert point_group("C1000").order == 1000
    for unknown in ("", "C", "C0", "D0", "C-1", "C1.5", "C1001", "S4", "I5", "7", "C٣"):
        with pytest.raises(
            InputError, match=r"there is no point group .*; give C<n> or D<n> .*T, O, I, I1, I2, I3, I4"
        ):
            point_group(unknown)


@pytest.mark.parametrize("name", ["C3", "D2", "T", "I1"])
def test_equivalent_poses_give_the_same_particle(name: str, generator: torch.Generator) -> None:
    """A symmetric reference placed by (R S, t) is the particle that (R, t) makes, for every member S."""
    group = point_group(name)
    rotation, shift = random_rotations(1, generator=generator)[0], torch.tensor([1.0, -0.5, 0.7], dtype=torch.float64)
    particle = orbit_density(32, group, rotation, shift)
    reference = orbit_density(32, group, torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    for equivalent in group.equivalents(rotation)[:: max(1, group.order // 12)]:
        put = warp(particle[None], equivalent[None], shift[None], oversampling=3)[0]
        # Linear interpolation of a Gaussian of height 1 and width 1.6, three times finer: 3 / 8 / 1.6^2 / 3^2.
        assert float((put - reference).abs().max()) < 0.017 * float(reference.max())
    other = warp(particle[None], (rotation @ turn(9, (1, 2, 3)))[None], shift[None], oversampling=3)[0]
    assert float((other - reference).abs().max()) > 0.1 * float(reference.max())


def test_equivalents_keep_shape_type_and_begin_with_themselves(generator: torch.Generator) -> None:
    rotations = random_rotations(6, generator=generator).float().reshape(2, 3, 3, 3)
    out = point_group("D2").equivalents(rotations)
    assert out.shape == (2, 3, 4, 3, 3)
    assert out.dtype == torch.float32
    assert torch.equal(out[:, :, 0], rotations)


@pytest.mark.parametrize("name", ORDERS)
def test_every_orientation_has_one_equivalent_in_the_asymmetric_unit(name: str, generator: torch.Generator) -> None:
    group = point_group(name)
    rotations = random_rotations(20_000, generator=generator)
    share = group.in_asymmetric_unit(rotations).double().mean() * group.order
    # The binomial share of 20,000 has a relative deviation of sqrt((m - 1) / 20,000): 0.054 for 60.
    assert float(share) == pytest.approx(1.0, abs=4 * math.sqrt((group.order - 1) / 20_000))
    orbits = group.equivalents(rotations[:2000])
    inside = group.in_asymmetric_unit(orbits.reshape(-1, 3, 3)).reshape(2000, group.order)
    assert torch.equal(inside.sum(dim=1), torch.ones(2000, dtype=torch.int64))
    identity = torch.eye(3, dtype=torch.float64)
    angles = angular_distance_degrees(orbits, identity)
    assert torch.allclose(angles[inside], angles.amin(dim=1), atol=0.01, rtol=0)


@pytest.mark.parametrize("name", ["C2", "C4", "D2", "D4", "T", "O", "I2", "I4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ties_lose_no_orientation(name: str, dtype: torch.dtype) -> None:
    """Orientations on the faces, edges and corners of the unit: half and other simple turns about simple axes."""
    group = point_group(name)
    axes = [X, Y, Z, (1, 1, 0), (1, -1, 0), (0, 1, 1), (1, 0, 1), (1, 1, 1), (0, 1, PHI), (1, 0, PHI)]
    special = torch.stack([turn(1, X)] + [turn(fold, axis) for fold in (2, 3, 4, 5, 6, 8, 10) for axis in axes])
    orbits = group.equivalents(special).to(dtype)
    inside = group.in_asymmetric_unit(orbits.reshape(-1, 3, 3)).reshape(len(special), group.order)
    assert torch.equal(inside.sum(dim=1), torch.ones(len(special), dtype=torch.int64))


@pytest.mark.parametrize("name", ["C7", "D2", "O", "I1"])
def test_a_grid_restricted_to_the_unit_covers_all_orientations(name: str, generator: torch.Generator) -> None:
    group = point_group(name)
    grid = super_fibonacci(6000)
    small = grid[group.in_asymmetric_unit(grid)]
    rotations = random_rotations(500, generator=generator)
    assert len(small) == pytest.approx(6000 / group.order, rel=0.05)
    full = angular_distance_degrees(rotations[:, None], grid).amin(dim=1)
    left = group.distance_degrees(small, rotations[:, None]).amin(dim=1)
    # At the faces of the unit the neighbours across it are not those of the whole grid: a little wider.
    assert float(left.mean()) < 1.1 * float(full.mean())
    assert float(left.max()) < 1.4 * float(full.max())


@pytest.mark.parametrize("name", ["C1", "C7", "D5", "T", "O", "I1", "I3"])
def test_distance_and_nearest_against_brute_force(name: str, generator: torch.Generator) -> None:
    group = point_group(name)
    first, second = random_rotations(50, generator=generator), random_rotations(40, generator=generator)
    distance = group.distance_degrees(first[:, None], second)
    brute = angular_distance_degrees(group.equivalents(first)[:, None], second[:, None]).amin(dim=2)
    assert torch.allclose(distance, brute, atol=1e-9, rtol=0)
    assert torch.allclose(group.distance_degrees(second, first[:, None]), distance, atol=1e-9, rtol=0)
    near = group.nearest(first[:, None], second)
    assert torch.allclose(angular_distance_degrees(near, second), brute, atol=1e-9, rtol=0)
    members = first[:, None].mT @ near
    assert all(holds(group, member) for member in members.reshape(-1, 3, 3))
    assert group.nearest(first.float(), second[0]).dtype == torch.float32


def test_small_distances_are_exact(generator: torch.Generator) -> None:
    group = point_group("I1")
    base = random_rotations(60, generator=generator)
    nudged = base @ rotation_from_vector(torch.tensor([0.0, math.radians(1e-5), 0.0], dtype=torch.float64))
    distance = group.distance_degrees(nudged @ group.rotations, base)
    assert torch.allclose(distance, torch.full_like(distance, 1e-5), atol=1e-11, rtol=0)


@pytest.mark.parametrize(("name", "largest"), [("T", 90.0), ("O", 62.80), ("I1", 44.48)])
def test_largest_distances_are_those_of_crystallography(name: str, largest: float, generator: torch.Generator) -> None:
    """Mackenzie, Biometrika 45, 229 (1958): cubes are at most 62.80 degrees apart, and 40.736 on average."""
    group = point_group(name)
    distance = group.distance_degrees(random_rotations(100_000, generator=generator), torch.eye(3))
    assert largest - 2 < float(distance.max()) < largest + 0.01
    if name == "O":
        assert float(distance.mean()) == pytest.approx(40.736, abs=0.15)


@pytest.mark.parametrize("name", ["C3", "T", "I2"])
def test_symmetrised_volume_is_invariant(name: str) -> None:
    group = point_group(name)
    volume = gaussians.density(32)
    out = symmetrised(volume, group)
    for member in group.rotations[1 :: max(1, group.order // 6)]:
        turned = warp(out[None], member[None], torch.zeros(1, 3), oversampling=3)[0]
        assert float((turned - out).norm() / out.norm()) < 0.03
    # The mean of the turned copies, which are known in closed form.
    closed = torch.stack([gaussians.density(32, member) for member in group.rotations]).mean(dim=0)
    assert float((out - closed).norm() / closed.norm()) < 0.03
    assert float((volume - closed).norm() / closed.norm()) > 0.5


def test_symmetrised_in_c1_and_type() -> None:
    volume = gaussians.density(15).float()
    out = symmetrised(volume, point_group("C1"))
    assert out.dtype == torch.float32
    assert torch.allclose(out, volume, atol=1e-5)
