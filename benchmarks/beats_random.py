"""How often the true rotation of two noisy volumes has a higher score than 400 random ones.

    python benchmarks/beats_random.py --structures a.mrc b.mrc --map-voxel-size 12 --pairs 160 --seeds 1 2

The measure that a learned score is told by before any search goes round it. Both volumes have a wedge; the true
rotation is put off by up to 5 degrees, as a grid would; each rotation has its best shift. "plain" is the score of
`exhaustive`, "filter" that of volumes that the shipped filter cleaned, "judge" the choice of the judge of `matched`
among the best sixteen. A random rotation may lie near the true one: "within 15" also counts a winner that does.

Boxes of 32 voxels are as simulated; those of 16 the same, cut to half the frequencies before any method sees them.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from common import keep
from torch import Tensor

import gumnet
from gumnet.alignment.confidence import RIGHT_DEGREES
from gumnet.alignment.grid_search import search_near
from gumnet.alignment.matched import as_filter
from gumnet.alignment.score import Comparison
from gumnet.benchmark.intervals import share_interval
from gumnet.benchmark.level import MAX_SHIFT, Level
from gumnet.benchmark.pairs import Pairs
from gumnet.benchmark.structures import Structures
from gumnet.geometry.fourier import resize
from gumnet.geometry.so3 import angular_distance_degrees, random_rotations
from gumnet.model.matched_filter import MatchedFilter, crop_half
from gumnet.training.contrast import random_turns
from gumnet.types import Rotations, Weights

LOOKED_AT = 16
RANDOM = 400
JITTER_DEGREES = 5.0
VIEWS = ((32, 11), (32, 7), (16, 7))
"""Box, and highest shell that is scored."""


def cut(pairs: Pairs, box: int) -> Pairs:
    """Return pairs resampled to a smaller box of the same extent, with their shifts in its voxels."""
    old = pairs.a.shape[-1]
    if box == old:
        return pairs

    def weights(given: Weights | None) -> Weights | None:
        return None if given is None else crop_half(given, box)

    truth = replace(pairs.truth, shifts=pairs.truth.shifts * (box / old))
    small = resize(pairs.a, box), resize(pairs.b, box)
    return Pairs(*small, weights(pairs.weights_a), weights(pairs.weights_b), truth)


def winners(pairs: Pairs, rotations: Rotations, shells: int, cleaner: MatchedFilter | None) -> dict[str, Rotations]:
    """Return for each way to choose which of rotations (n, r, 3, 3) wins, (n, 3, 3)."""
    comparison = Comparison.of(pairs.a, pairs.b, pairs.weights_a, pairs.weights_b, cleaner=cleaner)
    found = search_near(
        comparison,
        rotations,
        shells=shells,
        max_shift=MAX_SHIFT * pairs.a.shape[-1] / 32,
        candidates=LOOKED_AT,
        separation_degrees=0.0,
    )
    chosen = {"filter" if cleaner is not None else "plain": found.rotations[:, 0]}
    if comparison.judging is not None:
        judged, _ = comparison.judging.judged(comparison, found, shells=shells)
        rows = torch.arange(len(judged))
        chosen["judge"] = found.rotations[rows, judged.argmax(dim=1)]
    return chosen


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structures", nargs="+", type=Path, default=[])
    parser.add_argument("--map-voxel-size", type=float, help="of maps that do not say it, in Angstrom")
    parser.add_argument("--pairs", type=int, default=160, help="in a cell, all seeds together")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--snr", nargs="+", type=float, default=[0.2, 0.1])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    structures = Structures.load(options.structures, options.map_voxel_size)
    cleaner = as_filter(None).eval()
    cells = []
    for snr in options.snr:
        level = Level.of(snr, "coloured")
        configs = [level.config(seed, "both") for seed in options.seeds]
        count = options.pairs // len(options.seeds)
        parts = [Pairs.of(gumnet.simulate(structures.volumes, pairs=count, config=config)) for config in configs]
        whole = Pairs.concatenate(parts)
        generator = torch.Generator().manual_seed(options.seeds[0])
        off = random_turns(len(whole), 1, (0.0, JITTER_DEGREES), generator)[:, 0]
        true = off.double() @ whole.truth.rotations
        others = random_rotations(len(whole) * RANDOM, generator=generator).to(true).reshape(-1, RANDOM, 3, 3)
        rotations = torch.cat([true[:, None], others], dim=1)
        for box, shells in VIEWS:
            pairs = cut(whole, box)
            with torch.no_grad():
                chosen = winners(pairs, rotations, shells, None) | winners(pairs, rotations, shells, cleaner)
            for name, rotation in chosen.items():
                won = angular_distance_degrees(rotation.double(), true) < 0.1
                near = angular_distance_degrees(rotation.double(), whole.truth.rotations) <= RIGHT_DEGREES
                cell = {"snr": snr, "box": box, "shells": shells, "score": name}
                cells.append({**cell, "won": share(won), "within_15": share(near), "pairs": len(won)})
                print(cells[-1], flush=True)
    told = {**vars(options), "structures": list(structures.names)}
    keep("beats_random", {"options": told, "cells": cells})


def share(right: Tensor) -> list[float]:
    """Return the share that is right, with the ends of its 95 % interval."""
    interval = share_interval(int(right.sum()), len(right))
    return [interval.mean, interval.low, interval.high]


if __name__ == "__main__":
    main()
