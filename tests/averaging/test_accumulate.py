from __future__ import annotations

import pytest
import torch
from oracles import gaussians

from gumnet.averaging.accumulate import Accumulator, accumulate
from gumnet.averaging.fsc import fsc
from gumnet.errors import InputError
from gumnet.geometry.fourier import frequencies, shell_indices, to_fourier, to_real
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.wedge import full_from_half, missing_wedge, rotate_weights
from gumnet.particles import MemorySource, Particles, Poses

BOX = 24
SIGMA = 1.0
"""Narrow enough that the density still has a tenth of its amplitude at 0.33 cycles per voxel."""


def random_poses(n: int, generator: torch.Generator) -> Poses:
    return Poses.of(random_rotations(n, generator=generator), 2 * torch.rand(n, 3, generator=generator).double() - 1)


def posed(poses: Poses, weights: torch.Tensor | None, box: int = BOX) -> torch.Tensor:
    volumes = torch.stack(
        [gaussians.density(box, r, t, sigma=SIGMA) for r, t in zip(poses.rotations, poses.shifts, strict=True)]
    ).float()
    return volumes if weights is None else to_real(to_fourier(volumes) * weights, box)


def error_of(mean: torch.Tensor, expected: torch.Tensor, highest: float = 0.375) -> float:
    """Return the relative error of a map up to a frequency: of its level and not only of its shape."""
    box = mean.shape[-1]
    inside = frequencies(box).norm(dim=-1) <= highest
    difference = (to_fourier(mean) - to_fourier(expected.float()))[inside]
    return float(difference.norm() / to_fourier(expected.float())[inside].norm())


