from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gumnet.averaging.config import AverageConfig
from gumnet.averaging.iterate import iterate
from gumnet.averaging.mask import soft_sphere
from gumnet.devices import seeded
from gumnet.particles import Particles

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
