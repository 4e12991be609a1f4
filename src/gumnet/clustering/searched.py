"""Scores of all pairs, each aligned by a search or a network.

All pairs with the same first particle share it as their reference (`gumnet.alignment.to_particle`). The
poses and scores are those of `gumnet.align_pairs` with the two particles of each pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gumnet.alignment.aligner import Aligner, make_aligner
from gumnet.alignment.batch import batching_for
from gumnet.alignment.to_particle import align_to_particle
from gumnet.clustering.blocks import SCORES
from gumnet.clustering.config import POSES, ClusterConfig
from gumnet.devices import resolve_device
from gumnet.engine.work import Result, Run, join_rows
from gumnet.particles import Particles
from gumnet.progress import Progress

PAIRS_A_BLOCK = 256
"""About half a minute of one CPU core: the most that is lost when a run is stopped."""


@dataclass(frozen=True)
class ScoreWork:
    """Scores of pairs for `gumnet.engine`: a batch is a stretch of first particles.

    Parameters
    ----------
    particles
        Without their table, and not cached: each worker keeps what it reads.
    config
        With the number of particles at a time.
    kept_gigabytes
        How much of what it read each worker keeps.
    """

    particles: Particles
    config: ClusterConfig
    kept_gigabytes: float

    def start(self, device: torch.device) -> Run:
        """Return what scores the pairs of some first particles on a device."""
        particles = self.particles.cached(self.kept_gigabytes)
        scores = SearchedScores.of(particles, replace(self.config, device=str(device)))
        display = Progress("", 0, unit="pairs", shown=False)
        return lambda rows: {SCORES: scores.rows(rows[0], rows[-1] + 1, display)}

    def join(self, parts: Sequence[Result]) -> Result:
        """Return the scores of all parts, in their order."""
        return join_rows(parts)


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
    def of(cls, particles: Particles, config: ClusterConfig, workers: int = 1) -> SearchedScores:
        """Return the scores that the configuration asks for, not computed yet; workers share its memory."""
        alignment, device = config.alignment(), resolve_device(config.device)
        options = alignment.options(particles.voxel_size_angstrom)
        batching = batching_for(
            options,
            particles.box,
            device,
            shared_reference=True,
            wanted=config.batch_size,
            memory_gigabytes=config.memory_gigabytes,
            particles=len(particles),
            workers=workers,
        )
        aligner = make_aligner(alignment.method, replace(options, at_once=batching.at_once), device)
        return cls(particles, aligner, batching.size, device, near_poses=config.method == POSES)

    def work(self, config: ClusterConfig, kept_gigabytes: float) -> ScoreWork:
        """Return the same for workers elsewhere, who read the particles for themselves."""
        slim = replace(self.particles, table=None, optics=None)
        return ScoreWork(slim, replace(config, batch_size=self.size), kept_gigabytes)

    @property
    def block(self) -> int:
        """How many pairs a block has, or more."""
        return PAIRS_A_BLOCK

    def __len__(self) -> int:
        return len(self.particles)

    def rows(self, first: int, last: int, display: Progress) -> Tensor:
        """Return the scores of all pairs (i, j), first <= i < last and i < j, condensed."""
        parts = [
            align_to_particle(
                self.particles,
                i,
                range(i + 1, len(self)),
                self.aligner,
                size=self.size,
                device=self.device,
                near_poses=self.near_poses,
                display=display,
            ).scores
            for i in range(first, last)
        ]
        return torch.cat(parts)
