from __future__ import annotations

import math

import pytest
import torch
from scipy.special import sph_harm_y

from gumnet.geometry.rigid import matrix_from_euler
from gumnet.geometry.spherical_harmonics import legendre, spherical_transform, with_negative_orders
from gumnet.geometry.wigner import wigner_d


@pytest.mark.parametrize("beta", [0.0, 0.7, math.pi / 2, 2.9])
def test_the_first_degrees_have_their_closed_forms(beta: float) -> None:
    c, s = math.cos(beta), math.sin(beta)
    torch.testing.assert_close(wigner_d(0, beta), torch.ones(1, 1, dtype=torch.float64))
    r = math.sqrt(2)
    one = [[(1 + c) / 2, s / r, (1 - c) / 2], [-s / r, c, s / r], [(1 - c) / 2, -s / r, (1 + c) / 2]]
    torch.testing.assert_close(wigner_d(1, beta), torch.tensor(one, dtype=torch.float64), atol=1e-12, rtol=0)
    two = wigner_d(2, beta)
    assert two[2, 2].item() == pytest.approx((3 * c**2 - 1) / 2, abs=1e-12)
    assert two[4, 0].item() == pytest.approx(((1 - c) / 2) ** 2, abs=1e-12)
    assert two[4, 3].item() == pytest.approx(-s * (1 + c) / 2, abs=1e-12)


@pytest.mark.parametrize("degree", [3, 17, 47])
def test_turns_are_orthogonal_and_compose(degree: int) -> None:
    d = wigner_d(degree, 0.8)
    torch.testing.assert_close(d @ d.mT, torch.eye(2 * degree + 1, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(d @ wigner_d(degree, 0.5), wigner_d(degree, 1.3), atol=1e-12, rtol=0)


@pytest.mark.parametrize("degree", [1, 2, 6])
def test_harmonics_turn_as_wigner_says(degree: int) -> None:
    alpha, beta, gamma = 0.4, 1.1, -2.0
    rotation = matrix_from_euler("ZYZ", torch.tensor([alpha, beta, gamma], dtype=torch.float64), degrees=False)
    points = torch.nn.functional.normalize(
        torch.randn(9, 3, generator=torch.Generator().manual_seed(1)).double(), dim=1
    )

    def harmonics(x: torch.Tensor) -> torch.Tensor:
        theta, phi = torch.acos(x[:, 2]), torch.atan2(x[:, 1], x[:, 0])
        return torch.stack(
            [torch.from_numpy(sph_harm_y(degree, m, theta.numpy(), phi.numpy())) for m in range(-degree, degree + 1)]
        )

    m = torch.arange(-degree, degree + 1, dtype=torch.float64)
    d = torch.exp(-1j * m * alpha)[:, None] * wigner_d(degree, beta) * torch.exp(-1j * m * gamma)
    # A row of points x is turned back by x R.
    torch.testing.assert_close(harmonics(points @ rotation), d.mT @ harmonics(points), atol=1e-12, rtol=0)


def test_legendre_functions_are_those_of_scipy() -> None:
    theta = torch.linspace(0.01, 3.1, 12, dtype=torch.float64)
    ours = legendre(48, torch.cos(theta))
    for degree in (0, 1, 2, 7, 36, 47):
        for m in range(0, degree + 1, 5):
            expected = torch.from_numpy(sph_harm_y(degree, m, theta.numpy(), 0.0).real)
            torch.testing.assert_close(ours[degree, m], expected, atol=1e-11, rtol=0)
    assert not ours[3, 4:].any()


@pytest.mark.parametrize("bandwidth", [4, 9, 36])
def test_functions_of_the_band_are_transformed_exactly(bandwidth: int, generator: torch.Generator) -> None:
    transform = spherical_transform(bandwidth, dtype=torch.float64)
    x = transform.directions
    theta, phi = torch.acos(x[..., 2]).numpy(), torch.atan2(x[..., 1], x[..., 0]).numpy()
    coefficients = torch.zeros(bandwidth, bandwidth, dtype=torch.complex128)
    values = torch.zeros(x.shape[:-1], dtype=torch.complex128)
    for degree, m in {(0, 0), (1, 1), (2, 0), (3, 2), (bandwidth - 1, 1), (bandwidth - 1, bandwidth - 1)}:
        real, imaginary = torch.randn(2, generator=generator, dtype=torch.float64).tolist()
        coefficients[degree, m] = complex(real, imaginary if m else 0.0)
    full = with_negative_orders(coefficients)
    for degree, index in full.nonzero().tolist():
        m = index - bandwidth + 1
        values += full[degree, index] * torch.from_numpy(sph_harm_y(degree, m, theta, phi))
    assert values.imag.abs().max() < 1e-12
    torch.testing.assert_close(transform.forward(values.real), coefficients, atol=1e-12, rtol=0)


def test_the_power_of_a_function_is_that_of_its_coefficients() -> None:
    transform = spherical_transform(24, dtype=torch.float64)
    x = transform.directions
    values = torch.exp(x @ torch.tensor([1.0, -0.5, 0.8], dtype=torch.float64))
    power = with_negative_orders(transform.forward(values)).abs().square().sum()
    # The integral of exp(2 v x) over the sphere.
    length = 2 * math.sqrt(1 + 0.25 + 0.64)
    assert power.item() == pytest.approx(4 * math.pi * math.sinh(length) / length, rel=1e-12)
