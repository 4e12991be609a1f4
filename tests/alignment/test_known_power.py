from __future__ import annotations

import pytest
import torch

from gumnet.alignment import known_power
from gumnet.alignment.band import MODEL_ERROR, Band, ShellPower, shell_power
from gumnet.alignment.known_power import KnownPower, amplitude_of_average, mean_power, power_and_deviation, spread_over
from gumnet.alignment.likelihood import sharpness
from gumnet.alignment.score import Candidates, Comparison, rescored, whiten
from gumnet.geometry.fourier import shell_sums, to_fourier, to_real
from gumnet.geometry.wedge import missing_wedge
from gumnet.particles import Particles, Poses
from tests.oracles.gaussians import density

BOX = 24
SHELLS = BOX // 2 + 1


def noisy(count: int, sigma: float, generator: torch.Generator) -> torch.Tensor:
    signal = density(BOX).float()
    noise = torch.randn(count, BOX, BOX, BOX, generator=generator)
    return signal / signal.std() + sigma * noise


def test_mean_powers_are_those_of_the_particles(generator: torch.Generator) -> None:
    wedge = missing_wedge(BOX, 60.0)
    volumes = to_real(to_fourier(noisy(5, 2.0, generator)) * wedge, BOX)
    particles = Particles.from_tensors(volumes, voxel_size_angstrom=10.0, weights=wedge)
    each = [shell_power(whiten(v[None], wedge[None].sqrt()), wedge[None].sqrt()) for v in volumes]
    found = mean_power(particles)
    assert torch.allclose(found.signal[0], torch.stack([p.signal[0] for p in each]).mean(dim=0), rtol=1e-4)
    assert torch.allclose(found.noise[0], torch.stack([p.noise[0] for p in each]).mean(dim=0), rtol=1e-4)


def test_of_a_large_set_some_speak_from_the_first_to_the_last(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_power, "MOST", 3)
    volumes = noisy(7, 2.0, generator)
    found = mean_power(Particles.from_tensors(volumes, voxel_size_angstrom=10.0))
    some = mean_power(Particles.from_tensors(volumes[[0, 3, 6]], voxel_size_angstrom=10.0))
    assert torch.equal(found.signal, some.signal)
    assert torch.equal(found.noise, some.noise)


def test_those_that_speak_are_spread_over_the_set() -> None:
    assert spread_over(3, 5) == [0, 1, 2]
    rows = spread_over(10_001, 100)
    assert len(set(rows)) == 100
    assert rows[0] == 0
    assert rows[-1] == 10_000


def test_nothing_is_lost_of_a_power_that_is_divided() -> None:
    power = ShellPower(torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 4.0]]))
    divided = power.divided(torch.tensor([0.25, 1.0]))
    assert torch.allclose(divided.signal, torch.tensor([[1.0, 5.0]]))
    assert torch.allclose(divided.noise, torch.tensor([[3.0, 0.0]]))


def test_the_particles_have_the_signal_of_the_reference_and_their_own_power(generator: torch.Generator) -> None:
    share, amplitude = torch.linspace(0.9, 0.0, SHELLS), torch.linspace(0.2, 0.1, SHELLS)
    own = ShellPower(torch.rand(1, SHELLS, generator=generator), 1e6 + torch.rand(1, SHELLS, generator=generator))
    whole = shell_power(noisy(1, 0.2, generator), None)
    reference, particles = KnownPower(own, share, amplitude).of(whole)
    assert torch.allclose(reference.signal, (whole.signal + whole.noise) * share)
    assert torch.allclose(particles.signal, reference.signal * amplitude**2)
    assert torch.allclose(particles.signal + particles.noise, own.signal + own.noise)


