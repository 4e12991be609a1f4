"""Checks of what the caller gives, each with an error that names the argument and the cure."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.types import Volumes, Weights


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
