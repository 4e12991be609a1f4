"""Which particles are paired, and how their pairs are aligned."""

from __future__ import annotations

import pytest
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gumnet.averaging.pair_graph import pair_graph, random_pairs
from gumnet.errors import InputError
from gumnet.particles import Particles, Poses
from gumnet.types import Volumes, Weights


@pytest.mark.parametrize("count", [20, 150])
def test_each_particle_has_partners_and_no_pair_comes_twice(count: int, generator: torch.Generator) -> None:
    edges = random_pairs(count, 8, generator=generator)
    names = {frozenset(pair) for pair in edges.tolist()}
    assert len(names) == len(edges)
    assert all(len(name) == 2 for name in names)
    # Twice as many as partners, less those that chance drew twice.
    degrees = torch.bincount(edges.flatten(), minlength=count)
    assert int(degrees.max()) <= 16
    assert float(degrees.double().mean()) > (14.5 if count == 150 else 10)
    links = coo_array((torch.ones(len(edges)).numpy(), tuple(edges.numpy().T)), shape=(count, count))
    assert connected_components(links, directed=False)[0] == 1


def test_of_few_particles_all_pairs_are_taken(generator: torch.Generator) -> None:
    assert len(random_pairs(10, 8, generator=generator)) == 45
    with pytest.raises(InputError, match="form no pair"):
        random_pairs(1, 8, generator=generator)


class ByValue:
    """Tells the value of the particle less that of its reference as the shift along x."""

    def __init__(self) -> None:
        self.references = 0

    def align(
        self,
        reference: Volumes,
        particles: Volumes,
        weights_reference: Weights | None,
        weights_particles: Weights | None,
        prior: Poses | None = None,
    ) -> Poses:
        assert weights_reference is not None
        assert weights_particles is not None
        assert len(reference) == 1
        # Each with its own weights.
        assert torch.equal(weights_particles[:, 0, 0, 0], particles[:, 0, 0, 0])
        self.references += 1
        poses = Poses.identity(len(particles))
        poses.shifts[:, 0] = (particles - reference)[:, 0, 0, 0]
        return poses


def test_pairs_are_aligned_in_their_order_and_share_their_references(generator: torch.Generator) -> None:
    values = torch.arange(40.0) + 1
    # A corner is enough to tell them, and no volume may be constant.
    volumes = torch.rand(40, 4, 4, 4, generator=generator)
    volumes[:, 0, 0, 0] = values
    weights = torch.ones(40, 4, 4, 3) * values[:, None, None, None]
    particles = Particles.from_tensors(volumes, voxel_size_angstrom=10.0, weights=weights)
    aligner = ByValue()
    graph = pair_graph(particles, aligner, generator=generator)
    i, j = graph.edges.unbind(dim=1)
    assert torch.equal(graph.poses.shifts[:, 0].float(), values[j] - values[i])
    assert aligner.references == 40
    # In both directions.
    origins, ends, poses = graph.arcs
    assert torch.equal(poses.shifts[:, 0].float(), values[ends] - values[origins])
    used = graph.table >= 0
    assert torch.equal(torch.sort(graph.table[used]).values, torch.arange(len(ends)))
    assert bool((origins[graph.table] == torch.arange(40)[:, None])[used].all())
