"""Scores of all pairs, each aligned by a search or a network.

All pairs with the same first particle share it as their reference, which is made ready, and turned, once for all of
them. The poses and scores are those of `gumnet.align_pairs` with the two particles of each pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.alignment.aligner import Aligner, make_aligner
from gumnet.alignment.batch import batch_size_for
from gumnet.alignment.checks import checked_volumes
from gumnet.clustering.blocks import batches
from gumnet.clustering.config import POSES, ClusterConfig
from gumnet.devices import resolve_device
from gumnet.particles import Particles, Poses
from gumnet.progress import Progress
from gumnet.types import Volumes, Weights

PAIRS_A_BLOCK = 256
"""About half a minute of one CPU core: the most that is lost when a run is stopped."""


@dataclass(frozen=True)
class SearchedScores:
    """Scores of pairs after alignment, one first particle at a time; see `gumnet.clustering.blocks.PairScores`.

    Parameters
    ----------
    particles
        The n particles.
    aligner
        The method.
    size
        How many particles it is given at a time.
    device
        Where it computes.
    near_poses
        Whether pairs start from the poses that the particles have, which are refined alone.
    """

    particles: Particles
    aligner: Aligner
    size: int
    device: torch.device
    near_poses: bool

    @classmethod
    def of(cls, particles: Particles, config: ClusterConfig) -> SearchedScores:
        """Return the scores that the configuration asks for, not computed yet."""
        alignment, device = config.alignment(), resolve_device(config.device)
        options = alignment.options(particles.voxel_size_angstrom)
        size = batch_size_for(
            options,
            particles.box,
            device,
            shared_reference=True,
            wanted=config.batch_size,
            memory_gigabytes=config.memory_gigabytes,
        )
        aligner = make_aligner(alignment.method, options, device)
        return cls(particles, aligner, size, device, near_poses=config.method == POSES)

    @property
    def block(self) -> int:
        """How many pairs a block has, or more."""
        return PAIRS_A_BLOCK

    def __len__(self) -> int:
        return len(self.particles)

    def rows(self, first: int, last: int, display: Progress) -> Tensor:
        """Return the scores of all pairs (i, j), first <= i < last and i < j, condensed."""
        parts = []
        for i in range(first, last):
            reference, observed = self._read([i])
            for others in batches(range(i + 1, len(self)), self.size):
                volumes, weights = self._read(others)
                prior = self._relative(i, others) if self.near_poses else None
                parts.append(self.aligner.align(reference, volumes, observed, weights, prior).scores)
                display.advance(len(others))
        return torch.cat(parts)

    def _read(self, rows: list[int]) -> tuple[Volumes, Weights | None]:
        """Return volumes and weights of some particles, on the device."""
        names = tuple(self.particles.names[i] for i in rows)
        volumes = checked_volumes(self.particles.read_volumes(rows), "volume of", names=names).to(self.device)
        weights = self.particles.read_weights(rows)
        return volumes, None if weights is None else weights.to(self.device)

    def _relative(self, i: int, others: list[int]) -> Poses:
        """Return the poses of other particles on particle i: ``x_j = R_j R_i' (x_i - t_i) + t_j``."""
        poses = self.particles.poses
        return poses[others].compose(poses[[i] * len(others)].inverse())
