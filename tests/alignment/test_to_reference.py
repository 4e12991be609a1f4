from __future__ import annotations

import pytest
import torch

from gumnet.alignment.to_reference import AlignConfig, align
from gumnet.errors import InputError
from gumnet.geometry.so3 import angular_distance_degrees, random_rotations, rotation_from_vector
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
    assert (aligned.poses.scores > 0.5).all()
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


def test_bad_settings_get_one_line(particles: Particles) -> None:
    reference = density(BOX).float()
    for config, message in (
        (AlignConfig(symmetry="C5"), "symmetry 'C5'"),
        (AlignConfig(low_pass_angstrom=-3.0), "low pass"),
        (AlignConfig(method="magic"), "unknown method"),
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
