from __future__ import annotations

import pytest
import torch

from gumnet.alignment.to_reference import AlignConfig, align
from gumnet.errors import InputError
from gumnet.geometry.so3 import angular_distance_degrees, random_rotations, rotation_from_vector
from gumnet.geometry.symmetry import point_group
from gumnet.geometry.wedge import missing_wedge
from gumnet.particles import MemorySource, Particles, Poses
from tests.oracles.gaussians import density

BOX = 24


@pytest.fixture
def truth(generator: torch.Generator) -> Poses:
    shifts = (torch.rand(5, 3, generator=generator, dtype=torch.float64) * 2 - 1) * 3
    return Poses.of(random_rotations(5, generator=generator), shifts)


@pytest.fixture
def particles(truth: Poses, generator: torch.Generator) -> Particles:
    volumes = torch.stack([density(BOX, truth.rotations[i], truth.shifts[i]) for i in range(5)]).float()
    volumes = volumes + 0.05 * torch.randn(volumes.shape, generator=generator)
    return Particles.from_tensors(volumes, voxel_size_angstrom=10.0, weights=missing_wedge(BOX, 80.0))


def test_particles_come_back_with_their_poses_and_scores(particles: Particles, truth: Poses) -> None:
    aligned = align(particles, density(BOX).float(), AlignConfig(batch_size=2))
    assert aligned.names == particles.names
    assert angular_distance_degrees(aligned.poses.rotations, truth.rotations).max() < 2
    assert (aligned.poses.shifts - truth.shifts).norm(dim=-1).max() < 0.2
    assert (aligned.poses.scores > 0.4).all()
    assert torch.isnan(particles.poses.scores).all()


def test_a_local_search_starts_from_the_poses_of_the_particles(particles: Particles, truth: Poses) -> None:
    off = rotation_from_vector(torch.deg2rad(torch.tensor([4.0, -3.0, 5.0], dtype=torch.float64)))
    start = particles.with_poses(Poses.of(off @ truth.rotations, truth.shifts - 0.5))
    aligned = align(start, density(BOX).float(), AlignConfig(local=True))
    assert angular_distance_degrees(aligned.poses.rotations, truth.rotations).max() < 2
    # Far from the truth it stays far: nothing else was searched.
    flipped = particles.with_poses(
        Poses.of(truth.rotations @ torch.diag(torch.tensor([1.0, -1, -1]).double()), truth.shifts)
    )
    stuck = align(flipped, density(BOX).float(), AlignConfig(local=True))
    assert angular_distance_degrees(stuck.poses.rotations, truth.rotations).min() > 60


def test_batches_are_read_when_their_turn_comes(particles: Particles) -> None:
    asked: list[int] = []

    class Watched(MemorySource):
        def read(self, indices: object) -> torch.Tensor:
            rows = list(indices)  # type: ignore[call-overload]
            asked.append(len(rows))
            return super().read(rows)

    watched = Particles(
        volumes=Watched(particles.read_volumes(range(5))), poses=particles.poses, voxel_size_angstrom=10.0
    )
    align(watched, density(BOX).float(), AlignConfig(batch_size=2, local=True))
    assert asked == [2, 2, 1]


def test_a_low_pass_in_angstrom_limits_the_band() -> None:
    options = AlignConfig(low_pass_angstrom=40.0).options(10.0)
    assert options.max_shell(24) == 6
    assert AlignConfig().options(10.0).max_shell(24) == 11


def test_a_high_pass_in_angstrom_leaves_low_shells_out() -> None:
    options = AlignConfig(high_pass_angstrom=80.0).options(10.0)
    assert options.min_shell(24) == 3
    assert AlignConfig().options(10.0).min_shell(24) == 1


def test_a_local_search_with_a_range_finds_a_turn_that_refinement_cannot(particles: Particles, truth: Poses) -> None:
    turn = rotation_from_vector(torch.deg2rad(torch.tensor([0.0, 0.0, 75.0], dtype=torch.float64)))
    start = particles.with_poses(Poses.of(truth.rotations @ turn, truth.shifts))
    config = AlignConfig(local=True, cone_degrees=10.0, in_plane_degrees=180.0)
    aligned = align(start, density(BOX).float(), config)
    assert angular_distance_degrees(aligned.poses.rotations, truth.rotations).max() < 2
    plain = align(start, density(BOX).float(), AlignConfig(local=True))
    assert angular_distance_degrees(plain.poses.rotations, truth.rotations).max() > 30


def test_symmetry_is_that_of_the_reference(particles: Particles, truth: Poses) -> None:
    group = point_group("C3")
    reference = torch.stack([density(BOX, s) for s in group.rotations]).sum(dim=0).float()
    poses = zip(truth.rotations, truth.shifts, strict=True)
    volumes = [torch.stack([density(BOX, r @ s, t) for s in group.rotations]).sum(dim=0) for r, t in poses]
    rings = Particles.from_tensors(torch.stack(volumes).float(), voxel_size_angstrom=10.0)
    aligned = align(rings, reference, AlignConfig(symmetry="c3"))
    assert group.distance_degrees(aligned.poses.rotations, truth.rotations).max() < 1


def test_bad_settings_get_one_line(particles: Particles) -> None:
    reference = density(BOX).float()
    for config, message in (
        (AlignConfig(symmetry="K5"), "there is no point group 'K5'"),
        (AlignConfig(low_pass_angstrom=-3.0), "low pass"),
        (AlignConfig(low_pass_angstrom=19.0), "low_pass_angstrom 19 is finer than two voxels, 20 Angstrom"),
        (AlignConfig(high_pass_angstrom=0.0), "high pass"),
        (AlignConfig(high_pass_angstrom=21.0), "high_pass_angstrom 21 leaves nothing"),
        (AlignConfig(high_pass_angstrom=50.0, low_pass_angstrom=50.0), "leaves nothing|below the highest"),
        (AlignConfig(max_shift=12.5), "max_shift 12.5 is not possible in a box of 24"),
        (AlignConfig(method="magic"), "unknown method"),
        (AlignConfig(cone_degrees=10.0), "needs poses to start from"),
        (AlignConfig(in_plane_degrees=10.0), "needs poses to start from"),
        (AlignConfig(local=True, cone_degrees=-1.0), "a cone of -1.0 degrees"),
        (AlignConfig(local=True, in_plane_degrees=200.0), "a range in plane of 200.0 degrees"),
        (AlignConfig(local=True, cone_degrees=9.0, method="ht"), "'ht' does not search about poses.*use method exhau"),
        (AlignConfig(mask=torch.ones(8, 8, 8)), r"the mask has shape \(8, 8, 8\), the particles boxes of 24"),
        (AlignConfig(mask=3 * reference), "mask: its values go from"),
        (AlignConfig(mask=torch.full((BOX,) * 3, torch.nan)), "mask: its values go from nan"),
        (AlignConfig(mask=torch.zeros(BOX, BOX, BOX)), "mask: it is a mask of 0 everywhere"),
        (AlignConfig(memory_gigabytes=0.1), "0.1 GB of memory"),
    ):
        with pytest.raises(InputError, match=message):
            align(particles, reference, config)
    with pytest.raises(InputError, match="reference has a box of 32, the particles of 24"):
        align(particles, density(32).float())
    with pytest.raises(InputError, match=r"weights_reference has shape"):
        align(particles, reference, weights_reference=torch.ones(4, 4, 3))
    spoilt = Particles.from_tensors(torch.full((1, BOX, BOX, BOX), torch.nan), voxel_size_angstrom=10.0)
    with pytest.raises(InputError, match="particle 1 holds NaN"):
        align(spoilt, reference)
