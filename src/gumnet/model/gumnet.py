"""Gum-Net: two volumes in, the pose of the second on the first out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from gumnet.errors import InputError
from gumnet.model.correlation import SiameseMatching
from gumnet.model.extractor import Extractor, Pooling, pooling_sizes
from gumnet.model.head import PoseHead, RotationHead
from gumnet.types import Rotations, Vectors, Volumes

Correlation = Literal["siamese", "single"]


@dataclass(frozen=True)
class GumNetConfig:
    """The architecture of a network. The defaults are those of the preset "small".

    Parameters
    ----------
    box
        Side of the volumes in voxels, 17 or more. No weight depends on it.
    channels
        Channels of the five convolutions of the feature extractor.
    branch_channels
        Channels of the convolutions that read a correlation map.
    hidden
        Width of the first two dense layers.
    pooling
        "spectral" as in the paper; "max" and "average" are its ablations MP and AP, with adaptive windows that end at
        the same sizes.
    correlation
        "siamese" reads c_ab and c_ba; "single" keeps c_ab alone, the ablation SC.
    head
        "six" gives a continuous rotation, "euler" the paper's ZYZ angles.
    """

    box: int = 32
    channels: tuple[int, int, int, int, int] = (16, 32, 64, 128, 256)
    branch_channels: int = 160
    hidden: int = 384
    pooling: Pooling = "spectral"
    correlation: Correlation = "siamese"
    head: RotationHead = "six"

    def __post_init__(self) -> None:
        pooling_sizes(self.box)
        if len(self.channels) != 5 or min(*self.channels, self.branch_channels, self.hidden) < 1:
            raise InputError(
                f"channels {self.channels}, branch_channels {self.branch_channels} and hidden {self.hidden} do not "
                "make a network",
                cure="give five channels, and 1 or more for each width",
            )
        choices = {
            "pooling": ("spectral", "max", "average"),
            "correlation": ("siamese", "single"),
            "head": ("six", "euler"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise InputError(f"unknown {name} {getattr(self, name)!r}", cure=f"use {', '.join(known)}")


PRESETS: Mapping[str, GumNetConfig] = MappingProxyType(
    {
        # The network of the paper: 110,067,334 trainable parameters.
        "paper": GumNetConfig(channels=(32, 64, 128, 256, 512), branch_channels=1024, hidden=2000, head="euler"),
        # 5.5 million: its weights in half precision are under 12 MiB.
        "small": GumNetConfig(),
        # 0.26 million: for tests, and for trying things out on a CPU.
        "tiny": GumNetConfig(channels=(4, 8, 16, 16, 32), branch_channels=16, hidden=64),
    }
)
"""Named architectures, each for a box of 32; `dataclasses.replace` changes the box or an ablation."""


def preset(name: str, box: int) -> GumNetConfig:
    """Return the architecture called ``name`` for a box of ``box`` voxels."""
    if name not in PRESETS:
        raise InputError(f"unknown preset {name!r}", cure=f"use {', '.join(PRESETS)}")
    return replace(PRESETS[name], box=box)


def standardise(volumes: Volumes) -> Volumes:
    """Return volumes (n, N, N, N) with mean 0 and standard deviation 1 each, in float32 or better."""
    volumes = volumes if volumes.dtype == torch.float64 else volumes.float()
    centred = volumes - volumes.mean(dim=(1, 2, 3), keepdim=True)
    scale = centred.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    # A constant volume has nothing to scale; it stays at 0 and does not become NaN.
    return centred / scale.clamp(min=torch.finfo(volumes.dtype).tiny)


class GumNet(nn.Module):
    """Estimates the pose (R, t) of b on a, ``x_b = R x_a + t``, in one pass (Zeng and Xu, CVPR 2020).

    Parameters
    ----------
    config
        The architecture.
    generator
        Draws the starting weights (Glorot's uniform, biases 0, as in Keras); torch's own generator unless given.
    """

    def __init__(self, config: GumNetConfig, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.extractor = Extractor(config.box, config.channels, config.pooling)
        self.matching = SiameseMatching(config.branch_channels, single=config.correlation == "single")
        self.head = PoseHead(self.matching.size_out, config.hidden, config.head, config.box)
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.head.start_at_identity()

    def forward(self, a: Volumes, b: Volumes, *, both_ways: bool = False) -> tuple[Rotations, Vectors]:
        """Return rotations (n, 3, 3) and shifts (n, 3) in voxels, of b on a.

        Parameters
        ----------
        a, b
            Volumes of shape (n, N, N, N) with N the box of the network. Any scale and offset: each is standardised.
        both_ways
            Return the poses of a on b too, after the others: (2 n, 3, 3) and (2 n, 3). Features are made once.
        """
        self._check(a, b)
        # Both in one pass: in training, the batch norms see the statistics of both, as they do later.
        with torch.autocast(a.device.type, enabled=False):
            volumes = standardise(torch.cat([a, b]))
        features = self.extractor(volumes)
        features_a, features_b = features.chunk(2)
        if both_ways:
            features_a, features_b = features, torch.cat([features_b, features_a])
        pose: tuple[Rotations, Vectors] = self.head(self.matching(features_a, features_b))
        return pose

    def for_box(self, box: int) -> GumNet:
        """Return a network with a copy of these weights for another box; what they learnt may not carry over."""
        other = GumNet(replace(self.config, box=box))
        other.load_state_dict(self.state_dict())
        return other.to(next(self.parameters()).device).train(self.training)

    def count_parameters(self) -> int:
        """Return the number of trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def _check(self, a: Tensor, b: Tensor) -> None:
        box = self.config.box
        if a.shape != b.shape or a.ndim != 4:
            raise InputError(
                f"the volumes have shapes {tuple(a.shape)} and {tuple(b.shape)}",
                cure="give two stacks of as many volumes each, of shape (n, N, N, N)",
            )
        if tuple(a.shape[1:]) != (box, box, box):
            found = " x ".join(str(side) for side in a.shape[1:])
            raise InputError(
                f"this is a model for another box: it is for {box} voxels a side, the volumes have {found}",
                cure=f"use volumes of {box} voxels, a model trained at this box, or `GumNet.for_box`",
            )
