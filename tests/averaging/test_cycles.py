"""Cycles of a graph of pairs, and what they say of its edges."""

from __future__ import annotations

from itertools import combinations, permutations

import torch

from gumnet.averaging.cycles import edge_probabilities, find_cycles
from gumnet.averaging.pair_graph import PairGraph
from gumnet.particles import Poses
from tests.oracles.pair_graphs import known_graph


def test_the_cycles_of_a_complete_graph_are_counted() -> None:
    edges = torch.combinations(torch.arange(6), 2)
    cycles = find_cycles(PairGraph(6, edges, Poses.identity(len(edges))))
    # Choose L particles of 6, and one of their (L - 1)! / 2 orders around.
    assert [len(c.edges) for c in cycles] == [20 * 1, 15 * 3, 6 * 12]
    for c in cycles:
        assert len({tuple(sorted(members)) for members in c.edges.tolist()}) == len(c.edges)
        assert float(c.angles_degrees.max()) < 0.1


def test_cycles_are_those_that_a_search_finds(generator: torch.Generator) -> None:
    graph, _, _ = known_graph(12, 1.0, generator=generator)
    some = torch.randperm(len(graph), generator=generator)[:30]
    graph = PairGraph(12, graph.edges[some], graph.poses[some])
    name = {frozenset(pair): e for e, pair in enumerate(graph.edges.tolist())}
    for length, found in zip((3, 4, 5), find_cycles(graph), strict=True):
        expected = set()
        for chosen in combinations(range(12), length):
            for rest in permutations(chosen[1:]):
                around = [frozenset(p) for p in zip((chosen[0], *rest), (*rest, chosen[0]), strict=True)]
                if all(pair in name for pair in around):
                    expected.add(tuple(sorted(name[pair] for pair in around)))
        assert {tuple(sorted(members)) for members in found.edges.tolist()} == expected
        assert len(found.edges) == len(expected)
        # Right edges without noise close.
        assert not len(expected) or float(found.angles_degrees.max()) < 0.1


def test_cycles_tell_right_edges_from_wrong_ones(generator: torch.Generator) -> None:
    graph, _, right = known_graph(150, 0.35, degrees=5.0, generator=generator)
    probabilities = edge_probabilities(graph, find_cycles(graph))
    assert float(probabilities[right].mean()) > 0.8
    assert float(probabilities[~right].mean()) < 0.1
