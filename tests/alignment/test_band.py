from __future__ import annotations

import pytest
import torch

from gumnet.alignment.band import MAP_SIGNAL, MODEL_ERROR, Band, ShellPower, pooled, shell_power, shell_weights
from gumnet.averaging.mask import soft_sphere
from gumnet.geometry.fourier import shell_indices, shell_sums, to_fourier


@pytest.mark.parametrize("box", [15, 16])
def test_a_band_holds_one_of_each_friedel_pair(box: int) -> None:
    band = Band.up_to(box, 5)
    everything = shell_sums(torch.ones(box, box, box // 2 + 1), box)[1:6].sum()
    assert 2 * len(band.index) == everything
    mirrored = {tuple(-k) for k in band.index.numpy()}
    assert not mirrored & {tuple(k) for k in band.index.numpy()}


def test_what_is_taken_is_put_back(generator: torch.Generator) -> None:
    """Of a volume cut to the band, the coefficients of one of each pair are enough for the whole half transform."""
    band = Band.up_to(10, 4)
    spectra = to_fourier(torch.randn(2, 10, 10, 10, generator=generator))
    shell = shell_indices(10)
    cut = spectra * ((shell >= 1) & (shell <= 4))
    torch.testing.assert_close(band.put(band.take(spectra)), cut)


def test_a_band_stays_below_nyquist() -> None:
    assert Band.up_to(16, 99).shells == 7
    assert Band.up_to(15, 99).shells == 7


def test_power_within_a_band_is_that_of_the_volume(generator: torch.Generator) -> None:
    volume = torch.randn(16, 16, 16, generator=generator)
    band = Band.up_to(16, 6)
    spectrum = to_fourier(volume)
    expected = shell_sums(spectrum.abs() ** 2, 16)[1:7].sum()
    torch.testing.assert_close(2 * (band.take(spectrum).abs() ** 2).sum(), expected)


def test_shell_weights_are_those_of_the_likelihood_ratio() -> None:
    signal, noise = torch.tensor([[4.0, 2.0, 1.0]]), torch.tensor([[1.0, 3.0, 0.5]])
    power = ShellPower(signal, noise)
    effective = noise + MODEL_ERROR * signal
    torch.testing.assert_close(shell_weights(power, power), signal / (effective * (effective + 2 * signal)))


def test_weights_against_a_noise_free_reference_are_the_matched_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gumnet.alignment.band.MODEL_ERROR", 0.0)
    signal, noise = torch.tensor([[4.0, 2.0, 1.0]]), torch.tensor([[1.0, 3.0, 0.5]])
    clean = ShellPower(9 * signal, torch.zeros_like(noise))
    # A is three times the signal, so it counts a third.
    torch.testing.assert_close(shell_weights(clean, ShellPower(signal, noise)), 1 / (3 * noise))


def test_signal_and_noise_are_told_apart_by_where_they_are(generator: torch.Generator) -> None:
    box, sigma = 32, 2.0
    axis = torch.arange(box) - box // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    blob = torch.exp(-(x**2 + y**2 + z**2) / (2 * sigma**2)).float()
    volumes = 3 * blob + 0.1 * torch.randn(12, box, box, box, generator=generator)
    power = shell_power(volumes, None)
    clean = 9 * shell_sums(to_fourier(blob).abs() ** 2, box) / shell_sums(torch.ones(box, box, box // 2 + 1), box)
    torch.testing.assert_close(power.noise[:, 3:].mean(0), torch.full((14,), 0.01 * box**3), rtol=0.1, atol=0)
    torch.testing.assert_close(power.signal[:, 1:5].mean(0), clean[1:5], rtol=0.1, atol=0.01 * box**3)


def test_a_map_is_signal_to_a_share_of_every_shell_that_holds_anything() -> None:
    found = ShellPower(torch.tensor([[90.0, 1.0, 0.0, 0.0]]), torch.tensor([[10.0, 9.0, 2.0, 1e-6]])).of_map()
    torch.testing.assert_close(found.signal, torch.tensor([[90.0, 10 * MAP_SIGNAL, 2 * MAP_SIGNAL, 0.0]]))
    torch.testing.assert_close(found.signal + found.noise, torch.tensor([[100.0, 10.0, 2.0, 1e-6]]))


def test_a_clean_reference_sets_the_shape_of_the_signal() -> None:
    reference = ShellPower(torch.tensor([[8.0, 4.0, 2.0]]), torch.zeros(1, 3))
    # In the particle, 3 of 300 are signal, at shells that are mostly guessed wrong.
    particle = ShellPower(torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([[99.0, 100.0, 98.0]]))
    first, second = pooled(reference, particle)
    expected = torch.tensor([[8.0, 4.0, 2.0]]) / 14
    torch.testing.assert_close(first.signal, 14 * expected, atol=5e-3, rtol=0)
    torch.testing.assert_close(second.signal, 3 * expected, atol=5e-3, rtol=0)
    torch.testing.assert_close(second.signal + second.noise, torch.full((1, 3), 100.0))


def test_equal_volumes_share_the_mean_shape() -> None:
    first = ShellPower(torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 1.0]]))
    second = ShellPower(torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0, 1.0]]))
    for power in pooled(first, second):
        torch.testing.assert_close(power.signal, torch.tensor([[2.0, 2.0]]))


def test_noise_is_found_where_the_corners_were_emptied(generator: torch.Generator) -> None:
    box = 32
    noise = torch.randn(12, box, box, box, generator=generator)
    cut = noise * soft_sphere(box, 14.4, 1.6)
    power = shell_power(cut, None)
    # As much noise a voxel as before it was cut out, and no signal.
    torch.testing.assert_close(power.noise[:, 4:].mean(0), torch.full((13,), float(box**3)), rtol=0.1, atol=0)
    assert (power.signal[:, 4:].mean(0) < 0.05 * box**3).all()
