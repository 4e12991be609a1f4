"""Poses of all particles from poses of pairs of them, many of which are wrong.

Rotations begin with the spectral relaxation (Singer, Appl. Comput. Harmon. Anal. 30, 20, 2011; Arie-Nachimson et al.,
3DIMPVT 2012): the three largest eigenvectors of the matrix of all R_ij, weighted by the probability that they are
right (`gumnet.averaging.cycles`). They go on by a redescending mean whose scale narrows: each particle takes the
rotation that most of what its neighbours propose agrees on. Shifts then follow from linear equations, with the same
kind of weights.

The frame that all poses share is free: any rotation, and the shift that makes the particles' own shifts smallest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import roma
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from gumnet.averaging.cycles import NOISE_DEGREES, edge_probabilities, find_cycles, prior_probabilities
from gumnet.averaging.pair_graph import PairGraph
from gumnet.geometry.so3 import angular_distance_degrees
from gumnet.particles import Poses
from gumnet.types import Rotations, Vectors

AGREES_DEGREES = 20.0
"""Pair rotations count as right within this angle of the particles' own."""
AGREES_VOXELS = 2.0
_WIDEST_DEGREES = 40.0
_SWEEPS = 24
_REGROWTHS = 2
_LEAST_TRUST = 0.02
_REWEIGHTS = 20
_TINY = 1e-9
EDGES_A_PARTICLE = 1.35
"""From so many agreeing edges a particle on, among particles with two or more, they are a consensus: of random edges
the best poses leave 1.2 or fewer (by hand, 2026-11-26), more than the 1 of a single cycle because poses are chosen to
please."""


@dataclass(frozen=True)
class Synchronised:
    """Poses of n particles in one frame.

    Parameters
    ----------
    poses
        ``x_i = R_i x + t_i``; the scores are the share of each particle's edges that agree.
    agrees
        Whether each edge is right by the poses, (m,).
    placed
        Particles whose poses hold together: the largest set of particles with two or more agreeing edges among them.
    edges_a_particle
        Agreeing edges within that set, over its particles.
    """

    poses: Poses
    agrees: Tensor
    placed: Tensor
    edges_a_particle: float

    @property
    def share(self) -> float:
        """Share of the edges that agree."""
        return float(self.agrees.double().mean())

    @property
    def consensus(self) -> bool:
        """Whether the poses are more than what random edges give: most particles are placed, by enough edges."""
        return self.edges_a_particle >= EDGES_A_PARTICLE and float(self.placed.double().mean()) > 0.5


def synchronise(
    graph: PairGraph,
    *,
    generator: torch.Generator,
    probabilities: Tensor | None = None,
    noise_degrees: float = NOISE_DEGREES,
) -> Synchronised:
    """Return the poses of n particles that most edges agree with; see the module.

    Parameters
    ----------
    probabilities
        Of each edge, that it is right, (m,); from confidences and cycles unless given.
    generator
        Draws the order in which particles are moved.
    noise_degrees
        Error of a right edge, root mean square.
    """
    if probabilities is None:
        probabilities = edge_probabilities(graph, find_cycles(graph), noise_degrees=noise_degrees)
    rotations = spectral(graph, probabilities)
    rotations = _moved(graph, probabilities, rotations, noise_degrees, _WIDEST_DEGREES, generator)
    weights = prior_probabilities(graph)
    for _ in range(_REGROWTHS):
        # Those that hold together tell the others their poses, also by edges that no cycle spoke for.
        turned = _turned_wrong(graph, rotations) <= AGREES_DEGREES
        trusted = _held_together(graph, turned).double().clamp_min(_LEAST_TRUST)
        rotations = _moved(graph, weights, rotations, noise_degrees, 2 * noise_degrees, generator, trusted)
    turned = _turned_wrong(graph, rotations) <= AGREES_DEGREES
    shifts = _shifts(graph, rotations, turned.double() + _TINY)
    agrees = turned & (_shifted_wrong(graph, rotations, shifts) <= AGREES_VOXELS)
    placed = _held_together(graph, agrees)
    inside = int((agrees & placed[graph.edges].all(dim=1)).sum())
    support = _per_particle(graph, agrees.double()) / _per_particle(graph, torch.ones(len(graph))).clamp_min(1)
    return Synchronised(Poses(rotations, shifts, support), agrees, placed, inside / max(1, int(placed.sum())))


