"""Masks of averages that particles are aligned to."""

from __future__ import annotations

import torch

from gumnet.alignment.score import default_mask
from gumnet.averaging.alignment_mask import alignment_mask
from gumnet.averaging.mask import soft_sphere

BOX = 32


def test_density_is_inside_and_noise_about_it_is_not(generator: torch.Generator) -> None:
    density = soft_sphere(BOX, 4.0, 2.0)
    mask = alignment_mask(density + 0.05 * torch.randn(BOX, BOX, BOX, generator=generator))
    assert mask is not None
    assert float(mask[density > 0.5].min()) > 0.99
    # The default lets through more than twice as much.
    assert float(mask.sum()) < 0.45 * float(default_mask(BOX).sum())
    assert float(mask.min()) >= 0.0
    assert float(mask.max()) <= 1.0


def test_neighbours_at_the_rim_stay_outside(generator: torch.Generator) -> None:
    density = soft_sphere(BOX, 5.0, 2.0)
    neighbour = density.roll(16, dims=2)
    mask = alignment_mask(density + neighbour + 0.02 * torch.randn(BOX, BOX, BOX, generator=generator))
    assert mask is not None
    assert bool((mask <= default_mask(BOX) + 1e-6).all())


def test_noise_has_no_mask_of_its_own(generator: torch.Generator) -> None:
    """It would be kept by the mask, and found again in the next average."""
    for _ in range(5):
        assert alignment_mask(torch.randn(BOX, BOX, BOX, generator=generator)) is None
