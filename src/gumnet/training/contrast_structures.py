"""Structures that a matched filter is trained on: phantoms, textured bodies and packed bodies.

The phantoms are chains of domains, told apart in their orientations by their outlines. Trained on them alone, a filter
improves what is like them and harms what is not: a ribosome is one compact body, and its texture tells its orientation.
So a third of the structures are bodies of any shape and roughness, solid or hollow, filled with a random field, and a
third are compact heaps of grains with sharp surfaces, as maps of large complexes look at a few voxels' resolution.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gumnet.geometry.fourier import frequencies, to_fourier, to_real
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.warp import voxel_coordinates
from gumnet.simulation.phantom import phantom
from gumnet.types import Volume, Volumes

_DESIGN_BOX = 32  # the box in whose voxels the lengths below are given


def training_structures(count: int, box: int, seed: int) -> Volumes:
    """Return ``count`` structures (count, N, N, N), the three kinds in turn, each from the seeds ``seed`` on."""
    kinds = (phantom, textured_body, packed_body)
    return torch.stack([kinds[i % len(kinds)](seed + i // len(kinds), box) for i in range(count)])


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


def packed_body(seed: int, box: int) -> Volume:
    """Return a compact body of grains with a sharp surface, (N, N, N), its highest value 1."""
    generator = torch.Generator().manual_seed(seed)
    unit = box / _DESIGN_BOX

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand(1, generator=generator))

    # Its outline is that of some balls, rolled into a heap and roughened.
    count = int(between(3, 12))
    centres = between(2.0, 6.0) * unit * torch.randn(count, 3, generator=generator)
    radii = between(4.0, 8.0) * unit * torch.exp(0.3 * torch.randn(count, generator=generator))
    points = voxel_coordinates(box) + centres.mean(dim=0)
    depth = (radii - (points[..., None, :] - centres).norm(dim=-1)).amax(dim=-1)
    depth = depth + between(0.3, 2.0) * unit * _field(box, between(1.0, 3.0) * unit, generator)
    # Grains are points, blurred; so close that they touch, and what lies over one another is no denser for it.
    grains = (torch.rand(box, box, box, generator=generator) < 1 / (between(4.0, 12.0) * unit**3)).float()
    heights = torch.exp(between(0.1, 0.6) * torch.randn(box, box, box, generator=generator))
    density = _blurred(grains * heights, between(0.6, 1.2) * unit)
    density = between(0.0, 0.5) + torch.tanh(between(0.3, 1.0) * density / density.mean())
    inside = torch.sigmoid((0.47 * box - voxel_coordinates(box).norm(dim=-1)) / unit)
    body: Tensor = torch.sigmoid(depth / (between(0.2, 0.8) * unit)) * density * inside
    return body / body.max()


def _blurred(values: Volume, sigma: float) -> Volume:
    """Return values (N, N, N) blurred by a Gaussian of a standard deviation in voxels."""
    box = values.shape[-1]
    return to_real(
        to_fourier(values) * torch.exp(-2 * (torch.pi * sigma) ** 2 * frequencies(box).square().sum(-1)), box
    )


def _field(box: int, length: float, generator: torch.Generator) -> Tensor:
    """Return a Gaussian random field (N, N, N) of variance 1, correlated over ``length`` voxels."""
    field = _blurred(torch.randn(box, box, box, generator=generator), length / 2**0.5)
    return field / field.std()
