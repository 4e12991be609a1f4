from __future__ import annotations

import math

import pytest
import torch
from oracles.half_maps import noise

from gumnet.errors import InputError
from gumnet.geometry.fourier import frequencies, shell_sums, to_fourier, to_real
from gumnet.resolution.sharpening import fsc_weights, guinier_fit, sharpen

VOXEL, BOX = 2.0, 48


def flat(generator: torch.Generator) -> torch.Tensor:
    """Return a map of amplitude 1 everywhere, with random phases."""
    spectrum = to_fourier(noise(1, BOX, generator)[0])
    return to_real(spectrum / spectrum.abs(), BOX)


def damped(volume: torch.Tensor, b_factor: float) -> torch.Tensor:
    squared = (frequencies(BOX, dtype=torch.float64) ** 2).sum(-1) / VOXEL**2
    return to_real(to_fourier(volume) * torch.exp(-b_factor / 4 * squared), BOX)


def test_guinier_finds_the_b_factor_that_damped_the_map(generator: torch.Generator) -> None:
    fit = guinier_fit(damped(flat(generator), 150.0), voxel_size_angstrom=VOXEL, resolution_angstrom=4.5)
    assert fit.b_factor_angstrom2 == pytest.approx(-150, rel=0.02)
    assert fit.shells == (10, 21), "96 A over 10 A and over 4.5 A"
    assert fit.intercept == pytest.approx(0, abs=0.1)


def test_sharpening_takes_the_damping_back(generator: torch.Generator) -> None:
    volume = flat(generator)
    out = sharpen(
        damped(volume, 150.0), voxel_size_angstrom=VOXEL, b_factor_angstrom2=-150.0, resolution_angstrom=4 * VOXEL
    )
    radius = frequencies(BOX, dtype=torch.float64).norm(dim=-1)
    before, after = to_fourier(volume), to_fourier(out)
    inside, beyond = radius <= 0.25, radius > 0.25 + 2 / BOX
    torch.testing.assert_close(after[inside], before[inside], atol=1e-9, rtol=0)
    assert float(after[beyond].abs().max()) < 1e-9


def test_fsc_weights_multiply_the_shells_and_not_the_mean(generator: torch.Generator) -> None:
    volume = 1 + flat(generator)
    curve = torch.linspace(1, 0, BOX // 2 + 1, dtype=torch.float64)
    curve[0] = 0.3
    out = sharpen(volume, voxel_size_angstrom=VOXEL, b_factor_angstrom2=0.0, resolution_angstrom=2 * VOXEL, curve=curve)
    ratio = shell_sums(to_fourier(out).abs() ** 2, BOX) / shell_sums(to_fourier(volume).abs() ** 2, BOX)
    torch.testing.assert_close(ratio[1:], (2 * curve / (1 + curve))[1:])
    assert float(out.mean()) == pytest.approx(float(volume.mean()))
    assert curve[0] == 0.3, "the caller's curve stays"


def test_weights_are_the_correlation_with_the_truth(generator: torch.Generator) -> None:
    # Rosenthal and Henderson: from the correlation of the halves to that of their mean with the noise-free map.
    signal = noise(1, 32, generator).flatten()
    halves = signal + 0.7 * noise(2, 32, generator).flatten(1)
    between = torch.corrcoef(halves)[0, 1]
    with_truth = torch.corrcoef(torch.stack([signal, halves.mean(dim=0)]))[0, 1]
    assert float(fsc_weights(between)) == pytest.approx(float(with_truth), abs=0.01)
    assert float(fsc_weights(torch.tensor(-0.2))) == 0


def test_wrong_input_is_named(generator: torch.Generator) -> None:
    volume = noise(1, 16, generator)[0]
    with pytest.raises(InputError, match="too few to fit"):
        guinier_fit(volume, voxel_size_angstrom=10.0, resolution_angstrom=25.0)
    with pytest.raises(InputError, match="do not agree"):
        sharpen(volume, voxel_size_angstrom=10.0, b_factor_angstrom2=-100, resolution_angstrom=math.inf)
    with pytest.raises(InputError, match="B-factor"):
        sharpen(volume, voxel_size_angstrom=10.0, b_factor_angstrom2=math.nan, resolution_angstrom=30.0)