def widened(weights: torch.Tensor) -> torch.Tensor:
    """Return weights (N, N, N // 2 + 1) with the largest of each coefficient's neighbours in its place."""
    box = weights.shape[0]
    wide = torch.nn.functional.max_pool3d(full_from_half(weights)[None, None], 3, stride=1, padding=1)[0, 0]
    index = torch.round(torch.fft.fftfreq(box) * box).long() + box // 2
    return wide[index[:, None], index[None, :], box // 2 :]


def oscillating(box: int) -> torch.Tensor:
    """Return weights that fall to 0 and rise again within a coefficient or two, as CTF^2 does far from focus."""
    k = frequencies(box).norm(dim=-1)
    return torch.sin(0.3 + 70 * k**2) ** 2


@pytest.mark.parametrize("box", [24, 25])
@pytest.mark.parametrize(
    ("kind", "n", "bound"), [("whole", 1, 0.03), ("whole", 24, 0.01), ("wedge", 24, 0.015), ("ctf", 24, 0.05)]
)
def test_known_poses_average_to_the_analytic_density(
    kind: str, n: int, bound: float, box: int, generator: torch.Generator
) -> None:
    poses = random_poses(n, generator)
    weights = {"whole": None, "wedge": missing_wedge(box, 60.0), "ctf": missing_wedge(box, 60.0) * oscillating(box)}[
        kind
    ]
    volumes = posed(poses, weights, box)
    particles = Particles.from_tensors(volumes, voxel_size_angstrom=10.0, weights=weights, poses=poses)
    mean = accumulate(particles, batch_size=5).result()
    expected = gaussians.density(box, sigma=SIGMA).float()
    assert float(fsc(mean, expected)[1 : round(0.375 * box) + 1].min()) > 0.995
    # The level is right too: a plain mean of wedged particles would lose a third of it.
    assert error_of(mean, expected) < bound


def test_weak_high_frequencies_come_back_beside_strong_low_ones(generator: torch.Generator) -> None:
    """An envelope leaves a ten-thousandth of the weights at 0.375: what the edges of the box leave must not count."""
    k = frequencies(BOX).norm(dim=-1)
    weights = missing_wedge(BOX, 60.0) * oscillating(BOX) * torch.exp(-2 * (k / 0.175) ** 2)
    poses = random_poses(24, generator)
    volumes = posed(poses, weights)
    mean = accumulate(Particles.from_tensors(volumes, voxel_size_angstrom=10.0, weights=weights, poses=poses)).result()
    assert float(fsc(mean, gaussians.density(BOX, sigma=SIGMA).float())[1 : round(0.375 * BOX) + 1].min()) > 0.98


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
    assert float(spectrum[unseen].norm() / expected[unseen].norm()) < 1e-5
    assert float(expected[unseen].abs().max()) > 1

    weights = missing_wedge(BOX, 35.0)
    turned = Poses.of(random_rotations(1, generator=generator), torch.zeros(1, 3))
    particles = Particles.from_tensors(posed(turned, weights), voxel_size_angstrom=10.0, weights=weights, poses=turned)
    spectrum = to_fourier(accumulate(particles).result())
    union = rotate_weights(weights[None], turned.rotations.float()).sum(dim=0)
    near = rotate_weights(widened(weights)[None], turned.rotations.float()).sum(dim=0)
    seen, unseen = inside & (union > 0.99), inside & (near == 0)
    # The wedge's sharp edge is sampled between coefficients; a turn the wrong way would give an error of about 1.
    assert float((spectrum - expected)[seen].norm() / expected[seen].norm()) < 0.15
    assert int(unseen.sum()) > 50
    assert float(spectrum[unseen].norm() / expected[unseen].norm()) < 0.03


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


def some_sums(generator: torch.Generator, n: int = 6) -> tuple[torch.Tensor, torch.Tensor, Poses]:
    poses = random_poses(n, generator)
    weights = missing_wedge(BOX, 60.0)
    return posed(poses, weights), weights[None].expand(n, -1, -1, -1), poses


def sums_of(volumes: torch.Tensor, weights: torch.Tensor | None, poses: Poses, **how: torch.Tensor) -> Accumulator:
    sums = Accumulator(BOX)
    sums.add(volumes, weights, poses, **how)
    return sums


def test_a_confidence_counts_spectrum_and_weights_alike(generator: torch.Generator) -> None:
    volumes, weights, poses = some_sums(generator)
    once = sums_of(volumes, weights, poses)
    half = sums_of(volumes, weights, poses, confidences=torch.full((6,), 0.5))
    assert half.count == 3
    torch.testing.assert_close(half.weights, once.weights / 2)
    torch.testing.assert_close(half.result(), once.result())
    # Counted twice is added twice; counted 0 is left out.
    counts = torch.tensor([2.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    counted, rows = sums_of(volumes, weights, poses, confidences=counts), [0, 0, 1]
    added = sums_of(volumes[rows], weights[rows], poses[rows])
    assert counted.count == added.count == 3
    torch.testing.assert_close(counted.result(), added.result())
    with pytest.raises(InputError, match="confidences"):
        sums_of(volumes, weights, poses, confidences=-counts)


def test_unturned_particles_come_back_exactly(generator: torch.Generator) -> None:
    """Also noise that fills the box, shifted, in parts; with a turned one all go through the grid."""
    noise = torch.randn(2, BOX, BOX, BOX, generator=generator)
    still = Poses.of(torch.eye(3).expand(2, 3, 3), torch.tensor([[0.0, 0.0, 0.0], [1.0, -2.0, 3.0]]))
    sums = sums_of(noise, None, still)
    inside = (frequencies(BOX).abs() < 0.49).all(dim=-1) & (shell_indices(BOX) <= BOX // 2)
    expected = (noise[0] + noise[1].roll((-3, 2, -1), (0, 1, 2))) / 2
    torch.testing.assert_close(to_fourier(sums.result())[inside], to_fourier(expected)[inside], atol=2e-3, rtol=1e-4)
    parts = sums_of(noise[:1], None, still[:1]).merge(sums_of(noise[1:], None, still[1:]))
    torch.testing.assert_close(parts.result(), sums.result())
    turned = random_poses(1, generator)
    together = sums_of(torch.cat([noise, noise[:1]]), None, Poses.concatenate([still, turned]))
    torch.testing.assert_close(sums.merge(sums_of(noise[:1], None, turned)).result(), together.result())


def test_each_particle_has_one_pose(generator: torch.Generator) -> None:
    volumes, weights, poses = some_sums(generator)
    with pytest.raises(InputError, match="6 poses for 2 particles"):
        sums_of(volumes[:2], weights[:2], poses)


def test_the_same_particles_give_the_same_bytes(generator: torch.Generator) -> None:
    parts = some_sums(generator)
    assert torch.equal(sums_of(*parts).result(), sums_of(*parts).result())


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
