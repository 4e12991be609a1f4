"""Part of a cell: the simulated pairs of one structure at one level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gumnet.benchmark.level import Level
from gumnet.benchmark.pairs import Pairs
from gumnet.particles import Particles, Poses
from gumnet.simulation.dataset import simulate
from gumnet.simulation.microscope import FourierImaging
from gumnet.types import Volume, Volumes

_SEEDS_APART = 1 << 20
"""Structures of a cell have seeds this far apart, so that no two runs of small seeds share pairs."""


@dataclass(frozen=True)
class Part:
    """Pairs of one structure, as pairs and as a set of particles; of several structures where parts were joined.

    Parameters
    ----------
    pairs
        n pairs with their true poses.
    particles
        The same volumes as 2 n particles: a and b of the first pair, then of the second, and so on.
    reference
        The structure (N, N, N) without noise, as particles show it; that of the first of several.
    structures
        How many there are.
    """

    pairs: Pairs
    particles: Particles
    reference: Volume
    structures: int = 1

    @classmethod
    def of(cls, structure: Volume, number: int, level: Level, pairs: int, seed: int) -> Part:
        """Return the pairs of structure ``number`` (N, N, N) at a level."""
        config = level.config(seed + _SEEDS_APART * number)
        made = simulate(structure[None], pairs=pairs, config=config)
        return cls(Pairs.of(made), made.particles, noise_free(structure[None], level)[0])

    @classmethod
    def joined(cls, parts: Sequence[Part]) -> Part:
        """Return all parts as one set."""
        if len(parts) == 1:
            return parts[0]
        volumes, weights = [], []
        for part in parts:
            rows = list(range(len(part.particles)))
            volumes.append(part.particles.read_volumes(rows))
            read = part.particles.read_weights(rows)
            assert read is not None, "simulated particles have weights"
            weights.append(read)
        particles = Particles.from_tensors(
            torch.cat(volumes),
            voxel_size_angstrom=parts[0].particles.voxel_size_angstrom,
            weights=torch.cat(weights),
        )
        pairs = Pairs.concatenate([part.pairs for part in parts])
        return cls(pairs, particles, parts[0].reference, sum(part.structures for part in parts))

    def __len__(self) -> int:
        return len(self.pairs)

    def pair_poses(self, poses: Poses) -> Poses:
        """Return the poses of b on a of all pairs (n), from those of the 2 n particles on one reference."""
        return poses[1::2].compose(poses[0::2].inverse())


def noise_free(structures: Volumes, level: Level) -> Volumes:
    """Return structures (k, N, N, N) as particles of a level show them, by the normal form of Fourier weights.

    What the weights of a particle say is left out: the wedge, and for tilt series, whose weights hold it, the CTF.
    """
    if level.model == "tilt-series":
        return structures
    return FourierImaging(level.config(0), has_wedge=False).signal(structures)
