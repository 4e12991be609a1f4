"""The Siamese matching module: correlation maps of two feature maps, and the branches that read them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gumnet.model.extractor import BATCH_NORM_EPS, MAP_SIZE, normalise_features

POSITIONS = MAP_SIZE**3
"""Positions of a feature map, 216: the channels of a correlation map."""


def correlate(features_a: Tensor, features_b: Tensor) -> Tensor:
    """Return the correlation map c_ab (n, 216, 6, 6, 6) of features (n, channels, 6, 6, 6).

    Channel i at position p holds the dot product of feature i of a with the feature of b at p, so c_ab keeps the
    positions of b; ``correlate(b, a)`` is c_ba. Each position is divided by its length over the 216 channels, as the
    authors' code does. Equation 2 as printed is another thing, the root of a sum of signed products over the
    positions, which can be negative and so has no root.
    """
    with torch.autocast(features_a.device.type, enabled=False):
        products: Tensor = features_a.flatten(2).mT @ features_b.flatten(2)
        return normalise_features(products.reshape(*products.shape[:2], *features_b.shape[2:]))


class MatchingBranch(nn.Module):
    """Reads one correlation map: twice convolution 3^3, batch norm and ReLU, from 6^3 to 2^3, then flat.

    Parameters
    ----------
    channels
        Channels of both convolutions; 8 times as many numbers come out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(POSITIONS, channels, 3),
            nn.BatchNorm3d(channels, eps=BATCH_NORM_EPS),
            nn.ReLU(),
            nn.Conv3d(channels, channels, 3),
            nn.BatchNorm3d(channels, eps=BATCH_NORM_EPS),
            nn.ReLU(),
            nn.Flatten(),
        )

    def forward(self, correlation: Tensor) -> Tensor:
        """Return (n, 8 channels) of a correlation map (n, 216, 6, 6, 6)."""
        out: Tensor = self.layers(correlation)
        return out


class SiameseMatching(nn.Module):
    """Correlates two feature maps both ways and reads both maps, each with its own weights.

    Parameters
    ----------
    channels
        Channels of the convolutions of a branch.
    single
        Keep c_ab alone, the paper's ablation SC.
    """

    def __init__(self, channels: int, *, single: bool) -> None:
        super().__init__()
        self.branch_ab = MatchingBranch(channels)
        self.branch_ba = None if single else MatchingBranch(channels)
        self.size_out = 8 * channels * (1 if single else 2)

    def forward(self, features_a: Tensor, features_b: Tensor) -> Tensor:
        """Return (n, size_out) of two feature maps (n, channels, 6, 6, 6)."""
        matched: Tensor = self.branch_ab(correlate(features_a, features_b))
        if self.branch_ba is None:
            return matched
        return torch.cat([matched, self.branch_ba(correlate(features_b, features_a))], dim=1)