def supported(graph: PairGraph, rows: Tensor, found: Synchronised) -> Tensor:
    """Return for each of n particles how many edges to placed particles agree in any one rotation, (n,).

    Parameters
    ----------
    graph
        Of all n particles.
    rows
        Those that were synchronised, (c,).
    found
        What that gave.
    """
    rotations = torch.zeros(graph.count, 3, 3, dtype=torch.float64)
    rotations[rows] = found.poses.rotations
    placed = torch.zeros(graph.count, dtype=torch.bool)
    placed[rows] = found.placed
    _, to, poses = graph.arcs
    table = graph.table.clamp_min(0)
    proposed = poses.rotations.mT[table] @ rotations[to[table]]
    counts = (placed[to[table]] & (graph.table >= 0)).double()
    alike = (_kernel(proposed, proposed, AGREES_DEGREES) > math.exp(-0.5)).double()
    return ((alike @ counts[..., None])[..., 0] * counts).amax(dim=1)


def spectral(graph: PairGraph, weights: Tensor) -> Rotations:
    """Return rotations (n, 3, 3) from the three largest eigenvectors of the weighted matrix of all R_ij.

    Rows are divided by the root of the particle's weight and the mean weight together: without the latter a few
    particles that hold together by chance, and to no other, would take an eigenvector for themselves.
    """
    n = graph.count
    weights = weights.double()
    total = _per_particle(graph, weights)
    root = (total + total.mean() + _TINY).sqrt()
    i, j = graph.edges.unbind(dim=1)
    blocks = graph.poses.rotations * (weights / (root[i] * root[j]))[:, None, None]
    matrix = torch.zeros(n, n, 3, 3, dtype=torch.float64)
    matrix[j, i] = blocks
    matrix[i, j] = blocks.mT
    vectors = torch.linalg.eigh(matrix.permute(0, 2, 1, 3).reshape(3 * n, 3 * n)).eigenvectors[:, -3:]
    found = vectors.reshape(n, 3, 3)
    if float((torch.linalg.det(found) * total).sum()) < 0:
        found = found * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    rotations: Rotations = roma.special_procrustes(found)
    return rotations


def _moved(
    graph: PairGraph,
    weights: Tensor,
    rotations: Rotations,
    noise_degrees: float,
    widest_degrees: float,
    generator: torch.Generator,
    support: Tensor | None = None,
) -> Rotations:
    """Return rotations, each moved again and again to where most of what its neighbours propose lies.

    Parameters
    ----------
    weights
        Of the edges, (m,).
    widest_degrees
        Scale within which proposals count as alike at the beginning; ``noise_degrees`` from the middle on.
    support
        How far each particle's pose is to be trusted at the beginning, (n,).
    """
    _, to, poses = graph.arcs
    table = graph.table
    neighbours = to[table.clamp_min(0)]
    # Arc i -> k says R_k = R_ik R_i, so R_i = R_ik^T R_k.
    back = poses.rotations.mT[table.clamp_min(0)]
    edge = weights.double().repeat(2)[table.clamp_min(0)] * (table >= 0)
    support = torch.ones(graph.count, dtype=torch.float64) if support is None else support
    for sweep in range(_SWEEPS):
        scale = widest_degrees * (noise_degrees / widest_degrees) ** min(1.0, 2 * sweep / (_SWEEPS - 1))
        proposed = back @ rotations[neighbours]
        votes = edge * support[neighbours] + _TINY * (table >= 0)
        alike = _kernel(proposed, proposed, scale)
        # What all neighbours think of what each of them proposes.
        best = (alike * votes[:, None]).sum(dim=2).masked_fill(table < 0, -1).argmax(dim=1)
        chosen = proposed[torch.arange(graph.count), best]
        for _ in range(2):
            near = votes * _kernel(proposed, chosen[:, None], scale)[..., 0]
            chosen = roma.special_procrustes((proposed * near[..., None, None]).sum(dim=1))
        # Half of them at a time: two that swapped places would swap for ever.
        moves = torch.rand(graph.count, generator=generator) < (0.5 if sweep < _SWEEPS - 1 else 1.0)
        rotations = torch.where(moves[:, None, None], chosen, rotations)
        near = edge * _kernel(proposed, rotations[:, None], scale)[..., 0]
        support = (near.sum(dim=1) / edge.sum(dim=1).clamp_min(_TINY)).clamp(_LEAST_TRUST, 1.0)
    return rotations


