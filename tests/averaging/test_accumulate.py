from __future__ import annotations

import pytest
import torch
from oracles import gaussians

from gumnet.averaging.accumulate import Accumulator, accumulate
from gumnet.averaging.fsc import fsc
from gumnet.errors import InputError
from gumnet.geometry.fourier import frequencies, to_fourier, to_real
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.wedge import missing_wedge, rotate_weights
from gumnet.particles import MemorySource, Particles, Poses

BOX = 24
SIGMA = 1.0
"""Narrow enough that the density still has a tenth of its amplitude at 0.33 cycles per voxel."""


def random_poses(n: int, generator: torch.Generator) -> Poses:
    return Poses.of(random_rotations(n, generator=generator), 2 * torch.rand(n, 3, generator=generator).double() - 1)


def posed(poses: Poses, weights: torch.Tensor | None) -> torch.Tensor:
    volumes = torch.stack(
        [gaussians.density(BOX, r, t, sigma=SIGMA) for r, t in zip(poses.rotations, poses.shifts, strict=True)]
    ).float()
    return volumes if weights is None else to_real(to_fourier(volumes) * weights, BOX)


@pytest.mark.parametrize(("wedge", "fsc_bound", "level_bound"), [(None, 0.9995, 0.03), (60.0, 0.99, 0.08)])
def test_known_poses_average_to_the_analytic_density(
    wedge: float | None, fsc_bound: float, level_bound: float, generator: torch.Generator
) -> None:
    poses = random_poses(24, generator)
    weights = None if wedge is None else missing_wedge(BOX, wedge)
    particles = Particles.from_tensors(posed(poses, weights), voxel_size_angstrom=10.0, weights=weights, poses=poses)
    mean = accumulate(particles, batch_size=5).result()
    expected = gaussians.density(BOX, sigma=SIGMA).float()
    # The edge of a sampled wedge is one frequency sharp, so a wedged particle reaches past its box; hence the bounds.
    assert float(fsc(mean, expected)[: int(0.35 * BOX) + 1].min()) > fsc_bound
    # The level is right too, not only the shape: a plain mean of wedged particles would lose a third of it.
    low = frequencies(BOX).norm(dim=-1) <= 0.2
    error = (to_fourier(mean) - to_fourier(expected))[low].norm() / to_fourier(expected)[low].norm()
    assert float(error) < level_bound


def test_without_weights_the_wedge_would_cost_level(generator: torch.Generator) -> None:
    poses = random_poses(24, generator)
    volumes = posed(poses, missing_wedge(BOX, 40.0))
    plain = accumulate(Particles.from_tensors(volumes, voxel_size_angstrom=10.0, poses=poses)).result()
    assert float(plain.max()) < 0.75 * float(gaussians.density(BOX, sigma=SIGMA).max())


def test_only_what_was_observed_comes_back(generator: torch.Generator) -> None:
    weights = missing_wedge(BOX, 50.0)
    poses = Poses.identity(2)
    particles = Particles.from_tensors(posed(poses, weights), voxel_size_angstrom=10.0, weights=weights, poses=poses)
    spectrum = to_fourier(accumulate(particles).result())
    expected = to_fourier(gaussians.density(BOX, sigma=SIGMA).float())
    inside = frequencies(BOX).norm(dim=-1) < 0.3
    seen, unseen = inside & (weights == 1), inside & (weights == 0)
    assert float((spectrum - expected)[seen].norm() / expected[seen].norm()) < 3e-3
    # Enlarging a volume before it is sampled drops its Nyquist plane, of which a little comes back here.
    assert float(spectrum[unseen].norm() / expected[unseen].norm()) < 2e-3
    assert float(expected[unseen].abs().max()) > 1

    turned = Poses.of(random_rotations(2, generator=generator), torch.zeros(2, 3))
    particles = Particles.from_tensors(posed(turned, weights), voxel_size_angstrom=10.0, weights=weights, poses=turned)
    spectrum = to_fourier(accumulate(particles).result())
    union = rotate_weights(weights[None], turned.rotations.float()).sum(dim=0)
    seen, unseen = inside & (union > 0.99), inside & (union == 0)
    # The wedge's sharp edge is sampled between coefficients; a turn the wrong way would give an error of about 1.
    assert float((spectrum - expected)[seen].norm() / expected[seen].norm()) < 0.2
    assert float(spectrum[unseen].norm() / expected[unseen].norm()) < 0.1


