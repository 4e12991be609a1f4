"""Which edges of a graph of pair alignments are right, told by its cycles.

Around a cycle of right edges rotations multiply to the identity, up to their errors; with a wrong edge they come out as
anything. So each cycle of three, four or five edges speaks for its edges or against them, and how much it says hangs on
how sure its other edges are. The edges' probabilities follow from all cycles by message passing (belief propagation on
the graph of edges and cycles; with triangles, and weights in place of likelihoods, that is the cycle-edge message
passing of Lerman and Shi, Found. Comput. Math. 22, 1665, 2022). A wrong edge closes a cycle of five by chance in about
one of a thousand cases, so that even where one edge of four is right, most right ones are told from wrong ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.averaging.pair_graph import PairGraph
from gumnet.geometry.so3 import angular_distance_degrees

LONGEST = 5
NOISE_DEGREES = 8.0
"""Error of a right edge, root mean square."""
_PRIOR = 0.25
"""Probability of an edge of which the method says nothing."""
_SUREST = 0.95
_LEAST_SURE = 0.02
_ROUNDS = 12
_DAMPING = 0.5


@dataclass(frozen=True)
class Cycles:
    """Cycles of the same length L of a graph, each once.

    Parameters
    ----------
    edges
        Their edges, (c, L).
    angles_degrees
        Angle of the product of the rotations around each, (c,).
    """

    edges: Tensor
    angles_degrees: Tensor


def find_cycles(graph: PairGraph, longest: int = LONGEST) -> list[Cycles]:
    """Return the cycles of 3, 4 and 5 edges of a graph of small degree: all of them, by two paths that meet."""
    m = len(graph)
    _, to, poses = graph.arcs
    rotations = poses.rotations.float()
    one = graph.table[..., None]
    ends = torch.where(graph.table >= 0, to[graph.table.clamp_min(0)], -1)
    two, middles, two_ends = _two_steps(graph)
    found = []
    i, j = graph.edges.unbind(dim=1)
    for length in range(3, longest + 1):
        forth, forth_ends = (one[i], ends[i]) if length == 3 else (two[i], two_ends[i])
        back, back_ends = (two[j], two_ends[j]) if length == 5 else (one[j], ends[j])
        # Each cycle from its first edge only.
        later = torch.arange(m)[:, None, None]
        forth_ends = torch.where((forth % m > later).all(dim=2) & (forth >= 0).all(dim=2), forth_ends, -1)
        back_ends = torch.where((back % m > later).all(dim=2) & (back >= 0).all(dim=2), back_ends, -2)
        e, a, b = _equal(forth_ends, back_ends)
        # And through no particle twice.
        visited = [i[e], j[e], forth_ends[e, a]]
        visited += [middles[i[e], a]] if length > 3 else []
        visited += [middles[j[e], b]] if length > 4 else []
        stack = torch.stack(visited, dim=1).sort(dim=1).values
        simple = (stack[:, 1:] != stack[:, :-1]).all(dim=1)
        e, a, b = e[simple], a[simple], b[simple]
        forward, backward = _product(rotations, forth[e, a]), _product(rotations, back[e, b])
        # i -> meeting point by one path, and i -> j -> meeting point by the edge and the other.
        angles = angular_distance_degrees(forward, backward @ rotations[e])
        found.append(Cycles(torch.cat([e[:, None], forth[e, a] % m, back[e, b] % m], dim=1), angles))
    return found


def edge_probabilities(graph: PairGraph, cycles: list[Cycles], *, noise_degrees: float = NOISE_DEGREES) -> Tensor:
    """Return the probability (m,) that each edge is right, from its confidence and from the cycles.

    Parameters
    ----------
    noise_degrees
        Error of a right edge, root mean square.
    """
    prior = torch.logit(prior_probabilities(graph))
    gains = [_chance_ratio(c.angles_degrees, noise_degrees * math.sqrt(c.edges.shape[1])) - 1 for c in cycles]
    said = [torch.zeros(c.edges.shape) for c in cycles]
    for _ in range(_ROUNDS):
        total = _total(prior, cycles, said)
        for c, gain, words in zip(cycles, gains, said, strict=True):
            # What an edge knows without this cycle.
            known = torch.sigmoid(total[c.edges] - words)
            others = torch.exp(known.clamp_min(1e-9).log().sum(dim=1, keepdim=True) - known.clamp_min(1e-9).log())
            words.mul_(1 - _DAMPING).add_(_DAMPING * torch.log1p(others * gain[:, None]))
    return torch.sigmoid(_total(prior, cycles, said))


def prior_probabilities(graph: PairGraph) -> Tensor:
    """Return the confidences (m,) of the method, kept from 0 and 1."""
    confidences = graph.poses.confidences
    if confidences is None:
        return torch.full((len(graph),), _PRIOR)
    return torch.nan_to_num(confidences.float(), nan=_PRIOR).clamp(_LEAST_SURE, _SUREST)


def _total(prior: Tensor, cycles: list[Cycles], said: list[Tensor]) -> Tensor:
    total = prior.clone()
    for c, words in zip(cycles, said, strict=True):
        total.index_add_(0, c.edges.flatten(), words.flatten())
    return total


def _chance_ratio(angles_degrees: Tensor, spread_degrees: float) -> Tensor:
    """Return how much likelier angles of rotations are under a normal spread than under chance.

    Of a normal distribution of total variance ``spread^2``, a third of it about each axis; chance is uniform over
    SO(3), whose volume is 8 pi^2 in units of the rotation angle.
    The least is kept from 0 by outliers among right edges.
    """
    sigma = math.radians(spread_degrees) / math.sqrt(3)
    peak: float = 8 * math.pi**2 / ((2 * math.pi) ** 1.5 * sigma**3)
    return (peak * torch.exp(-0.5 * (torch.deg2rad(angles_degrees) / sigma) ** 2)).clamp_min(0.05)


def _two_steps(graph: PairGraph) -> tuple[Tensor, Tensor, Tensor]:
    """Return paths of two arcs from each particle: arcs (n, D^2, 2), and their middles and ends (n, D^2), or -1."""
    _, to, _ = graph.arcs
    n, degree = graph.table.shape
    first = graph.table[:, :, None].expand(n, degree, degree)
    middle = to[first.clamp_min(0)]
    second = torch.where(first >= 0, graph.table[middle[:, :, 0]], -1)
    arcs = torch.stack([first, second], dim=-1).reshape(n, -1, 2)
    return arcs, middle.reshape(n, -1), to[second.clamp_min(0)].reshape(n, -1)


def _equal(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return all (row, a, b) with ``first[row, a] == second[row, b]``; shapes (m, A) and (m, B)."""
    ordered, place = second.sort(dim=1, stable=True)
    begin, end = torch.searchsorted(ordered, first), torch.searchsorted(ordered, first, right=True)
    counts = (end - begin).flatten()
    which = torch.repeat_interleave(torch.arange(len(counts)), counts)
    nth = torch.arange(len(which)) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    row, a = which // first.shape[1], which % first.shape[1]
    return row, a, place[row, begin[row, a] + nth]


def _product(rotations: Tensor, arcs: Tensor) -> Tensor:
    """Return the rotation (c, 3, 3) of paths of one or two arcs (c, 1 or 2)."""
    first = rotations[arcs[:, 0]]
    return first if arcs.shape[1] == 1 else rotations[arcs[:, 1]] @ first
