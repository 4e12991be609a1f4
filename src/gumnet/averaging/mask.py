"""Masks with soft edges: a sharp edge would correlate two maps by itself."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.geometry.fourier import frequencies, to_fourier, to_real
from gumnet.geometry.warp import voxel_coordinates
from gumnet.types import Volume


def soft_edge(distance: Tensor, width: float) -> Tensor:
    """Return 1 where ``distance`` is 0 or less, 0 from ``width`` on, and half a cosine between; any shape."""
    if width <= 0:
        return (distance <= 0).to(distance.dtype)
    return 0.5 + 0.5 * torch.cos(math.pi * (distance / width).clamp(0, 1))


def soft_sphere(
    box: int,
    radius: float | None = None,
    edge: float = 3.0,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Volume:
    """Return a sphere (N, N, N) about the centre voxel: 1 inside, falling to 0 over a soft edge.

    Parameters
    ----------
    radius
        Where the edge begins, in voxels; the largest that leaves the edge inside the box unless given.
    edge
        Width of the edge, in voxels.
    """
    if radius is None:
        radius = max((box - 1) // 2 - edge, 1.0)
    if radius <= 0 or edge < 0:
        raise InputError(f"a mask of radius {radius} and edge {edge} voxels is empty", cure="give a radius above 0")
    distance = torch.linalg.vector_norm(voxel_coordinates(box, device=device, dtype=dtype), dim=-1)
    return soft_edge(distance - radius, edge)


def without_corners(volume: Volume) -> Volume:
    """Return a map (N, N, N) that falls to 0 over 3 voxels beyond the sphere that fits in its box.

    Of turned boxes only some reach the corners, and what they put there is noise. RELION's maps end in the same way.
    """
    box = volume.shape[-1]
    return volume * soft_sphere(box, box / 2, 3.0, device=volume.device, dtype=volume.dtype)


def low_pass(volumes: Tensor, frequency: float, edge: float = 0.02) -> Tensor:
    """Return volumes (..., N, N, N) with a cosine fall from 1 at ``frequency`` to 0, in cycles per voxel.

    Parameters
    ----------
    edge
        Width of the fall, in cycles per voxel; at least one shell, so that no ringing comes of it.
    """
    box = volumes.shape[-1]
    radius = torch.linalg.vector_norm(frequencies(box, device=volumes.device, dtype=volumes.dtype), dim=-1)
    return to_real(to_fourier(volumes) * soft_edge(radius - frequency, max(edge, 1 / box)), box)
