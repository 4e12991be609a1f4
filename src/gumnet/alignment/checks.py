"""Checks of what the caller gives, each with an error that names the argument and the cure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.types import Volume, Volumes, Weights

_MASK_TOLERANCE = 1e-3
"""Interpolation and float16 take the values of a mask this much beyond 0 and 1."""
_LEAST_BAND = 2
"""Shells between the coarsest and the finest that are used, at least: fewer tell no pose."""
_NYQUIST_TOLERANCE = 1e-4
"""Voxel sizes in files are rounded to six digits or so."""


def as_stack(values: Any, name: str) -> Tensor:
    """Return volumes as a tensor (n, N, N, N) that shares memory where it can, of any floating-point type.

    Parameters
    ----------
    values
        Array or tensor of floats or integers.
    name
        What the caller calls it.
    """
    tensor = _as_tensor(values, name)
    if tensor.ndim != 4 or len(set(tensor.shape[1:])) != 1:
        raise InputError(f"{name} has shape {tuple(tensor.shape)}", cure="give cubic volumes of shape (n, N, N, N)")
    if len(tensor) == 0:
        raise InputError(f"{name} holds no volume", cure="give at least one")
    if tensor.shape[-1] < 8:
        raise InputError(f"{name} has boxes of {tensor.shape[-1]} voxels", cure="give boxes of 8 voxels or more")
    return tensor


def checked_volumes(volumes: Tensor, name: str, first: int = 0, names: tuple[str, ...] = ()) -> Volumes:
    """Return volumes (n, N, N, N) as float32, all finite and none constant.

    Parameters
    ----------
    first
        Index that the caller knows the first of them by.
    names
        Or a name for each.
    """
    volumes = volumes.to(torch.float32)
    flat = volumes.flatten(1)
    finite = torch.isfinite(flat).all(dim=1)
    constant = flat.amax(dim=1) == flat.amin(dim=1)
    for bad, what in ((~finite, "holds NaN or infinite values"), (finite & constant, "is constant")):
        if bool(bad.any()):
            row = int(torch.nonzero(bad)[0, 0])
            label = names[row] if names else f"[{first + row}]"
            raise InputError(f"{name} {label} {what}" if names else f"{name}{label} {what}", cure="leave it out")
    return volumes


def as_weights(values: Any, name: str, count: int, box: int) -> Weights | None:
    """Return Fourier weights as float32 of shape (1 or n, N, N, N // 2 + 1), or None.

    Parameters
    ----------
    values
        Shape (N, N, N // 2 + 1) or (n, N, N, N // 2 + 1), rfftn layout, 0 or more; or None where all was observed.
    """
    if values is None:
        return None
    tensor = _as_tensor(values, name)
    wanted = (box, box, box // 2 + 1)
    if tuple(tensor.shape) == wanted:
        tensor = tensor[None]
    elif tuple(tensor.shape) != (count, *wanted):
        raise InputError(
            f"{name} has shape {tuple(tensor.shape)}",
            cure=f"give {wanted} or {(count, *wanted)}, the rfftn layout of boxes of {box}",
        )
    weights = tensor.to(torch.float32)
    if not bool(torch.isfinite(weights).all()) or bool((weights < 0).any()):
        raise InputError(f"{name} holds negative, NaN or infinite values", cure="give weights of 0 or more")
    if bool((weights.flatten(1).amax(dim=1) == 0).any()):
        raise InputError(f"{name} holds weights that are 0 everywhere", cure="give what was observed")
    return weights


def check_max_shift(max_shift: float | None, box: int, name: str = "max_shift") -> None:
    """Raise `InputError` for a largest shift, in voxels, that leaves a box of ``box`` voxels.

    Parameters
    ----------
    name
        What the caller calls it.
    """
    half = box / 2
    if max_shift is not None and not 0 <= max_shift <= half:
        raise InputError(
            f"{name} {max_shift:g} is not possible in a box of {box} voxels", cure=f"give 0 to {half:g} voxels"
        )


def check_resolutions(
    low_pass: float | None,
    high_pass: float | None,
    *,
    box: int,
    voxel_size_angstrom: float,
    names: tuple[str, str] = ("low_pass_angstrom", "high_pass_angstrom"),
) -> None:
    """Raise `InputError` for resolution limits, in Angstrom, that the voxels do not hold or that leave nothing.

    Parameters
    ----------
    low_pass, high_pass
        Finest and coarsest resolution; None for no limit.
    names
        What the caller calls them.
    """
    nyquist = 2 * voxel_size_angstrom
    if low_pass is not None and not low_pass >= nyquist * (1 - _NYQUIST_TOLERANCE):
        raise InputError(
            f"{names[0]} {low_pass:g} is finer than two voxels, {nyquist:g} Angstrom, beyond which the images hold "
            "nothing",
            cure=f"give {nyquist:g} or more, or leave it out",
        )
    # The highest shell below Nyquist.
    finest = max(low_pass or 0.0, box * voxel_size_angstrom / ((box - 1) // 2))
    extent = box * voxel_size_angstrom
    coarsest = extent / max(1.0, extent / finest - _LEAST_BAND)
    if high_pass is not None and not high_pass >= coarsest:
        raise InputError(
            f"{names[1]} {high_pass:g} leaves nothing to align by: the finest resolution is {finest:g} Angstrom",
            cure=f"give {math.ceil(coarsest):g} or more, or leave it out",
        )


def checked_mask(values: Any, box: int) -> Volume:
    """Return a mask of volumes of ``box`` voxels as float32, (N, N, N), its values from 0 to 1 and not all 0."""
    mask = _as_tensor(values, "the mask").to(torch.float32)
    if tuple(mask.shape) != (box,) * 3:
        raise InputError(
            f"the mask has shape {tuple(mask.shape)}, the particles boxes of {box}",
            cure="crop, pad or resample the mask to the particles' box and voxel size",
        )
    check_mask_values(mask)
    return mask


def check_mask_values(mask: Volume, path: Path | None = None) -> None:
    """Raise `InputError` unless the values of a mask are from 0 to 1 and not all 0; it names the file or "mask"."""
    path = Path("mask") if path is None else path
    low, high = float(mask.min()), float(mask.max())
    if not (low >= -_MASK_TOLERANCE and high <= 1 + _MASK_TOLERANCE):
        raise InputError(
            f"its values go from {low:g} to {high:g}, those of a mask from 0 to 1",
            cure="give a mask, not a map, or scale it",
            path=path,
        )
    if high <= _MASK_TOLERANCE:
        raise InputError("it is a mask of 0 everywhere, which leaves nothing", cure="give another mask", path=path)


def _as_tensor(values: Any, name: str) -> Tensor:
    """Return an array or tensor as a tensor of numbers that are real."""
    if not isinstance(values, Tensor):
        array = np.asarray(values)
        if array.dtype.kind not in "fiu":
            raise InputError(f"{name} is of type {array.dtype}", cure="give an array of real numbers")
        # Read-only arrays, such as memory maps, cannot be shared with torch without a warning.
        native = array.astype(array.dtype.newbyteorder("="), copy=not array.flags.writeable)
        values = torch.from_numpy(native if native.dtype.kind != "u" else native.astype(np.float32))
    if values.is_complex() or values.dtype == torch.bool:
        raise InputError(f"{name} is of type {values.dtype}", cure="give real numbers")
    tensor: Tensor = values.detach()
    return tensor
