from __future__ import annotations

import pytest
import torch

from gumnet.alignment.band import Band
from gumnet.alignment.spectrum import TurnedSpectra, transfer_of
from gumnet.geometry.so3 import random_rotations
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
    error = (values[0, 0] - exact).abs().square().mean().sqrt() / exact.abs().square().mean().sqrt()
    assert error < 0.02


def test_the_gradient_of_a_spectrum_is_that_of_the_closed_form() -> None:
    band = Band.up_to(24, 6)
    turned = TurnedSpectra.of(density(24)[None].float(), None, band.shells, gradient=True)
    values, _ = turned.read(torch.eye(3)[None, None], band)
    step, k = 1e-5, band.frequencies.double()
    for axis in range(3):
        h = step * torch.eye(3, dtype=torch.float64)[axis]
        exact = (spectrum(k + h) - spectrum(k - h)) / (2 * step)
        error = (values[0, 1 + axis, 0] - exact).abs().square().mean().sqrt() / exact.abs().square().mean().sqrt()
        assert error < 0.06


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