def test_shells_count_by_what_is_known_and_not_by_what_one_particle_says(generator: torch.Generator) -> None:
    # A reference free of noise counts by 1 / N of the particles, the same in all shells of much white noise.
    reference, particles = noisy(1, 0.0, generator), noisy(100, 20.0, generator)
    powers = mean_power(Particles.from_tensors(particles, voxel_size_angstrom=10.0))
    share = torch.ones(SHELLS)
    share[9:] = 0.0
    known = Comparison.of(
        reference, particles, None, None, known=KnownPower(powers, share, 0.05 * torch.ones(SHELLS))
    ).shell_weights
    assert torch.equal(known, known[:1].expand_as(known))
    assert bool((known[:, 9:] == 0).all())
    assert bool((known[:, 1:9] > 0).all())
    alone = Comparison.of(reference, particles, None, None).shell_weights
    spread = (alone[:, 2:7].std(dim=0) / alone[:, 2:7].mean(dim=0)).amax()
    assert float(spread) > 0.1
    assert torch.allclose(known[0, 2:7], known[0, 2:7].mean().expand(5), rtol=0.05)


def test_what_is_known_does_not_hang_on_the_batch(generator: torch.Generator) -> None:
    reference, particles = noisy(1, 0.0, generator), noisy(6, 5.0, generator)
    powers = mean_power(Particles.from_tensors(particles, voxel_size_angstrom=10.0))
    known = KnownPower(powers, torch.full((SHELLS,), 0.8), 0.2 * torch.ones(SHELLS))
    all_at_once = Comparison.of(reference, particles, None, None, known=known).shell_weights
    one = Comparison.of(reference, particles[2:3], None, None, known=known).shell_weights
    assert torch.equal(all_at_once[2:3], one)


def test_an_average_tells_how_much_signal_its_particles_show(generator: torch.Generator) -> None:
    """In other units, behind a wedge, and whatever the weights of the average are."""
    wedge = missing_wedge(BOX, 60.0)
    signal = 7.0 * density(BOX).float()
    volumes = to_real(to_fourier(signal + 5.0 * torch.randn(200, BOX, BOX, BOX, generator=generator)) * wedge, BOX)
    power, deviation = power_and_deviation(Particles.from_tensors(volumes, voxel_size_angstrom=10.0, weights=wedge))
    weights = 0.3 + 0.5 * torch.rand(BOX, BOX, BOX // 2 + 1, generator=generator)
    average = to_real(to_fourier(signal) * weights, BOX)
    amplitude = amplitude_of_average(average, weights, deviation)
    transfer = weights[None].sqrt()
    shape = shell_power(whiten(average[None], transfer), transfer)
    seen = (shape.signal + shape.noise)[0] * amplitude**2
    shown = to_fourier(signal).abs() ** 2 * (wedge > 0)
    true = (shell_sums(shown[None], BOX) / shell_sums((wedge > 0).float()[None], BOX).clamp_min(1))[0] / deviation**2
    # The mean is taken off, and the wedge does not see all of a shell.
    assert torch.allclose(seen[1:7], true[1:7], rtol=0.15)
    assert float(power.signal.sum()) > 0


def test_likelihoods_of_measured_powers_are_those_of_gaussian_noise(generator: torch.Generator) -> None:
    """At the true pose, and over that of something else, it is twice the power of the signal over that of noise."""
    signal = density(BOX).float()
    sigma = 30.0 * float(signal.std())
    particles = signal + sigma * torch.randn(300, BOX, BOX, BOX, generator=generator)
    power, deviation = power_and_deviation(Particles.from_tensors(particles, voxel_size_angstrom=10.0))
    amplitude = amplitude_of_average(signal, torch.ones(BOX, BOX, BOX // 2 + 1), deviation)
    known = KnownPower(power, torch.ones(SHELLS), amplitude)
    mask = torch.ones(BOX, BOX, BOX)
    comparison = Comparison.of(signal[None], particles, None, None, mask=mask, known=known)
    poses = Candidates.from_poses(Poses.identity(300), torch.device("cpu"))
    scored = rescored(comparison, poses, 6)
    found = sharpness(comparison, scored, 6) * scored.scores[:, 0]
    band = Band.up_to(BOX, 6)
    wanted = 2 * float(band.take(to_fourier(signal)[None]).abs().square().sum()) / (BOX**3 * sigma**2)
    # A tenth of the signal counts as what no pose explains.
    assert float(found.mean()) == pytest.approx(wanted / (1 + MODEL_ERROR), rel=0.05)
