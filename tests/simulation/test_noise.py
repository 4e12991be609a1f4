"""The signal-to-noise ratio, measured on two noisy copies of one signal, is the one asked for."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gumnet.geometry.ctf import ctf
from gumnet.geometry.fourier import frequencies, shell_sums, to_fourier
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.wedge import missing_wedge
from gumnet.particles import Poses
from gumnet.simulation.config import NoiseColour, SimulationConfig
from gumnet.simulation.dataset import posed
from gumnet.simulation.microscope import FourierImaging, envelope, radial_transfer
from gumnet.simulation.noise import measured_snr, variance
from gumnet.simulation.phantom import phantom
from gumnet.simulation.tilt_series import TiltSeriesImaging


@pytest.fixture(scope="module")
def volumes() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    poses = Poses.of(random_rotations(16, generator=generator), torch.randn(16, 3, generator=generator).double())
    return posed(phantom(3, 24)[None], poses)


def check_snr(first: torch.Tensor, second: torch.Tensor, snr: float) -> None:
    # Copies are centred and pooled: the c of a single volume, with few free values where noise is coloured, is biased.
    first, second = (v - v.mean((1, 2, 3), keepdim=True) for v in (first, second))
    pooled = float(measured_snr(first.reshape(1, -1, 1, 1), second.reshape(1, -1, 1, 1)))
    c, expected = pooled / (1 + pooled), snr / (1 + snr)
    # The standard error of a ratio of means.
    covariance, power = (first * second).flatten(1).mean(1), (first**2 + second**2).flatten(1).mean(1) / 2
    error = float((covariance - c * power).std() / power.mean()) / math.sqrt(len(first))
    assert error < 0.08 * expected
    assert c == pytest.approx(expected, abs=3.5 * error)


@pytest.mark.parametrize("has_wedge", [True, False])
@pytest.mark.parametrize("colour", ["white", "coloured"])
@pytest.mark.parametrize("with_ctf", [True, False])
@pytest.mark.parametrize("again", [True, False])
def test_snr_of_the_fourier_model(
    volumes: torch.Tensor, colour: NoiseColour, has_wedge: bool, with_ctf: bool, again: bool
) -> None:
    generator = torch.Generator().manual_seed(2)
    config = SimulationConfig(snr=0.5, box=24, noise=colour, ctf=with_ctf, ctf_in_weights=again)
    imaging = FourierImaging(config, has_wedge=has_wedge)
    copies = [imaging.subtomograms(volumes.repeat(4, 1, 1, 1), generator) for _ in range(2)]
    check_snr(copies[0], copies[1], 0.5)


@pytest.mark.parametrize("has_wedge", [True, False])
@pytest.mark.parametrize("colour", ["white", "coloured"])
def test_snr_of_the_tilt_series_model(volumes: torch.Tensor, colour: NoiseColour, has_wedge: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    config = SimulationConfig(snr=0.5, box=16, noise=colour, model="tilt-series", tilt_step_degrees=20.0)
    imaging = TiltSeriesImaging(config, has_wedge=has_wedge)
    signals = volumes[:, 4:20, 4:20, 4:20].repeat(3, 1, 1, 1)
    copies = [imaging.subtomograms(signals, generator) for _ in range(2)]
    check_snr(copies[0], copies[1], 0.5)


@pytest.mark.parametrize("snr", [0.05, 100.0])
def test_noise_variance_of_every_volume_is_exact(volumes: torch.Tensor, generator: torch.Generator, snr: float) -> None:
    imaging = FourierImaging(SimulationConfig(snr=snr, box=24), has_wedge=True)
    signal = imaging.signal(volumes)
    noise = imaging.subtomograms(volumes, generator) - signal
    torch.testing.assert_close(variance(signal) / variance(noise), torch.full((16,), snr), rtol=1e-3, atol=0)


def test_measured_snr_is_the_closed_form() -> None:
    # Two copies s + n1, s + n2 with orthogonal parts: c = S / (S + N).
    s, n1, n2 = torch.zeros(3, 8, 8, 8)
    s[0, 0, 0], s[0, 0, 1] = 3, -3
    n1[1, 0, 0], n1[1, 0, 1] = 2, -2
    n2[2, 0, 0], n2[2, 0, 1] = 2, -2
    assert float(measured_snr((s + n1)[None], (s + n2)[None])) == pytest.approx(9 / 4, rel=1e-5)


def test_half_of_coloured_noise_goes_through_the_ctf(generator: torch.Generator) -> None:
    config = SimulationConfig(snr=1.0, box=24)
    imaging = FourierImaging(config, has_wedge=True)
    signal = torch.randn(1, 24, 24, 24, generator=generator).expand(192, -1, -1, -1)
    noise = imaging.subtomograms(signal, generator) - imaging.signal(signal)
    power = shell_sums(to_fourier(noise).abs().square(), 24).mean(0)
    observed = missing_wedge(24, 60.0)
    parts = [shell_sums(f.square() * observed, 24) for f in (radial_transfer(config), envelope(config))]
    whole = [float((f.square() * observed)[..., 1:].sum() * 2) for f in (radial_transfer(config), envelope(config))]
    expected = parts[0] / whole[0] + parts[1] / whole[1]
    shells = slice(2, 9)
    ratio = (power / power[shells].sum() / (expected / expected[shells].sum()))[shells]
    torch.testing.assert_close(ratio, torch.ones(7), rtol=0.06, atol=0)


def test_coloured_noise_without_ctf_is_white(volumes: torch.Tensor) -> None:
    config = SimulationConfig(snr=1.0, box=24, ctf=False)
    made = [
        FourierImaging(replace(config, noise=colour), has_wedge=True).subtomograms(
            volumes, torch.Generator().manual_seed(4)
        )
        for colour in ("coloured", "white")
    ]
    torch.testing.assert_close(made[0], made[1], rtol=1e-4, atol=1e-4 * float(made[1].std()))


def test_white_noise_is_flat_and_ends_at_the_wedge(generator: torch.Generator) -> None:
    imaging = FourierImaging(SimulationConfig(snr=1.0, box=24, noise="white"), has_wedge=True)
    signal = torch.randn(1, 24, 24, 24, generator=generator).expand(192, -1, -1, -1)
    noise = imaging.subtomograms(signal, generator) - imaging.signal(signal)
    power = to_fourier(noise).abs().square().mean(0)
    observed = missing_wedge(24, 60.0)
    assert float(power[observed == 0].max()) < 1e-6 * float(power.mean())
    shells = shell_sums(power, 24)[1:] / shell_sums(observed, 24)[1:]
    torch.testing.assert_close(shells / shells.mean(), torch.ones(12), rtol=0.08, atol=0)


def test_radial_transfer_is_the_ctf_of_an_image() -> None:
    config = SimulationConfig(voxel_size_angstrom=4.0)
    images = ctf(32, 4.0, torch.tensor([20000.0]), amplitude_contrast=0.07, envelope_frequency=0.2)[0]
    torch.testing.assert_close(radial_transfer(config)[0], images, atol=2e-5, rtol=0)
    # Low frequencies are positive: white on black stays so.
    assert float(radial_transfer(config)[0, 0, 0]) == pytest.approx(0.07)


def test_ctf_in_weights_is_data_times_ctf(volumes: torch.Tensor) -> None:
    config = SimulationConfig(box=24, snr=math.inf, noise="white", ctf_in_weights=True)
    generator = torch.Generator()
    imaging = FourierImaging(config, has_wedge=True)
    transfer = radial_transfer(config)
    torch.testing.assert_close(imaging.weights, transfer.square() * missing_wedge(24, 60.0))
    # spectrum = weights * structure, the form of gumnet.types.
    found = to_fourier(imaging.subtomograms(volumes, generator))
    torch.testing.assert_close(found, imaging.weights * to_fourier(volumes), atol=1e-3, rtol=0)


def test_tilt_series_without_noise_is_the_fourier_model(volumes: torch.Tensor, generator: torch.Generator) -> None:
    # Two roads to one volume: 41 tilts back-projected, and the weights of those tilts as a filter.
    config = SimulationConfig(box=24, snr=math.inf, model="tilt-series", tilt_step_degrees=3.0)
    imaging = TiltSeriesImaging(config, has_wedge=True)
    found = imaging.subtomograms(volumes[:4], generator)
    spectra, expected = to_fourier(found), imaging.weights * to_fourier(volumes[:4])
    product = (spectra * expected.conj()).real.sum((1, 2, 3))
    correlation = product / (spectra.flatten(1).norm(dim=1) * expected.flatten(1).norm(dim=1))
    assert float(correlation.min()) > 0.98
    # And it leaves the same wedge empty.
    radius = frequencies(24).norm(dim=-1)
    missing = (missing_wedge(24, 66.0) == 0) & (radius > 0.15) & (radius < 0.35)
    power = spectra.abs().square().mean(0)
    seen = (missing_wedge(24, 55.0) == 1) & (radius > 0.15) & (radius < 0.35)
    assert float(power[missing].mean()) < 0.05 * float(power[seen].mean())


def test_reconstruction_is_that_of_tomography(volumes: torch.Tensor) -> None:
    from gumnet.geometry.tomography import premultiplied

    config = SimulationConfig(box=24, model="tilt-series", tilt_step_degrees=20.0)
    imaging = TiltSeriesImaging(config, has_wedge=True)
    images = imaging.images(volumes[:2])
    expected, weights = premultiplied(images, imaging.matrices, imaging.transfer)
    torch.testing.assert_close(imaging.reconstruct(images), expected)
    torch.testing.assert_close(imaging.weights, weights[0])


def test_noisy_images_reconstruct_to_the_subtomogram(volumes: torch.Tensor) -> None:
    config = SimulationConfig(box=24, model="tilt-series", tilt_step_degrees=20.0)
    imaging = TiltSeriesImaging(config, has_wedge=True)
    images = imaging.noisy_images(volumes[:2], torch.Generator().manual_seed(5))
    volume = imaging.subtomograms(volumes[:2], torch.Generator().manual_seed(5))
    torch.testing.assert_close(imaging.reconstruct(images), volume, atol=2e-4, rtol=1e-3)


def test_other_seeds_are_other_noise(volumes: torch.Tensor) -> None:
    imaging = FourierImaging(replace(SimulationConfig(), box=24), has_wedge=True)
    signal = imaging.signal(volumes)
    noises = [imaging.subtomograms(volumes, torch.Generator().manual_seed(i)) - signal for i in (1, 2)]
    c = torch.corrcoef(torch.stack([n.flatten() for n in noises]))[0, 1]
    assert abs(float(c)) < 0.02
