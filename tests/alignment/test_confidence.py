from __future__ import annotations

import math

import pytest
import torch

from gumnet.alignment.aligner import AlignerOptions, make_aligner
from gumnet.alignment.band import Band
from gumnet.alignment.confidence import log_likelihoods, posterior
from gumnet.alignment.likelihood import TEMPER
from gumnet.alignment.score import Candidates, Comparison, rescored
from gumnet.geometry.fourier import to_fourier, to_real
from gumnet.geometry.so3 import angular_distance_degrees, random_rotations, rotation_from_vector
from gumnet.geometry.symmetry import point_group
from gumnet.geometry.wedge import missing_wedge
from gumnet.particles import Poses
from tests.oracles.gaussians import density

CPU = torch.device("cpu")


def about_z(degrees: list[float]) -> torch.Tensor:
    vectors = torch.zeros(len(degrees), 3)
    vectors[:, 2] = torch.deg2rad(torch.tensor(degrees))
    return rotation_from_vector(vectors)


def peaks_at(degrees: list[float]) -> Candidates:
    rotations = about_z(degrees)[None]
    return Candidates(rotations, torch.zeros(1, len(degrees), 3), torch.zeros(1, len(degrees)))


def test_the_mass_is_that_of_the_peaks_within_15_degrees() -> None:
    likelihoods = torch.log(torch.tensor([[0.6, 0.3, 0.1]]))
    mass, spread = posterior(peaks_at([0.0, 12.0, 60.0]), likelihoods, torch.eye(3)[None])
    assert mass.item() == pytest.approx(0.9, abs=1e-5)
    assert spread.item() == pytest.approx(math.sqrt(0.3 * 12**2 + 0.1 * 60**2), rel=1e-4)


def test_a_peak_that_was_climbed_twice_counts_once() -> None:
    likelihoods = torch.log(torch.tensor([[0.5, 0.5, 0.49, 0.5]]))
    mass, _ = posterior(peaks_at([0.0, 60.0, 61.0, 60.5]), likelihoods, torch.eye(3)[None])
    assert mass.item() == pytest.approx(0.5, abs=1e-5)


def test_places_without_a_score_have_no_mass() -> None:
    likelihoods = torch.tensor([[0.0, -torch.inf]])
    mass, spread = posterior(peaks_at([0.0, 90.0]), likelihoods, torch.eye(3)[None])
    assert (mass.item(), spread.item()) == (1.0, 0.0)


def test_equivalent_peaks_of_a_symmetric_reference_are_one() -> None:
    likelihoods = torch.log(torch.tensor([[0.4, 0.4, 0.2]]))
    mass, _ = posterior(peaks_at([0.0, 90.0, 30.0]), likelihoods, about_z([180.0]), point_group("C4"))
    assert mass.item() == pytest.approx(0.4 / 0.6, abs=1e-5)


def test_the_weight_is_that_of_the_likelihood_ratio_of_two_gaussians() -> None:
    signal, noise_a, noise_b = 1.7, 0.6, 2.3
    joint = torch.tensor([[signal + noise_a, signal], [signal, signal + noise_b]], dtype=torch.float64)
    a, b = torch.tensor(1.1 - 0.4j, dtype=torch.complex128), torch.tensor(-0.3 + 0.8j, dtype=torch.complex128)

    def log_density(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        # A circular complex Gaussian: no factor of a half.
        values = torch.stack([first, second])
        return -(values.conj() @ torch.linalg.inv(joint).to(values.dtype) @ values).real

    other = b * torch.polar(torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.9, dtype=torch.float64))
    expected = log_density(a, b) - log_density(a, other)
    weight = signal / (noise_a * noise_b + signal * (noise_a + noise_b))
    found = 2 * weight * ((a * b.conj()).real - (a * other.conj()).real)
    torch.testing.assert_close(found, expected)


def test_log_likelihoods_are_twice_the_numerator_tempered(generator: torch.Generator) -> None:
    rotation = random_rotations(1, generator=generator)
    a = density(24)[None].float()
    b = density(24, rotation[0])[None].float() + 0.1 * torch.randn(1, 24, 24, 24, generator=generator)
    comparison = Comparison.of(a, b, None, None)
    rotations = torch.stack([rotation, random_rotations(1, generator=generator)], dim=1).float()
    peaks = rescored(comparison, Candidates(rotations, torch.zeros(1, 2, 3), torch.zeros(1, 2)), 7)
    found = log_likelihoods(comparison, peaks, 7)
    # By hand at the true pose, from the volumes.
    turned = Comparison.of(density(24, rotation[0])[None].float(), b, None, None)
    g = comparison.within(Band.up_to(24, 7))
    values = g.band.take(to_fourier(turned.reference))
    expected = 2 * TEMPER * (values * g.matched).real.sum()
    assert found[0, 0].item() == pytest.approx(expected.item(), rel=0.03)
    assert found[0, 0] > found[0, 1]


def noisy(n: int, sigma: float, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Poses]:
    wedge = missing_wedge(24, 60.0)
    rotations = random_rotations(n, generator=generator)
    volumes = torch.stack([density(24, r) for r in rotations])
    volumes = volumes + sigma * volumes.std() * torch.randn(volumes.shape, generator=generator, dtype=volumes.dtype)
    seen = to_real(to_fourier(volumes) * wedge, 24).float()
    return density(24)[None].float(), seen, wedge[None], Poses.of(rotations, torch.zeros(n, 3, dtype=torch.float64))


def test_clean_particles_are_certain_and_noise_is_not(generator: torch.Generator) -> None:
    aligner = make_aligner("exhaustive", AlignerOptions(max_shift=2.0), CPU)
    reference, volumes, wedge, _ = noisy(6, 0.3, generator)
    clean = aligner.align(reference, volumes, None, wedge)
    assert clean.confidences is not None
    assert clean.spreads_degrees is not None
    assert clean.confidences.min() > 0.99
    assert clean.spreads_degrees.max() < 5
    noise = to_real(to_fourier(torch.randn(8, 24, 24, 24, generator=generator)) * wedge, 24)
    lost = aligner.align(reference, noise, None, wedge)
    assert lost.confidences is not None
    assert lost.spreads_degrees is not None
    assert (lost.confidences >= 0.9).double().mean() <= 0.15
    assert lost.spreads_degrees.median() > 40


def test_the_spread_on_a_peak_is_the_scatter_of_the_poses(generator: torch.Generator) -> None:
    reference, volumes, wedge, truth = noisy(24, 1.0, generator)
    found = make_aligner("exhaustive", AlignerOptions(max_shift=2.0), CPU).align(reference, volumes, None, wedge)
    assert found.confidences is not None
    assert found.spreads_degrees is not None
    error = angular_distance_degrees(found.rotations, truth.rotations)
    sure = found.confidences > 0.9
    assert sure.sum() > 12
    scatter, expected = error[sure].square().mean().sqrt(), found.spreads_degrees[sure].square().mean().sqrt()
    assert 0.5 < scatter / expected < 1.2


def test_a_prior_alone_has_no_posterior(generator: torch.Generator) -> None:
    reference, volumes, wedge, truth = noisy(1, 1.0, generator)
    aligner = make_aligner("exhaustive", AlignerOptions(max_shift=2.0), CPU)
    assert aligner.align(reference, volumes, None, wedge, truth).confidences is None
