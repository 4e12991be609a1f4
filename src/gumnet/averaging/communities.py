"""Classes of particles from a graph of pair alignments: particles of one structure close cycles with each other.

An edge between particles of different structures has some best pose all the same, but no cycle confirms it. So by the
probabilities of edges (`gumnet.averaging.cycles`) the graph falls apart. Spectral clustering finds the parts (Ng,
Jordan and Weiss, NIPS 2001; regularised as in `gumnet.averaging.synchronise.spectral`), each is synchronised by
itself, and particles move to the part of which more of their edges agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.cluster.vq import ClusterError, kmeans2
from torch import Tensor

from gumnet.averaging.cycles import NOISE_DEGREES, edge_probabilities, find_cycles
from gumnet.averaging.pair_graph import PairGraph
from gumnet.averaging.synchronise import Synchronised, supported, synchronise
from gumnet.errors import InputError
from gumnet.particles import Poses
from gumnet.types import Labels

_ROUNDS = 3
_TRIES = 10
_TINY = 1e-9
_LEAST = 3


@dataclass(frozen=True)
class Community:
    """Particles of one class, and their poses in a frame of their own.

    Parameters
    ----------
    rows
        Which of the n particles, (c,).
    found
        Their poses and how well they hold together.
    """

    rows: Tensor
    found: Synchronised


def communities(
    graph: PairGraph, classes: int, *, generator: torch.Generator, noise_degrees: float = NOISE_DEGREES
) -> list[Community]:
    """Return n particles in classes, the largest first.

    Parameters
    ----------
    classes
        K, how many; fewer come back where one has less than 3 particles, which are then in none.
    generator
        Draws the centres of the clustering and the order in which particles are moved.
    """
    if not 1 <= classes <= graph.count:
        raise InputError(f"{classes} classes of {graph.count} particles are not possible", cure="ask for fewer")
    probabilities = edge_probabilities(graph, find_cycles(graph), noise_degrees=noise_degrees)
    labels = torch.zeros(graph.count, dtype=torch.int64)
    if classes > 1:
        labels = spectral_clusters(graph, probabilities, classes, generator=generator)
    for _ in range(_ROUNDS):
        parts = []
        support = torch.zeros(classes, graph.count, dtype=torch.float64)
        for c in range(classes):
            rows = torch.nonzero(labels == c)[:, 0]
            if len(rows) < _LEAST:
                continue
            part, kept = graph.within(rows)
            if not len(part):
                continue
            found = synchronise(
                part, generator=generator, probabilities=probabilities[kept], noise_degrees=noise_degrees
            )
            parts.append(Community(rows, found))
            support[c] = supported(graph, rows, found)
        gains = support.amax(dim=0) > support.gather(0, labels[None])[0]
        if not bool(gains.any()):
            break
        labels = torch.where(gains, support.argmax(dim=0), labels)
    return sorted(parts, key=lambda part: -len(part.rows))


def spectral_clusters(graph: PairGraph, weights: Tensor, classes: int, *, generator: torch.Generator) -> Labels:
    """Return the cluster (n,), 0 ... K - 1, of each particle by the K largest eigenvectors of the edges' weights."""
    n = graph.count
    i, j = graph.edges.unbind(dim=1)
    matrix = torch.zeros(n, n, dtype=torch.float64)
    matrix[i, j] = weights.double()
    matrix = matrix + matrix.mT
    total = matrix.sum(dim=1)
    root = (total + total.mean() + _TINY).sqrt()
    vectors = torch.linalg.eigh(matrix / (root[:, None] * root)).eigenvectors[:, -classes:]
    points = torch.nn.functional.normalize(vectors, dim=1).numpy()
    best, least = np.zeros(n, dtype=np.int64), float("inf")
    for _ in range(_TRIES):
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        try:
            centres, label = kmeans2(points, classes, minit="++", rng=rng, missing="raise")
        except ClusterError:  # one without points
            continue
        spread = float(((points - centres[label]) ** 2).sum())
        if spread < least:
            best, least = label.astype(np.int64), spread
    return torch.from_numpy(best)


def labels_and_poses(found: list[Community], count: int) -> tuple[Labels, Poses, Tensor]:
    """Return the class of each of n particles, 0 for the largest, their poses, and whether these hold together."""
    labels, placed = torch.zeros(count, dtype=torch.int64), torch.zeros(count, dtype=torch.bool)
    poses = Poses.identity(count)
    for number, community in enumerate(found):
        rows = community.rows
        labels[rows], placed[rows] = number, community.found.placed
        for column in ("rotations", "shifts", "scores"):
            getattr(poses, column)[rows] = getattr(community.found.poses, column)
    return labels, poses, placed
