"""Where to compute, how much at a time, and with which random numbers."""

from __future__ import annotations

import torch

from gumnet.errors import InputError


def resolve_device(name: str = "auto") -> torch.device:
    """Return the device called ``name``: auto, cpu, cuda or cuda:N; auto is the first GPU, or the CPU without one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"unknown device {name!r}", cure="use auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise InputError(f"device {name!r} is not there, {found} GPUs were found", cure="use --device cpu or auto")
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device {name!r} is not supported", cure="use auto, cpu, cuda or cuda:N")
    return device


def seeded(seed: int) -> torch.Generator:
    """Return a random generator started at ``seed``, on the CPU so that every device gets the same draws."""
    return torch.Generator().manual_seed(seed)


def fast_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies in bfloat16 faster than in float32; where that is not known, no."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return known is not None and bool(known())
