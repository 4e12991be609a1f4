"""Masks of averages that particles are aligned to."""

from __future__ import annotations

import torch

from gumnet.alignment.reference_mask import reference_mask
from gumnet.alignment.score import default_mask
from gumnet.averaging.mask import soft_sphere

BOX = 32


def test_density_is_inside_and_noise_about_it_is_not(generator: torch.Generator) -> None:
    density = soft_sphere(BOX, 4.0, 2.0)
    mask = reference_mask(density + 0.05 * torch.randn(BOX, BOX, BOX, generator=generator))
    assert mask is not None
    assert float(mask[density > 0.5].min()) > 0.99
    # The default lets through more than twice as much.
    assert float(mask.sum()) < 0.45 * float(default_mask(BOX).sum())
    assert float(mask.min()) >= 0.0
    assert float(mask.max()) <= 1.0


def test_neighbours_at_the_rim_stay_outside(generator: torch.Generator) -> None:
    density = soft_sphere(BOX, 5.0, 2.0)
    neighbour = density.roll(16, dims=2)
    mask = reference_mask(density + neighbour + 0.02 * torch.randn(BOX, BOX, BOX, generator=generator))
    assert mask is not None
    assert bool((mask <= default_mask(BOX) + 1e-6).all())


def test_dark_density_has_the_mask_of_bright_one(generator: torch.Generator) -> None:
    noisy = soft_sphere(BOX, 6.0, 2.0) + 0.05 * torch.randn(BOX, BOX, BOX, generator=generator)
    bright, dark = reference_mask(noisy), reference_mask(-noisy)
    assert bright is not None
    assert dark is not None
    assert torch.equal(bright, dark)


def test_a_wide_particle_is_held_whole() -> None:
    """The sphere of a third of the box cuts a quarter of this one off."""
    density = soft_sphere(BOX, 11.0, 2.0)
    mask = reference_mask(density)
    assert mask is not None
    assert float((mask * density).sum()) > 0.99 * float(density.sum())


def test_noise_has_no_mask_of_its_own(generator: torch.Generator) -> None:
    """It would be kept by the mask, and found again in the next average."""
    for _ in range(5):
        assert reference_mask(torch.randn(BOX, BOX, BOX, generator=generator)) is None
