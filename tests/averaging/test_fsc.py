from __future__ import annotations

import math

import pytest
import torch

from gumnet.averaging.fsc import fsc, resolution_angstrom
from gumnet.averaging.mask import soft_sphere
from gumnet.errors import InputError
from gumnet.geometry.fourier import shell_indices, shell_sums, spread_shells, to_fourier, to_real


def noise(n: int, box: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(n, box, box, box, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("box", [15, 16])
def test_a_map_with_itself_is_1_and_with_its_negative_minus_1(box: int, generator: torch.Generator) -> None:
    volume = noise(1, box, generator)[0]
    one = torch.ones(box // 2 + 1, dtype=torch.float64)
    torch.testing.assert_close(fsc(volume, 3 * volume), one, atol=1e-12, rtol=0)
    torch.testing.assert_close(fsc(volume, -volume), -one, atol=1e-12, rtol=0)


@pytest.mark.parametrize("box", [15, 16])
def test_equals_the_sum_over_the_full_transform(box: int, generator: torch.Generator) -> None:
    first, second = noise(2, box, generator)
    spectra = [torch.fft.fftn(torch.fft.ifftshift(v)) for v in (first, second)]
    k = torch.fft.fftfreq(box, dtype=torch.float64) * box
    radius = torch.stack(torch.meshgrid(k, k, k, indexing="ij")).norm(dim=0).round()
    expected = []
    for shell in range(box // 2 + 1):
        a, b = (s[radius == shell] for s in spectra)
        expected.append(float((a * b.conj()).sum().real / (a.norm() * b.norm())))
    torch.testing.assert_close(fsc(first, second), torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=0)


def test_independent_noise_is_0_with_std_1_over_sqrt_n(generator: torch.Generator) -> None:
    box, repeats = 16, 200
    curves = fsc(noise(repeats, box, generator), noise(repeats, box, generator))
    # Friedel pairs are the same number twice: n counts the full transform, half of its coefficients are independent,
    # and each holds a real and an imaginary part, so the std of the correlation is 1 / sqrt(n).
    count = shell_sums(torch.ones(box, box, box // 2 + 1, dtype=torch.float64), box)
    scaled = (curves * count.sqrt())[:, 1:]
    assert float(scaled.mean(dim=0).abs().max()) < 4 / math.sqrt(repeats)
    torch.testing.assert_close(scaled.std(dim=0), torch.ones(box // 2, dtype=torch.float64), atol=0.2, rtol=0)


def test_signal_plus_noise_is_s_over_s_plus_n(generator: torch.Generator) -> None:
    box, repeats = 24, 40
    ratio = 4 * torch.exp(-torch.arange(box // 2 + 1, dtype=torch.float64) / 4)
    white = noise(repeats, box, generator)
    signal = to_real(to_fourier(white) * spread_shells(ratio.sqrt(), box), box)
    curves = fsc(signal + noise(repeats, box, generator), signal + noise(repeats, box, generator))
    torch.testing.assert_close(curves.mean(dim=0)[3:], (ratio / (1 + ratio))[3:], atol=0.015, rtol=0)


def test_a_shell_that_a_map_does_not_have_is_0(generator: torch.Generator) -> None:
    box = 16
    spectrum = to_fourier(noise(1, box, generator)[0])
    spectrum = torch.where(shell_indices(box) == 5, 0.0, spectrum)
    half = torch.where(shell_indices(box) <= 3, spectrum, 0.0)
    assert float(fsc(torch.zeros(box, box, box), torch.ones(box, box, box)).abs().max()) == 0
    curve = fsc(to_real(half, box), to_real(spectrum, box))
    torch.testing.assert_close(curve[:4], torch.ones(4, dtype=torch.float64), atol=1e-9, rtol=0)


def test_a_mask_takes_away_the_noise_outside(generator: torch.Generator) -> None:
    box = 24
    sphere = soft_sphere(box, 4, 3, dtype=torch.float64)
    signal = 3 * noise(1, box, generator)[0] * sphere
    first, second = signal + noise(1, box, generator)[0], signal + noise(1, box, generator)[0]
    assert float((fsc(first, second, mask=sphere) - fsc(first, second))[2:].mean()) > 0.3


def test_resolution_is_linear_between_shells() -> None:
    curve = torch.tensor([1.0, 1.0, 0.9, 0.5, 0.1, 0.4, 0.0, 0.0, 0.0])
    # 0.5 at shell 3 exactly; 0.3 half-way to shell 4; the rise at shell 5 comes too late.
    assert resolution_angstrom(curve, 10.0, 16, threshold=0.3) == pytest.approx(10 * 16 / 3.5)
    assert resolution_angstrom(curve, 10.0, 16, threshold=0.7) == pytest.approx(10 * 16 / 2.5)
    assert resolution_angstrom(curve, 10.0, 16, threshold=0.143) == pytest.approx(10 * 16 / (3 + 0.357 / 0.4))


def test_resolution_at_its_ends() -> None:
    ones = torch.ones(9)
    assert resolution_angstrom(ones, 12.0, 16) == 24.0
    assert resolution_angstrom(torch.zeros(9), 12.0, 16) == math.inf
    # The mean density alone is no resolution.
    assert resolution_angstrom(torch.eye(9)[0], 12.0, 16) == math.inf
    broken = ones.clone()
    broken[4] = torch.nan
    assert 12.0 * 16 / 4 < resolution_angstrom(broken, 12.0, 16) < 12.0 * 16 / 3


def test_wrong_input_is_named() -> None:
    with pytest.raises(InputError, match="one box"):
        fsc(torch.ones(8, 8, 8), torch.ones(9, 9, 9))
    with pytest.raises(InputError, match="cubic"):
        fsc(torch.ones(8, 8, 9), torch.ones(8, 8, 9))
    with pytest.raises(InputError, match="mask"):
        fsc(torch.ones(8, 8, 8), torch.ones(8, 8, 8), mask=torch.ones(9, 9, 9))
    with pytest.raises(InputError, match="NaN"):
        fsc(torch.full((8, 8, 8), torch.nan), torch.ones(8, 8, 8))
    with pytest.raises(InputError, match="box of 20"):
        resolution_angstrom(torch.ones(9), 12.0, 20)
