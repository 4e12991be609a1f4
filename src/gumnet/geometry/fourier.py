"""Fourier space: transforms centred on voxel N // 2, shells, shifts, cropping."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gumnet.types import Spectra, Vectors, centre

_AXES = (-3, -2, -1)


def to_fourier(volumes: Tensor) -> Spectra:
    """Return the spectra (..., N, N, N // 2 + 1) of volumes (..., N, N, N), phases relative to the centre voxel."""
    spectra: Tensor = torch.fft.rfftn(torch.fft.ifftshift(volumes, dim=_AXES), dim=_AXES)
    return spectra


def to_real(spectra: Spectra, box: int) -> Tensor:
    """Return the volumes (..., N, N, N) of spectra (..., N, N, N // 2 + 1); the inverse of `to_fourier`."""
    volumes: Tensor = torch.fft.fftshift(torch.fft.irfftn(spectra, s=(box,) * 3, dim=_AXES), dim=_AXES)
    return volumes


def frequencies(box: int, *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the frequency vectors (N, N, N // 2 + 1, 3), in (x, y, z) order, in cycles per voxel."""
    full = torch.fft.fftfreq(box, device=device, dtype=dtype)
    half = torch.fft.rfftfreq(box, device=device, dtype=dtype)
    kz, ky, kx = torch.meshgrid(full, full, half, indexing="ij")
    return torch.stack([kx, ky, kz], dim=-1)


def shell_indices(box: int, *, device: torch.device | str | None = None) -> Tensor:
    """Return the shell of each coefficient, (N, N, N // 2 + 1): its radius in units of 1 / N, rounded."""
    radius = frequencies(box, device=device, dtype=torch.float64).norm(dim=-1) * box
    return torch.round(radius).to(torch.int64)


def friedel_multiplicity(
    box: int, *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return how many coefficients of the full transform each kx of the half transform stands for, (N // 2 + 1,).

    One for kx = 0 and, in an even box, for kx = N / 2; two for the others. Sums over the half transform without these
    weights count some Friedel pairs twice and others once.
    """
    multiplicity = torch.full((box // 2 + 1,), 2.0, device=device, dtype=dtype)
    multiplicity[0] = 1.0
    if box % 2 == 0:
        multiplicity[-1] = 1.0
    return multiplicity


def shell_sums(values: Tensor, box: int) -> Tensor:
    """Return the sums over shells 0 ... N // 2 of real values (..., N, N, N // 2 + 1), shape (..., N // 2 + 1).

    Both halves of Fourier space count. Coefficients beyond the last whole shell are left out.
    """
    shells = shell_indices(box, device=values.device).flatten()
    count = box // 2 + 1
    weighted = (values * friedel_multiplicity(box, device=values.device, dtype=values.dtype)).flatten(-3)
    sums = torch.zeros(*values.shape[:-3], count + 1, device=values.device, dtype=values.dtype)
    index = shells.clamp(max=count).expand(weighted.shape)
    return sums.scatter_add(-1, index, weighted)[..., :count]


def spread_shells(values: Tensor, box: int) -> Tensor:
    """Return (..., N, N, N // 2 + 1) with each coefficient given its shell's value (..., N // 2 + 1), zero beyond."""
    shells = shell_indices(box, device=values.device)
    padded = torch.nn.functional.pad(values, (0, 1))
    return padded[..., shells.clamp(max=box // 2 + 1)]


def phase_ramp(box: int, shifts: Vectors) -> Tensor:
    """Return the factor (..., N, N, N // 2 + 1) that moves a volume by ``shifts`` (..., 3): ``exp(-2 pi i k . t)``."""
    k = frequencies(box, device=shifts.device, dtype=shifts.dtype)
    angle = -2 * math.pi * torch.einsum("zyxc,...c->...zyx", k, shifts)
    return torch.polar(torch.ones_like(angle), angle)


def shift_volumes(volumes: Tensor, shifts: Vectors) -> Tensor:
    """Return volumes (..., N, N, N) moved by ``shifts`` (..., 3) voxels, ``out(x) = in(x - t)``, periodic and exact."""
    box = volumes.shape[-1]
    return to_real(to_fourier(volumes) * phase_ramp(box, shifts.to(volumes.dtype)), box)


def embed(arrays: Tensor, box: int, axes: int = 3) -> Tensor:
    """Return arrays in a larger, zero-filled box, or cut to a smaller one, voxel N // 2 staying the centre.

    Parameters
    ----------
    axes
        How many of the last axes, all of one length, get ``box`` voxels.
    """
    before = centre(box) - centre(arrays.shape[-1])
    after = box - arrays.shape[-1] - before
    return torch.nn.functional.pad(arrays, (before, after) * axes)


def fast_size(least: int) -> int:
    """Return the smallest even size from ``least`` on that has no prime factor above 5: fast to transform."""
    size = least + least % 2
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 2


def resize(volumes: Tensor, box: int) -> Tensor:
    """Return volumes (..., M, M, M) resampled to a box of ``box`` voxels over the same extent by Fourier crop or pad.

    Values keep their level: a constant volume stays that constant. The centre voxel stays the centre. Coefficients at
    the Nyquist frequency of the smaller box, which have no partner there, are dropped.
    """
    old = volumes.shape[-1]
    if old == box:
        return volumes
    small = min(old, box)
    keep = (small - 1) // 2
    source = to_fourier(volumes)
    target = source.new_zeros(*source.shape[:-3], box, box, box // 2 + 1)
    positive, negative = slice(0, keep + 1), slice(-keep, None)
    sides = (positive, negative) if keep else (positive,)
    for z in sides:
        for y in sides:
            target[..., z, y, positive] = source[..., z, y, positive]
    return to_real(target, box) * (box / old) ** 3
