"""Three-dimensional convolutions in the order that a CPU does fastest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_FEW = 4
"""Convolutions of fewer outputs leave most of a CPU's vectors empty."""


def convolve(layer: nn.Module, volumes: Tensor) -> Tensor:
    """Return what a convolution with periodic edges gives of volumes (n, c, M, M, M), the same as ``layer(volumes)``.

    On a CPU channels lie last in memory. Of a layer with few outputs the taps along x are outputs of their own, summed
    afterwards: the same products in another order. By hand, 2026-11-26, batches of 4 to 16 on a grid of 24: 1.2 to 1.9
    times as fast with 16 outputs, 1.8 to 2.9 with two and a kernel of 5. Rounding differs.
    """
    assert isinstance(layer, nn.Conv3d)
    if volumes.device.type != "cpu":
        out: Tensor = layer(volumes)
        return out
    taps = layer.kernel_size[0]
    padded = torch.nn.functional.pad(volumes, (taps // 2,) * 6, mode="circular")
    padded = padded.contiguous(memory_format=torch.channels_last_3d)
    weight = layer.weight
    outputs, inputs = weight.shape[:2]
    if outputs >= _FEW or taps == 1:
        weight = weight.contiguous(memory_format=torch.channels_last_3d)
        return torch.nn.functional.conv3d(padded, weight, layer.bias)
    # (o, c, z, y, x) -> (x o, c, z, y, 1)
    apart = weight.permute(4, 0, 1, 2, 3).reshape(taps * outputs, inputs, taps, taps, 1)
    parts = torch.nn.functional.conv3d(padded, apart.contiguous(memory_format=torch.channels_last_3d))
    size = volumes.shape[-1]
    total = torch.stack([parts[:, i * outputs : (i + 1) * outputs, ..., i : i + size] for i in range(taps)]).sum(0)
    return total if layer.bias is None else total + layer.bias.view(1, -1, 1, 1, 1)
