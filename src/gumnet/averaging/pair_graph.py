"""A sparse graph of pair alignments: each particle aligned with a few others, drawn at random.

The pose of one particle on another is wrong more often than that on an average, for both are noisy and both miss a
wedge. What makes up for it is that right ones fit together around every cycle, and wrong ones do not
(`gumnet.averaging.cycles`): a sparse graph has many cycles, and costs n d alignments and not n^2 / 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gumnet.alignment.aligner import Aligner
from gumnet.alignment.to_particle import align_to_particle
from gumnet.errors import InputError
from gumnet.particles import Particles, Poses
from gumnet.progress import progress

PARTNERS = 8
"""Particles that each is aligned to, at most; as many again are aligned to it."""


@dataclass(frozen=True)
class PairGraph:
    """Relative poses of pairs of n particles.

    Parameters
    ----------
    count
        n.
    edges
        Pairs (i, j) of different particles, (m, 2); no pair twice.
    poses
        Pose of the second of each pair on the first, ``x_j = R_ij x_i + t_ij``, in voxels, (m).
    """

    count: int
    edges: Tensor
    poses: Poses

    def __post_init__(self) -> None:
        if len(self.edges) != len(self.poses):
            raise InputError(f"{len(self.poses)} poses for {len(self.edges)} pairs", cure="give one pose a pair")

    def __len__(self) -> int:
        return len(self.edges)

    def within(self, rows: Tensor) -> tuple[PairGraph, Tensor]:
        """Return the graph of some particles, numbered anew in the order of ``rows``, and which edges it has."""
        new = torch.full((self.count,), -1, dtype=torch.int64)
        new[rows] = torch.arange(len(rows))
        kept = torch.nonzero((new[self.edges] >= 0).all(dim=1))[:, 0]
        return PairGraph(len(rows), new[self.edges[kept]], self.poses[kept]), kept

    @cached_property
    def arcs(self) -> tuple[Tensor, Tensor, Poses]:
        """Each edge in both directions: from (2 m,), to (2 m,), and the pose of the latter on the former (2 m).

        Arc e + m is the reverse of arc e.
        """
        both = torch.cat([self.edges, self.edges.flip(1)])
        return both[:, 0], both[:, 1], Poses.concatenate([self.poses, self.poses.inverse()])

    @cached_property
    def table(self) -> Tensor:
        """Arcs that leave each particle, (n, D) with D the largest degree; -1 where one has fewer."""
        origins = self.arcs[0]
        order = torch.argsort(origins, stable=True)
        degrees = torch.bincount(origins, minlength=self.count)
        before = torch.cumsum(degrees, 0) - degrees
        place = torch.arange(len(order)) - before[origins[order]]
        table = torch.full((self.count, max(1, int(degrees.max()) if len(order) else 1)), -1, dtype=torch.int64)
        table[origins[order], place] = order
        return table


def random_pairs(count: int, partners: int, *, generator: torch.Generator) -> Tensor:
    """Return pairs (m, 2) of ``count`` particles; no pair comes twice.

    From as many random cyclic orders of all particles as each is to have partners: the first connects all of them, and
    pairs that came before are left out of the others, a twentieth of 150 particles with 8 partners. Of few particles
    all pairs are taken.
    """
    if count < 2:
        raise InputError(f"{count} particles form no pair", cure="give two or more")
    if count <= 2 * partners + 1:
        return torch.combinations(torch.arange(count), 2)
    pairs: dict[tuple[int, int], tuple[int, int]] = {}
    for _ in range(partners):
        order = torch.randperm(count, generator=generator).tolist()
        for i, j in zip(order, order[1:] + order[:1], strict=True):
            pairs.setdefault((min(i, j), max(i, j)), (i, j))
    return torch.tensor(list(pairs.values()))


def pair_graph(
    particles: Particles,
    aligner: Aligner,
    *,
    partners: int = PARTNERS,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
    batch_size: int = PARTNERS,
) -> PairGraph:
    """Return a random graph of n particles, its pairs aligned.

    Parameters
    ----------
    aligner
        The method, ready on ``device``. Both particles of a pair come with their Fourier weights.
    partners
        Particles that each is aligned to.
    generator
        Draws the pairs.
    batch_size
        Most pairs at a time. Those with the same first particle share it as their reference, which is turned once.
    """
    edges = random_pairs(len(particles), partners, generator=generator)
    edges = edges[torch.argsort(edges[:, 0], stable=True)]
    parts = []
    with progress("Aligning pairs", len(edges), unit="pairs") as display:
        for i in torch.unique(edges[:, 0]).tolist():
            others = edges[edges[:, 0] == i, 1].tolist()
            poses = align_to_particle(particles, i, others, aligner, size=batch_size, device=device, display=display)
            parts.append(poses.to("cpu", torch.float64))
    return PairGraph(len(particles), edges, Poses.concatenate(parts))
