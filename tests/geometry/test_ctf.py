from __future__ import annotations

import math

import pytest
import torch

from gumnet.geometry.ctf import ctf, dose_weights, electron_wavelength_angstrom, image_frequencies


def test_wavelengths_are_the_textbook_ones() -> None:
    assert electron_wavelength_angstrom(300) == pytest.approx(0.019687, abs=1e-6)
    assert electron_wavelength_angstrom(200) == pytest.approx(0.025079, abs=1e-6)
    assert electron_wavelength_angstrom(100) == pytest.approx(0.037014, abs=1e-6)


@pytest.mark.parametrize("box", [16, 17])
def test_the_limit_at_low_frequency_is_plus_the_amplitude_contrast(box: int) -> None:
    transfer = ctf(box, 4.0, torch.tensor([20000.0, 30000.0], dtype=torch.float64), amplitude_contrast=0.1)
    assert transfer.shape == (2, box, box // 2 + 1)
    torch.testing.assert_close(transfer[:, 0, 0], torch.full((2,), 0.1, dtype=torch.float64))
    # Underfocus makes the first lobe positive: contrast grows away from zero frequency.
    assert bool((transfer[:, 0, 1] > 0.1).all())


def test_zeros_are_where_the_phase_is_a_multiple_of_pi() -> None:
    """Without amplitude contrast and aberration the n-th zero is at ``k = sqrt(n / (lambda defocus))``."""
    box, pixel = 200, 2.0
    # A defocus that puts the first zero on row 40 and the fourth on row 80.
    defocus = 1 / (electron_wavelength_angstrom(300) * (40 / (box * pixel)) ** 2)
    transfer = ctf(
        box,
        pixel,
        torch.tensor(defocus, dtype=torch.float64),
        spherical_aberration_mm=0.0,
        amplitude_contrast=0.0,
    )
    assert abs(float(transfer[0, 40])) < 1e-12
    assert abs(float(transfer[80, 0])) < 1e-12
    assert float(transfer[0, 20]) == pytest.approx(math.sin(math.pi / 4), abs=1e-12)
    assert float(transfer[0, 39]) > 0 > float(transfer[0, 41])


def test_spherical_aberration_takes_off_half_pi_cs_lambda_cubed_k_to_the_fourth() -> None:
    wavelength, k = electron_wavelength_angstrom(300), 0.25
    transfer = ctf(8, 2.0, torch.zeros((), dtype=torch.float64), amplitude_contrast=0.0, spherical_aberration_mm=2.7)
    assert float(transfer[0, 4]) == pytest.approx(-math.sin(math.pi / 2 * 2.7e7 * wavelength**3 * k**4), abs=1e-12)


def test_u_is_the_defocus_along_the_given_angle_from_x_towards_y() -> None:
    u, v, angle = torch.tensor([30000.0, 20000.0, 30.0], dtype=torch.float64)
    box, pixel = 24, 6.0
    transfer = ctf(box, pixel, u, v, angle)
    k = image_frequencies(box, dtype=torch.float64)
    row, column = 7, 12  # direction atan2(7, 12) = 30.26 degrees
    direction = math.degrees(math.atan2(float(k[row, column, 1]), float(k[row, column, 0])))
    assert direction == pytest.approx(30.26, abs=0.01)
    along_u = ctf(box, pixel, u)[row, column]
    torch.testing.assert_close(transfer[row, column], along_u, atol=2e-4, rtol=0)
    across = ctf(box, pixel, v)[-12, 7]  # direction -59.7 degrees
    torch.testing.assert_close(transfer[-12, 7], across, atol=2e-4, rtol=0)


def test_phase_plate_of_90_degrees_turns_sine_into_cosine() -> None:
    defocus = torch.tensor(15000.0, dtype=torch.float64)
    sine = ctf(32, 3.0, defocus, amplitude_contrast=0.0)
    cosine = ctf(32, 3.0, defocus, amplitude_contrast=0.0, phase_shift_degrees=torch.tensor(90.0, dtype=torch.float64))
    torch.testing.assert_close(sine**2 + cosine**2, torch.ones_like(sine))
    assert float(cosine[0, 0]) == pytest.approx(1.0)


def test_scale_and_envelope_multiply() -> None:
    defocus = torch.tensor([15000.0, 25000.0], dtype=torch.float64)
    plain = ctf(16, 5.0, defocus)
    scaled = ctf(16, 5.0, defocus, scale=torch.tensor([1.0, 0.5], dtype=torch.float64), envelope_frequency=0.2)
    k = image_frequencies(16, dtype=torch.float64).norm(dim=-1)
    torch.testing.assert_close(scaled[0], plain[0] * torch.exp(-((k / 0.2) ** 2)))
    torch.testing.assert_close(scaled[1], 0.5 * plain[1] * torch.exp(-((k / 0.2) ** 2)))


def test_dose_weights_are_those_of_grant_and_grigorieff() -> None:
    doses = torch.tensor([0.0, 20.0], dtype=torch.float64)
    weights = dose_weights(20, 2.0, doses)
    assert bool((weights[0] == 1).all())
    assert float(weights[1, 0, 0]) == pytest.approx(1.0)
    critical = 0.245 * 0.25**-1.665 + 2.81  # at Nyquist of 2 A pixels, 1 / (4 A)
    assert float(weights[1, 0, 10]) == pytest.approx(math.exp(-20 / (2 * critical)), rel=1e-12)
    # At the critical exposure the signal is down to exp(-1/2).
    assert float(dose_weights(20, 2.0, torch.tensor(critical))[0, 10]) == pytest.approx(math.exp(-0.5), rel=1e-5)


def test_is_differentiable_in_defocus() -> None:
    defocus = torch.tensor([15000.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: ctf(6, 8.0, d * 1.0, d * 0.9), (defocus,), eps=1e-2, atol=1e-8)
