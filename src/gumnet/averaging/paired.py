"""A start from pairs: particles aligned with a few others each, and what these pairs agree on."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from gumnet.alignment.aligner import AlignerOptions, make_aligner
from gumnet.alignment.auto import PAIRS, chosen
from gumnet.alignment.batch import batching_for
from gumnet.averaging.checkpoint import Checkpoint, tensors_of
from gumnet.averaging.communities import communities, labels_and_poses
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.pair_graph import PARTNERS, PairGraph, pair_graph
from gumnet.averaging.start import Begun
from gumnet.devices import resolve_device
from gumnet.particles import Particles, Poses

MOST = 150
"""Particles of a graph, a class. Of more, so many are drawn: a first map asks for no more, and cycles of five edges, by
which right pairs are told, grow rare in larger graphs of the same degree."""
_LEAST_SHIFT = 1 / 4
"""Least limit of the shifts within pairs, in boxes."""


def begun_from_pairs(
    particles: Particles,
    config: AverageConfig,
    classes: int,
    whose: str,
    *,
    generator: torch.Generator,
    kept: Checkpoint,
) -> tuple[Begun | None, tuple[str, ...]]:
    """Return the poses that a graph of pairs gives, None if its pairs agree on nothing, and notes on how many agree.

    Particles that are not in the graph, or that do not hold together with most, are not used for the first maps.
    """
    n = len(particles)
    rows = torch.randperm(n, generator=generator)[: MOST * classes].sort().values
    before = kept.find("pairs")
    if before is not None:
        generator.set_state(before.tensors["generator"])
        graph = PairGraph(len(rows), before.tensors["edges"], before.poses("poses "))
    else:
        graph = _aligned(particles.select(rows), config, generator)
        tensors = {"edges": graph.edges, "generator": generator.get_state(), **tensors_of(graph.poses, "poses ")}
        kept.keep("pairs", tensors, {})
    found = communities(graph, classes, generator=generator)
    labels, poses, placed = labels_and_poses(found, len(rows))
    agreeing = sum(int(part.found.agrees.sum()) for part in found) / len(graph)
    particles_placed = f"{int(placed.sum())} of {len(rows)} particles"
    note = f"Pairs, {whose}: {agreeing:.0%} of {len(graph)} agree on the poses of {particles_placed}"
    if len(found) < classes or not all(part.found.consensus for part in found):
        return None, (f"{note}, too few to start from: random starts took their place.",)
    everyone = Poses.identity(n)
    for column in ("rotations", "shifts", "scores"):
        getattr(everyone, column)[rows] = getattr(poses, column)
    of_all, used = torch.zeros(n, dtype=torch.int64), torch.zeros(n, dtype=torch.bool)
    of_all[rows], used[rows] = labels, placed
    return Begun(everyone, of_all, used), (f"{note}.",)


def _aligned(particles: Particles, config: AverageConfig, generator: torch.Generator) -> PairGraph:
    """Return the graph of pairs of particles, aligned by the method of the configuration."""
    device, box = resolve_device(config.device), particles.box
    # Both particles are shifted, the first along any direction of the second.
    apart = None
    if config.max_shift is not None:
        apart = min(config.max_shift * (1 + math.sqrt(3)), max(config.max_shift, _LEAST_SHIFT * box))
    # Not refined: that takes longer, and the first band forgives the few degrees more of a right pair that was not.
    options = AlignerOptions(refine=False, max_shift=apart, model=config.model)
    batching = batching_for(
        options, box, device, shared_reference=True, wanted=config.batch_size, memory_gigabytes=config.memory_gigabytes
    )
    size, options = batching.size, replace(options, at_once=batching.at_once)
    aligner = make_aligner(chosen(config.method, PAIRS, config.model), options, device)
    return pair_graph(particles, aligner, generator=generator, device=device, batch_size=max(1, min(size, PARTNERS)))
