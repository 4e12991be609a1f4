from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gumnet.averaging.begin import Beginning
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.fsc import fsc
from gumnet.averaging.iterate import _band, _signal, iterate
from gumnet.averaging.mask import soft_sphere
from gumnet.devices import seeded
from gumnet.geometry.fourier import shell_sums, to_fourier
from gumnet.particles import Particles
from tests.oracles.gaussians import density

BAND_BOX = 32
BOX = 24


@pytest.mark.parametrize("seed", [4, 15, 17])
def test_noise_in_a_tight_mask_claims_no_resolution(seed: int) -> None:
    """A mask of a twentieth of the box leaves a twentieth of the coefficients to tell maps from noise by.

    Three of nine draws of sixty that claimed a resolution while all coefficients counted as independent.
    """
    particles = Particles.from_tensors(torch.randn(2, BOX, BOX, BOX, generator=seeded(seed)), voxel_size_angstrom=10.0)
    particles = replace(particles, half_sets=torch.tensor([1, 2]))
    found = iterate(particles, AverageConfig(iterations=0, mask=soft_sphere(BOX, 4, 3)), None)
    assert math.isinf(found.resolution_angstrom)


def test_the_band_goes_a_little_beyond_the_resolution_as_far_as_halves_agree_at_all() -> None:
    volume = torch.zeros(BAND_BOX, BAND_BOX, BAND_BOX)
    beginning = Beginning((volume, volume), 4, False, (), ())

    def band(*curve: float) -> int:
        values = torch.tensor([1.0, *curve, *[0.0] * (BAND_BOX // 2 - len(curve))])
        return _band(2, AverageConfig(), beginning, BAND_BOX, 10.0, values)

    assert band(0.9, 0.9, 0.9, 0.8, 0.5, 0.2, 0.1, 0.08, 0.06, 0.06, 0.06) == 8  # two more than the six of 0.143
    assert band(0.9, 0.9, 0.9, 0.8, 0.5, 0.2, 0.1) == 7  # no further than they agree
    assert band(0.9, 0.9, 0.1) == 4  # never less than first maps
    assert band(*[0.9] * 16) == 15  # nor beyond Nyquist


def test_the_share_of_signal_in_an_average_follows_from_the_agreement_of_halves() -> None:
    curve = torch.tensor([1.0, 0.9, 0.5, 0.1])
    share = _signal(curve, 2, 0.75)
    assert share[2].item() == pytest.approx(0.75 / 1.75)  # 0.5 means as much signal as noise in a half
    assert share[3].item() == 0.0
    # Of both halves together it is 2 F / (1 + F).
    assert torch.allclose(_signal(curve, 3, 2.0), 2 * curve / (1 + curve))


def test_the_share_of_signal_that_halves_say_is_the_one_that_is_there(generator: torch.Generator) -> None:
    signal = (density(BOX) / density(BOX).std()).float()
    halves = [signal + 0.7 * torch.randn(BOX, BOX, BOX, generator=generator) for _ in range(2)]
    power = [shell_sums(to_fourier(each).abs() ** 2, BOX) for each in (signal, (halves[0] + halves[1]) / 2)]
    said = _signal(fsc(halves[0], halves[1]), 6, 2.0)
    true = power[0] / power[1]
    assert torch.allclose(said[1:7], true[1:7], atol=0.12)
    assert float(true[1:7].min()) < 0.9  # so that the bound means something
