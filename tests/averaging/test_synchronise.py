"""Poses from pairs: exact where pairs are, robust where most are wrong, and silent where all are."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gumnet.averaging.pair_graph import PairGraph
from gumnet.averaging.synchronise import spectral, synchronise
from gumnet.evaluation.metrics import set_errors
from gumnet.geometry.so3 import angular_distance_degrees, random_rotations
from gumnet.particles import Poses
from tests.oracles.pair_graphs import known_graph


def errors_degrees(found: Poses, true: Poses) -> torch.Tensor:
    frame = set_errors(found, true).frame
    return angular_distance_degrees(found.compose(frame).rotations, true.rotations)


def test_right_edges_without_noise_give_the_poses_exactly(generator: torch.Generator) -> None:
    graph, true, _ = known_graph(60, 1.0, generator=generator)
    # All weights equal, the eigenvectors alone do.
    alone = Poses.of(spectral(graph, torch.ones(len(graph))), true.shifts)
    assert float(errors_degrees(alone, true).max()) < 1e-4
    found = synchronise(graph, generator=generator)
    errors = set_errors(found.poses, true)
    assert float(errors_degrees(found.poses, true).max()) < 1e-4
    assert float(errors.shifts.max()) < 1e-5
    assert found.share == 1.0
    assert found.consensus
    assert bool(found.placed.all())


@pytest.mark.parametrize(("share", "found_share"), [(0.25, 0.5), (0.35, 0.93), (0.5, 0.99)])
def test_few_right_edges_carry_the_poses(share: float, found_share: float, generator: torch.Generator) -> None:
    graph, true, right = known_graph(150, share, degrees=5.0, voxels=0.5, generator=generator)
    found = synchronise(graph, generator=generator)
    errors = errors_degrees(found.poses, true)
    assert found.consensus
    assert float((errors < 15).double().mean()) > found_share
    # Each is the mean of four to eight edges of 5 degrees.
    assert float(errors[found.placed].median()) < 5.0
    # Edges that agree among particles that hold together are right; elsewhere poses are chosen to please wrong ones.
    inside = found.agrees & found.placed[graph.edges].all(dim=1)
    assert float(right[inside].double().mean()) > 0.8
    assert float((errors[found.placed] < 20).double().mean()) > 0.9
    # Right edges of particles that found no place are missing.
    assert 0.75 * share < found.share < share + 0.05


@pytest.mark.parametrize("count", [75, 150])
def test_random_edges_are_no_consensus(count: int, generator: torch.Generator) -> None:
    graph, _, _ = known_graph(count, 0.0, generator=generator)
    found = synchronise(graph, generator=generator)
    assert not found.consensus
    # A tree of edges can always be pleased, little more.
    assert found.share < 0.2


def test_frames_of_particles_do_not_matter(generator: torch.Generator) -> None:
    """Particles turned in their boxes, T_i, give poses turned alike: R_i becomes T_i R_i, up to the frame of all."""
    graph, _, _ = known_graph(60, 0.5, degrees=5.0, generator=generator)
    turns = random_rotations(60, generator=generator)
    i, j = graph.edges.unbind(dim=1)
    poses = replace(
        graph.poses,
        rotations=turns[j] @ graph.poses.rotations @ turns[i].mT,
        shifts=(turns[j] @ graph.poses.shifts[..., None])[..., 0],
    )
    first = synchronise(graph, generator=torch.Generator().manual_seed(1))
    second = synchronise(PairGraph(60, graph.edges, poses), generator=torch.Generator().manual_seed(1))
    turned = replace(first.poses, rotations=turns @ first.poses.rotations)
    placed = first.placed & second.placed
    assert float(placed.double().mean()) > 0.9
    assert float(errors_degrees(second.poses[placed], turned[placed]).max()) < 0.1
    assert torch.equal(first.agrees, second.agrees)