def _shifts(graph: PairGraph, rotations: Rotations, weights: Tensor) -> Vectors:
    """Return shifts (n, 3) from ``t_j - R_ij t_i = t_ij``, by least squares that let go of what does not fit.

    With u = R^T t this is ``u_j - u_i = R_j^T t_ij``, one equation for each component.
    """
    i, j = graph.edges.unbind(dim=1)
    wanted = (rotations[j].mT @ graph.poses.shifts[..., None])[..., 0]
    each = weights
    for _ in range(_REWEIGHTS):
        matrix = torch.zeros(graph.count, graph.count, dtype=torch.float64)
        matrix.index_put_((i, j), -each, accumulate=True)
        matrix = matrix + matrix.mT
        # What no edge says: the mean stays at 0, as that of particles that were picked.
        matrix = matrix + torch.diag_embed(-matrix.sum(dim=1) + _TINY)
        right = torch.zeros(graph.count, 3, dtype=torch.float64)
        right.index_add_(0, j, each[:, None] * wanted).index_add_(0, i, -each[:, None] * wanted)
        inner: Vectors = torch.linalg.solve(matrix, right)
        wrong = torch.linalg.vector_norm(inner[j] - inner[i] - wanted, dim=1)
        # Geman and McClure's loss.
        each = weights / (1 + (wrong / AGREES_VOXELS) ** 2) ** 2
    return (rotations @ inner[..., None])[..., 0]


def _turned_wrong(graph: PairGraph, rotations: Rotations) -> Tensor:
    i, j = graph.edges.unbind(dim=1)
    return angular_distance_degrees(rotations[j], graph.poses.rotations @ rotations[i])


def _shifted_wrong(graph: PairGraph, rotations: Rotations, shifts: Vectors) -> Tensor:
    i, j = graph.edges.unbind(dim=1)
    poses = Poses.of(rotations, shifts)
    expected = poses[j].compose(poses[i].inverse()).shifts
    wrong: Tensor = torch.linalg.vector_norm(expected - graph.poses.shifts, dim=1)
    return wrong


def _held_together(graph: PairGraph, agrees: Tensor) -> Tensor:
    """Return the largest connected set (n,), boolean, of particles that each have two or more agreeing edges in it."""
    placed = torch.ones(graph.count, dtype=torch.bool)
    while True:
        inside = agrees & placed[graph.edges].all(dim=1)
        fewer = placed & (_per_particle(graph, inside.double()) >= 2)
        if bool((fewer == placed).all()):
            break
        placed = fewer
    i, j = graph.edges[inside].numpy().T
    _, label = connected_components(coo_array((np.ones(len(i)), (i, j)), shape=(graph.count, graph.count)), False)
    labels = torch.from_numpy(label.astype(np.int64)).masked_fill(~placed, -1)
    if not bool(placed.any()):
        return placed
    return labels == labels[placed].mode().values


def _per_particle(graph: PairGraph, of_edges: Tensor) -> Tensor:
    """Return the sums (n,) of something over each particle's edges."""
    sums = torch.zeros(graph.count, dtype=torch.float64)
    return sums.index_add_(0, graph.edges.flatten(), of_edges.double().repeat_interleave(2))


def _kernel(first: Rotations, second: Rotations, scale_degrees: float) -> Tensor:
    """Return ``exp(-chord^2 / 4 scale^2)`` (n, a, b) of rotations (n, a, 3, 3) and (n, b, 3, 3): normal in angle."""
    chord = 6 - 2 * first.flatten(2) @ second.flatten(2).mT
    return torch.exp(-chord / (4 * math.radians(scale_degrees) ** 2))
