"""Half maps of a structure with a known point group, in any frame."""

from __future__ import annotations

from functools import cache

import torch
from oracles.half_maps import noise
from torch import Tensor

from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.symmetry import point_group, symmetrised
from gumnet.geometry.warp import warp
from gumnet.particles import Poses
from gumnet.simulation.phantom import phantom

BOX = 24


@cache
def _structure(seed: int) -> Tensor:
    return phantom(seed, BOX)


def symmetric_halves(
    name: str, snr: float, generator: torch.Generator, *, seed: int = 0, shift: float = 1.5
) -> tuple[Tensor, Poses]:
    """Return half maps (2, N, N, N), float32, of a phantom made symmetric, and its pose on the setting of its group.

    Parameters
    ----------
    snr
        Variance of the structure over that of the white noise in each half map, over the box.
    """
    group = point_group(name)
    structure = _structure(seed)
    if group.order > 1:
        structure = symmetrised(structure, group)
    shifts = shift * (2 * torch.rand(1, 3, generator=generator, dtype=torch.float64) - 1)
    pose = Poses.of(random_rotations(1, generator=generator), shifts)
    onto = pose.inverse()
    placed = warp(structure[None], onto.rotations.float(), onto.shifts.float(), oversampling=3)[0]
    return placed + (float(placed.std()) / snr**0.5) * noise(2, BOX, generator).float(), pose
