"""What an average takes in memory, beside what aligning its particles takes."""

from __future__ import annotations

import math

import torch

from gumnet.alignment.batch import Shares, batching_for, peak_bytes, shares_of, table_bytes
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.first_search import KEPT_BYTES_OF_ONE, MOST_FOR_ONE
from gumnet.averaging.folds import FOLDS, MOST_FOLDED
from gumnet.averaging.insertion import InsertionGrid
from gumnet.averaging.shared_sums import PARTICLES_A_PART
from gumnet.particles import Particles, is_cheap

_NUMBER_BYTES = 8
_OTHER_SUMS = 6
"""Sums that are there beside those of the tree: of the two halves, of a part that is made and one that arrives, and the
two that the map is solved from."""


def sums_bytes(box: int, particles: int) -> float:
    """Return what the sums of an average take: one a level of the tree that they are added up in, folds, and more."""
    parts = max(1, math.ceil(particles / 2 / PARTICLES_A_PART))
    folds = FOLDS if particles / 2 <= MOST_FOLDED else 0
    count = math.ceil(math.log2(parts)) + 1 + _OTHER_SUMS + folds
    return 3 * _NUMBER_BYTES * math.prod(InsertionGrid(box).shape) * count


def first_maps_bytes(config: AverageConfig, particles: int) -> float:
    """Return what is kept of particles while first maps are made of them."""
    if not config.iterations or config.initial is not None or config.start == "blob":
        return 0.0
    # Of two halves side by side.
    return float(KEPT_BYTES_OF_ONE * (min(particles, 2 * MOST_FOR_ONE) if config.classes == 1 else particles))


def average_shares(
    config: AverageConfig, particles: Particles, *, workers: int, device: torch.device, keeps: bool = True
) -> Shares:
    """Return how the memory of an average is shared out; particles are kept where one process does everything.

    Raises
    ------
    InputError
        If there is too little.
    """
    options = config.alignment(2 * particles.voxel_size_angstrom, symmetry="C1").options(particles.voxel_size_angstrom)
    return shares_of(
        config.memory_gigabytes,
        options,
        particles.box,
        device,
        particles=len(particles),
        workers=workers,
        keepers=1 if keeps and workers == 1 and config.iterations else 0,
        besides=sums_bytes(particles.box, len(particles)),
        before=first_maps_bytes(config, len(particles)),
    )


def average_bytes(particles: Particles, memory_gigabytes: float | None, device: torch.device) -> float:
    """Return the peak of ``gumnet average`` from first maps in one process on a CPU, in bytes, or that beside a GPU."""
    config, box, count = AverageConfig(memory_gigabytes=memory_gigabytes), particles.box, len(particles)
    options = config.alignment(2 * particles.voxel_size_angstrom, symmetry="C1").options(particles.voxel_size_angstrom)
    shares = average_shares(config, particles, workers=1, device=device)
    cpu = torch.device("cpu")
    limit = shares.alignment_gigabytes if device.type == "cpu" else None
    batching = batching_for(options, box, cpu, shared_reference=True, memory_gigabytes=limit, particles=count)
    aligning = peak_bytes(options, box, batching if device.type == "cpu" else None, shared_reference=True)
    beginning = peak_bytes(options, box, None, shared_reference=True) + first_maps_bytes(config, count)
    each = 4.0 * box**3 * (0 if is_cheap(particles.volumes) else 1)
    if particles.weights is not None and not is_cheap(particles.weights):
        each += 4.0 * box**2 * (box // 2 + 1)
    kept = min(shares.kept_gigabytes * 1e9, count * each)
    return table_bytes(count) + sums_bytes(box, count) + kept + max(aligning, beginning)
