"""A density known everywhere in closed form: a sum of isotropic Gaussians."""

from __future__ import annotations

import math

import torch
from torch import Tensor

CENTRES = ((3.0, -2.0, 1.0), (-4.0, 1.5, 2.5), (0.5, 4.0, -3.0), (-1.0, -3.5, -4.0))
AMPLITUDES = (1.0, 0.8, 1.3, 0.6)


def density(
    box: int,
    rotation: Tensor | None = None,
    shift: Tensor | None = None,
    *,
    sigma: float = 1.6,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Return the density (N, N, N) of the particle whose reference has blobs at CENTRES: moved by ``R x + t``."""
    rotation = torch.eye(3, dtype=dtype) if rotation is None else rotation.to(dtype)
    shift = torch.zeros(3, dtype=dtype) if shift is None else shift.to(dtype)
    axis = torch.arange(box, dtype=dtype) - box // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], dim=-1)
    out = torch.zeros(box, box, box, dtype=dtype)
    for position, amplitude in zip(CENTRES, AMPLITUDES, strict=True):
        moved = rotation @ torch.tensor(position, dtype=dtype) + shift
        out += amplitude * torch.exp(-((points - moved) ** 2).sum(-1) / (2 * sigma**2))
    return out


def spectrum(frequencies: Tensor, *, sigma: float = 1.6) -> Tensor:
    """Return the Fourier transform of the reference density at ``frequencies`` (..., 3) in cycles per voxel."""
    out = torch.zeros(frequencies.shape[:-1], dtype=torch.complex128)
    envelope = (2 * math.pi * sigma**2) ** 1.5 * torch.exp(-2 * (math.pi * sigma) ** 2 * (frequencies**2).sum(-1))
    for position, amplitude in zip(CENTRES, AMPLITUDES, strict=True):
        phase = -2 * math.pi * (frequencies @ torch.tensor(position, dtype=frequencies.dtype))
        out += amplitude * torch.polar(envelope, phase)
    return out
