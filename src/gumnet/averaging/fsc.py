"""Fourier shell correlation, and the resolution it gives."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.geometry.fourier import shell_sums, to_fourier

GOLD_STANDARD_THRESHOLD = 0.143
"""Threshold for two independent half maps (Rosenthal and Henderson, 2003)."""

KNOWN_STRUCTURE_THRESHOLD = 0.5
"""Threshold against a known, noise-free structure: the signal is then half of the map's power or more."""


_LEAST_FSC = 1e-3


def fsc(map1: Tensor, map2: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Return the Fourier shell correlation of two maps.

    ``sum F1 conj(F2) / sqrt(sum |F1|^2 sum |F2|^2)`` over each shell. Both halves of Fourier space count once; sums
    over the half transform alone are up to 0.026 off.

    Parameters
    ----------
    map1, map2
        Volumes (..., N, N, N).
    mask
        Volume (N, N, N) of values from 0 to 1 that multiplies both, or None.

    Returns
    -------
    Tensor
        Shape (..., N // 2 + 1), float64: the correlation at shell s, of s / N cycles per voxel. 0 where a map has
        nothing at all in a shell.
    """
    box = map1.shape[-1]
    if map1.shape != map2.shape or map1.shape[-3:] != (box,) * 3:
        raise InputError(
            f"the maps have shapes {tuple(map1.shape)} and {tuple(map2.shape)}", cure="give two cubic maps of one box"
        )
    if mask is not None and mask.shape[-3:] != (box,) * 3:
        raise InputError(f"the mask has shape {tuple(mask.shape)} for maps of {box}", cure="use a mask of the same box")
    weight = 1.0 if mask is None else mask.double()
    first, second = to_fourier(map1.double() * weight), to_fourier(map2.double() * weight)
    for spectrum in (first, second):
        if not bool(torch.isfinite(spectrum.real).all()):
            raise InputError("a map or the mask holds NaN or infinite values", cure="use maps of finite values")
    cross = shell_sums((first * second.conj()).real, box)
    power = torch.sqrt(shell_sums(first.abs() ** 2, box) * shell_sums(second.abs() ** 2, box))
    return torch.where(power > 0, cross / torch.where(power > 0, power, 1.0), 0.0)


def resolution_angstrom(
    curve: Tensor, voxel_size_angstrom: float, box: int, threshold: float = GOLD_STANDARD_THRESHOLD
) -> float:
    """Return the resolution at which a Fourier shell correlation first falls below a threshold.

    Linear between shells. Shell 0, the mean density, holds no resolution and does not count.

    Parameters
    ----------
    curve
        Shape (N // 2 + 1,), from `fsc`. NaN counts as below the threshold.
    box
        N, which `curve` alone does not tell.

    Returns
    -------
    float
        In Angstrom: two voxels where the curve never falls below, infinity where it starts below.
    """
    if curve.shape != (box // 2 + 1,):
        raise InputError(
            f"a correlation of shape {tuple(curve.shape)} does not belong to a box of {box}",
            cure=f"give {box // 2 + 1} shells",
        )
    values = [value if math.isfinite(value) else -1.0 for value in curve.tolist()]
    for shell in range(1, len(values)):
        if values[shell] < threshold:
            if shell == 1:
                return math.inf
            above = values[shell - 1]
            crossing = shell - 1 + (above - threshold) / (above - values[shell])
            return voxel_size_angstrom * box / crossing
    return 2 * voxel_size_angstrom


def noise_to_signal(curve: Tensor) -> Tensor:
    """Return noise over signal power of the average of both halves, (N // 2 + 1,), from the correlation of the halves.

    A half has signal over noise ``FSC / (1 - FSC)`` and the whole twice that. The mean density, shell 0, is kept.
    """
    clipped = curve.clamp(_LEAST_FSC, 1.0)
    ratio = (1 - clipped) / (2 * clipped)
    ratio[0] = 0
    return ratio
