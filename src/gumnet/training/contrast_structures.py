"""Structures that a matched filter is trained on: the built-in phantoms, and random textures in random envelopes.

The phantoms are chains of domains, told apart in their orientations by their outlines. Trained on them alone, a filter
improves what is like them and harms what is not: a ribosome is one compact body, and its texture tells its orientation.
So half of the structures are bodies of any shape and roughness, solid or hollow, filled with a random field.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gumnet.geometry.fourier import frequencies, to_fourier, to_real
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.warp import voxel_coordinates
from gumnet.simulation.phantom import phantoms
from gumnet.types import Volume, Volumes

_DESIGN_BOX = 32  # the box in whose voxels the lengths below are given


def training_structures(count: int, box: int, seed: int) -> Volumes:
    """Return ``count`` structures (count, N, N, N), every second a phantom, from the seeds ``seed`` on."""
    bodies = torch.stack([textured_body(seed + i, box) for i in range(count // 2)]) if count > 1 else None
    chains = phantoms(count - count // 2, box, seed=seed)
    if bodies is None:
        return chains
    order = torch.arange(count).roll(count // 2) if count % 2 else torch.arange(count).view(2, -1).T.flatten()
    return torch.cat([chains, bodies])[order]


def textured_body(seed: int, box: int) -> Volume:
    """Return a random field inside a random envelope, (N, N, N), its highest value 1."""
    generator = torch.Generator().manual_seed(seed)
    unit = box / _DESIGN_BOX

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand(1, generator=generator))

    axes = between(6.0, 12.0) * unit * torch.exp(0.35 * (2 * torch.rand(3, generator=generator) - 1))
    frame = random_rotations(1, generator=generator, dtype=torch.float32)[0]
    points = voxel_coordinates(box) @ frame
    # About the depth below the surface of an ellipsoid, roughened.
    depth = (1 - (points / axes).norm(dim=-1)) * axes.mean()
    depth = depth + between(0.5, 4.0) * unit * _field(box, between(3.0, 7.0) * unit, generator)
    edge = between(0.5, 1.5) * unit
    envelope = torch.sigmoid(depth / edge)
    if between(0.0, 1.0) < 0.25:
        envelope = envelope - 0.8 * torch.sigmoid((depth - between(3.0, 6.0) * unit) / edge)
    density = 1 + between(0.2, 1.5) * _field(box, between(0.8, 2.5) * unit, generator)
    if between(0.0, 1.0) < 0.5:
        density = density.clamp_min(0.0)
    # Nothing reaches the sides of the box, which would turn with the structure.
    inside = torch.sigmoid((0.47 * box - voxel_coordinates(box).norm(dim=-1)) / unit)
    body: Tensor = envelope * density * inside
    return body / body.max()


def _field(box: int, length: float, generator: torch.Generator) -> Tensor:
    """Return a Gaussian random field (N, N, N) of variance 1, correlated over ``length`` voxels."""
    decay = torch.exp(-2 * (torch.pi * length) ** 2 * frequencies(box).square().sum(-1) / 2)
    field = to_real(to_fourier(torch.randn(box, box, box, generator=generator)) * decay, box)
    return field / field.std()