def test_graded_weights_are_divided_out(generator: torch.Generator) -> None:
    k = frequencies(BOX).norm(dim=-1)
    weights = torch.stack([1 / (1 + (k / 0.1) ** 2), 0.2 + 3 * k])
    poses = Poses.identity(2)
    particles = Particles.from_tensors(posed(poses, weights), voxel_size_angstrom=10.0, weights=weights, poses=poses)
    inside = k < 0.45
    spectrum = to_fourier(accumulate(particles).result())
    expected = to_fourier(gaussians.density(BOX, sigma=SIGMA).float())
    assert float((spectrum - expected)[inside].norm() / expected[inside].norm()) < 3e-3


def test_noise_falls_as_1_over_n(generator: torch.Generator) -> None:
    weights = missing_wedge(BOX, 60.0)
    inside = frequencies(BOX).norm(dim=-1) < 0.3
    power = []
    for n in (8, 32):
        noise = torch.randn(n, BOX, BOX, BOX, generator=generator)
        noise = to_real(to_fourier(noise) * weights, BOX)
        poses = Poses.of(random_rotations(n, generator=generator), torch.zeros(n, 3))
        mean = accumulate(
            Particles.from_tensors(noise, voxel_size_angstrom=10.0, weights=weights, poses=poses)
        ).result()
        power.append(float((to_fourier(mean).abs() ** 2)[inside].mean()))
    assert power[0] / power[1] == pytest.approx(4.0, rel=0.15)


def test_the_right_noise_to_signal_ratio_gives_the_least_error(generator: torch.Generator) -> None:
    # White signal of power 1 and white noise of power 4 in each of 2 particles: the average has a ratio of 2.
    signal = torch.randn(1, BOX, BOX, BOX, generator=generator)
    volumes = signal + 2 * torch.randn(2, BOX, BOX, BOX, generator=generator)
    sums = accumulate(Particles.from_tensors(volumes, voxel_size_angstrom=10.0))
    inside = frequencies(BOX).norm(dim=-1) < 0.4
    target = to_fourier(signal[0])[inside]
    errors = {
        ratio: float((to_fourier(sums.result(ratio))[inside] - target).norm()) for ratio in (0.5, 1.0, 2.0, 4.0, 8.0)
    }
    assert min(errors, key=lambda ratio: errors[ratio]) == 2.0
    # One ratio a shell means the same as one for all of them.
    shells = torch.full((BOX // 2 + 1,), 2.0)
    torch.testing.assert_close(sums.result(shells), sums.result(2.0))


def test_parts_merge_to_the_whole(generator: torch.Generator) -> None:
    poses = random_poses(6, generator)
    weights = missing_wedge(BOX, 60.0)
    particles = Particles.from_tensors(posed(poses, weights), voxel_size_angstrom=10.0, weights=weights, poses=poses)
    whole = accumulate(particles)
    parts = accumulate(particles.select([0, 3])).merge(accumulate(particles.select([1, 2, 4, 5])))
    assert parts.count == whole.count == 6
    torch.testing.assert_close(parts.result(), whole.result())


def test_particles_are_read_batch_by_batch() -> None:
    sizes: list[int] = []

    class Watched(MemorySource):
        def read(self, indices):  # type: ignore[no-untyped-def]
            sizes.append(len(indices))
            return super().read(indices)

    particles = Particles(Watched(torch.ones(7, BOX, BOX, BOX)), Poses.identity(7), 10.0)
    accumulate(particles, batch_size=3)
    assert sizes == [3, 3, 1]


def test_nothing_observed_is_0_and_finite() -> None:
    sums = Accumulator(8)
    sums.add(torch.ones(1, 8, 8, 8), torch.zeros(1, 8, 8, 5), Poses.identity(1))
    assert bool(torch.isfinite(sums.result()).all())
    assert float(Accumulator(8).result().abs().max()) == 0


def test_a_wrong_box_is_refused() -> None:
    with pytest.raises(InputError, match="average of 8"):
        Accumulator(8).add(torch.ones(1, 9, 9, 9), None, Poses.identity(1))
