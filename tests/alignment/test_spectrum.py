from __future__ import annotations

import math

import pytest
import torch

from gumnet.alignment.band import Band
from gumnet.alignment.spectrum import PADDING, TurnedSpectra, transfer_of
from gumnet.geometry.so3 import random_rotations, rotation_from_vector
from gumnet.geometry.wedge import missing_wedge, rotate_weights
from tests.oracles.gaussians import density, spectrum


@pytest.mark.parametrize("box", [24, 25])
def test_turned_spectra_are_those_of_the_turned_density(box: int, generator: torch.Generator) -> None:
    rotations = random_rotations(4, generator=generator)
    band = Band.up_to(box, 8)
    turned = TurnedSpectra.of(density(box)[None].float(), None, band.shells)
    values, transfer = turned.read(rotations[None].float(), band)
    assert transfer is None
    # A(R^-1 k), in closed form.
    exact = spectrum(torch.einsum("mj,rji->rmi", band.frequencies.double(), rotations))
    found = torch.complex(values[0, 0], values[0, 1])
    assert values.shape[1] == 2
    error = (found - exact).abs().square().mean().sqrt() / exact.abs().square().mean().sqrt()
    assert error < 0.02


@pytest.mark.parametrize("box", [24, 25])
def test_the_derivative_by_rotation_is_that_of_the_closed_form(box: int, generator: torch.Generator) -> None:
    rotations = random_rotations(3, generator=generator)
    band = Band.up_to(box, 6)
    turned = TurnedSpectra.of(density(box)[None].float(), None, band.shells, gradient=True)
    values, _ = turned.read(rotations[None].float(), band)
    assert values.shape[:2] == (1, 8)
    k, step = band.frequencies.double(), 1e-5

    def moved(vector: torch.Tensor) -> torch.Tensor:
        """Return A(q) for the reference turned by a small vector before R: q = (R exp(v))^T k."""
        return spectrum(torch.einsum("mj,rji->rmi", k, rotations @ rotation_from_vector(vector)))

    for axis in range(3):
        vector = step * torch.eye(3, dtype=torch.float64)[axis]
        exact = (moved(vector) - moved(-vector)) / (2 * step)
        found = torch.complex(values[0, 2 + 2 * axis], values[0, 3 + 2 * axis])
        assert (found - exact).abs().square().mean().sqrt() / exact.abs().square().mean().sqrt() < 0.03


def test_the_transfer_turns_with_the_volume(generator: torch.Generator) -> None:
    rotation = random_rotations(1, generator=generator).float()
    wedge = missing_wedge(24, 50.0)
    band = Band.up_to(24, 10)
    turned = TurnedSpectra.of(density(24)[None].float(), transfer_of(wedge[None]), band.shells)
    _, transfer = turned.read(rotation[None], band)
    assert transfer is not None
    # The volume turned by R is put on the reference by R^-1.
    torch.testing.assert_close(transfer[0], band.take(rotate_weights(wedge[None], rotation.mT)), atol=1e-5, rtol=0)


def test_weights_of_next_to_nothing_count_as_not_observed() -> None:
    weights = torch.full((1, 4, 4, 3), 4.0)
    weights[0, 0, 0, 0] = 1e-6
    transfer = transfer_of(weights)
    assert transfer is not None
    assert transfer[0, 0, 0, 0] == 0
    assert transfer[0, 1, 0, 0] == 2


@pytest.mark.parametrize(("box", "shells"), [(16, 7), (15, 6)])
def test_fine_spectra_are_those_of_the_padded_box(box: int, shells: int, generator: torch.Generator) -> None:
    volume = torch.randn(2, box, box, box, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        fine = TurnedSpectra.of(volume, None, shells, gradient=True).fine
    half = fine.shape[-1] // 2
    points = ((torch.arange(box) - box // 2) / (PADDING * box)).double()
    angle = -2 * math.pi * torch.arange(-half, half + 1)[:, None] * points
    waves = torch.polar(torch.ones_like(angle), angle)
    sinc = torch.sinc(points).square()
    corrected = volume.double() / (sinc[:, None, None] * sinc[:, None] * sinc)
    exact = torch.einsum("nzyx,az,by,cx->nabc", corrected.to(waves.dtype), waves, waves, waves)
    torch.testing.assert_close(torch.complex(fine[:, 0], fine[:, 1]).to(exact.dtype), exact, atol=1e-3, rtol=1e-4)
    # The derivatives are of real functions too: the spectrum at -k is the conjugate of that at k.
    torch.testing.assert_close(fine[:, 0::2], fine[:, 0::2].flip(-3, -2, -1), atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(fine[:, 1::2], -fine[:, 1::2].flip(-3, -2, -1), atol=1e-3, rtol=1e-4)
