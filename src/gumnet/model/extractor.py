"""The shared feature extractor: five convolutions, four poolings, from a box of N to features on a 6^3 map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from gumnet.errors import InputError
from gumnet.model.spectral_pool import SpectralPool

Pooling = Literal["spectral", "max", "average"]

MAP_SIZE = 6
"""Side of the map of features, and so of the correlation map, at every box."""
NORM_EPS = 1e-6
"""Added to the squared length of a feature before it is divided by its length, as in the authors' code."""
BATCH_NORM_EPS = 1e-3
"""The default of Keras, in which the authors built their network."""
MINIMUM_BOX = 17
"""Smallest box at which no pooling would have to enlarge its input."""

# Where the four pooled sizes 26, 18, 12, 8 of the paper's box of 32 lie between the last size, 8, and the box.
_FRACTIONS = (18 / 24, 10 / 24, 4 / 24, 0.0)
# 22/26, 15/18, 10/12 and 7/8 coefficients are kept: all of them are 0.85 times the size, rounded.
_KEEP = 0.85


def pooling_sizes(box: int) -> tuple[tuple[int, int, int], ...]:
    """Return (size in, size out, coefficients kept) of the four poolings for a box of ``box`` voxels.

    At 32 these are the paper's. At other boxes the pooled sizes keep their relative place between the box and the last
    size, 8, so that the features always end on a 6^3 map.
    """
    if box < MINIMUM_BOX:
        raise InputError(f"a box of {box} voxels is too small for the network", cure=f"use {MINIMUM_BOX} or more")
    last = MAP_SIZE + 2
    sizes = []
    size = box - 2
    for fraction in _FRACTIONS:
        pooled = int(last + fraction * (box - last) + 0.5)
        sizes.append((size, pooled, int(_KEEP * pooled + 0.5)))
        size = pooled - 2
    return tuple(sizes)


def normalise_features(features: Tensor) -> Tensor:
    """Return features (n, channels, ...) divided by their length over the channels, ``sqrt(sum of squares + eps)``.

    In float32 or better: 1e-6 is lost beside squares in half precision.
    """
    features = features if features.dtype == torch.float64 else features.float()
    return features / torch.sqrt(features.square().sum(dim=1, keepdim=True) + NORM_EPS)


def make_pool(kind: Pooling, size_in: int, size_out: int, keep: int) -> nn.Module:
    """Return the pooling layer of one stage.

    The ablations "max" and "average" use adaptive windows that end at the same sizes as spectral pooling: the number of
    weights and the 6^3 map stay as they are, and the pooling alone differs.
    """
    if kind == "spectral":
        return SpectralPool(size_in, size_out, keep)
    if kind == "max":
        return nn.AdaptiveMaxPool3d(size_out)
    return nn.AdaptiveAvgPool3d(size_out)


class Extractor(nn.Module):
    """Features of standardised volumes; both volumes of a pair pass through the same weights and batch norms.

    Four times convolution 3^3, ReLU, batch norm, pooling; then convolution, batch norm and L2 norm, without ReLU.

    Parameters
    ----------
    box
        Side of the volumes in voxels.
    channels
        Channels of the five convolutions.
    pooling
        "spectral" as in the paper, or "max" or "average", its ablations.
    """

    def __init__(self, box: int, channels: Sequence[int], pooling: Pooling) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 1
        for count, sizes in zip(channels[:-1], pooling_sizes(box), strict=True):
            layers += [nn.Conv3d(width, count, 3), nn.ReLU(), nn.BatchNorm3d(count, eps=BATCH_NORM_EPS)]
            layers.append(make_pool(pooling, *sizes))
            width = count
        layers += [nn.Conv3d(width, channels[-1], 3), nn.BatchNorm3d(channels[-1], eps=BATCH_NORM_EPS)]
        self.layers = nn.Sequential(*layers)

    def forward(self, volumes: Tensor) -> Tensor:
        """Return unit features (n, channels, 6, 6, 6) of volumes (n, N, N, N)."""
        return normalise_features(self.layers(volumes[:, None]))
