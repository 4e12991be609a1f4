"""Accuracy of classes found by pairwise alignment: two structures, or more, mixed in equal parts.

    python benchmarks/cluster.py --structures 5T2C.mrc 5MPA.mrc --map-voxel-size 12 --particles 40 --levels 1 --sets 1
    python benchmarks/cluster.py --structures 5T2C.mrc 5MPA.mrc --map-voxel-size 12 --particles 200 --sets 5

The experiment of the Gum-Net paper (section 4.3: 100 ribosomes and 100 proteasomes, complete linkage, k = 2) on
simulated particles: boxes of 32 voxels of 12 A, wedges of 60 degrees on all, shifts up to --max-shift voxels. Each
method gives the distances once, and every linkage its classes. Methods:

    exhaustive        the search, with refinement; so do matched and gumnet, with the networks that ship
    ht, fa            the baselines as published, at the spacing of their grids
    ht-refined, ...   the same with our refinement
    poses             at the poses of gumnet.average of the whole mixture, which knows of no classes
    class-poses       at those of gumnet.average with as many classes as structures, each in a frame of its own
    true-poses        at the true poses: what poses can give at best

Accuracy is that of the best assignment of classes to structures, ARI the adjusted Rand index; the 95 % interval takes
each particle of all sets as a draw, and the accuracy of each set is kept beside it. Writes results/cluster-DATE.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from common import LEVELS, keep

import gumnet
from gumnet.benchmark.intervals import mean_interval
from gumnet.benchmark.level import Level
from gumnet.benchmark.seconds import Seconds
from gumnet.benchmark.structures import Structures
from gumnet.clustering.hierarchy import LINKAGES, classes_of, tree_of
from gumnet.errors import InputError
from gumnet.evaluation.partition import adjusted_rand_index, rightly_classified
from gumnet.simulation.dataset import Simulation

REFINED, POSES, CLASS_POSES, TRUE_POSES = "-refined", "poses", "class-poses", "true-poses"
SEARCHES = ("exhaustive", "matched", "gumnet")
METHODS = (*SEARCHES, "ht", "fa", "ht-refined", "fa-refined", POSES, CLASS_POSES, TRUE_POSES)


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structures", nargs="+", type=Path, default=[], help="maps or atoms; phantoms unless given")
    parser.add_argument("--map-voxel-size", type=float, help="of maps that do not say it, in Angstrom")
    parser.add_argument("--methods", nargs="+", default=["exhaustive"], choices=METHODS, metavar="METHOD")
    parser.add_argument("--particles", type=int, default=40, help="of a set, all structures together")
    parser.add_argument("--sets", type=int, default=1, help="independent sets a level")
    names = ", ".join(f"{i} {level.snr:g} {level.noise}" for i, level in enumerate(LEVELS))
    parser.add_argument("--levels", nargs="+", type=int, default=list(range(len(LEVELS))), help=f"of: {names}")
    parser.add_argument("--snr", nargs="+", type=float, default=[], help="coloured noise of these, in place of levels")
    parser.add_argument("--max-shift", type=float, default=2.0, help="of the particles from the centre, in voxels")
    parser.add_argument("--seed", type=int, default=1, help="of the first set")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.sets < 1 or options.particles < 4 or not all(0 <= i < len(LEVELS) for i in options.levels):
        parser.error("give at least one set of four particles, and levels from the list")
    return options


def clustered(method: str, made: Simulation, k: int, device: str) -> tuple[gumnet.Particles, gumnet.ClusterConfig]:
    """Return particles with the poses that a method wants, and its configuration."""
    if method == TRUE_POSES:
        return made.particles.with_poses(made.truth), gumnet.ClusterConfig(k=k, method=POSES, device=device)
    if method in (POSES, CLASS_POSES):
        classes = k if method == CLASS_POSES else 1
        averaged = gumnet.average(made.particles, gumnet.AverageConfig(classes=classes, device=device)).particles
        return averaged, gumnet.ClusterConfig(k=k, method=POSES, device=device)
    refine = method in SEARCHES or method.endswith(REFINED)
    config = gumnet.ClusterConfig(k=k, method=method.removesuffix(REFINED), refine=refine, device=device)
    return made.particles, config


def measure(method: str, sets: Sequence[Simulation], device: str) -> list[dict[str, Any]]:
    """Return the figures of one method, one row a linkage."""
    k = len(sets[0].structures)
    rights: dict[str, list[torch.Tensor]] = {linkage: [] for linkage in LINKAGES}
    rands: dict[str, list[float]] = {linkage: [] for linkage in LINKAGES}
    gaps, before = [], Seconds.now()
    for made in sets:
        particles, config = clustered(method, made, k, device)
        first = gumnet.cluster(particles, config)
        truth = made.truth_classes
        one, other = torch.triu_indices(len(truth), len(truth), 1)
        scores, same = 1 - torch.from_numpy(first.distances).double(), truth[one] == truth[other]
        # How far the scores of both kinds of pairs lie apart, in standard deviations of the scores within one kind.
        within = torch.cat([scores[same] - scores[same].mean(), scores[~same] - scores[~same].mean()]).std()
        gaps.append([float(scores[same].mean()), float(scores[~same].mean()), float(within)])
        for linkage in LINKAGES:
            found = classes_of(tree_of(first.distances, linkage), k)
            rights[linkage].append(rightly_classified(found, truth))
            rands[linkage].append(adjusted_rand_index(found, truth))
    seconds = (Seconds.now() - before) / len(sets)
    rows = []
    for linkage in LINKAGES:
        interval = mean_interval(torch.cat(rights[linkage]))
        rows.append(
            {
                "method": method,
                "linkage": linkage,
                "accuracy": interval.mean,
                "accuracy_95": [interval.low, interval.high],
                "accuracy_of_sets": [float(right.double().mean()) for right in rights[linkage]],
                "adjusted_rand_of_sets": rands[linkage],
                "scores_same_other_spread": gaps,
                "seconds_a_set": asdict(seconds),
            }
        )
    return rows


def table_row(snr: float, noise: str, row: dict[str, Any]) -> str:
    """Return a row of the printed table."""
    low, high = row["accuracy_95"]
    rand = sum(row["adjusted_rand_of_sets"]) / len(row["adjusted_rand_of_sets"])
    same, other, spread = row["scores_same_other_spread"][0]
    return (
        f"{snr:5g} {noise:9} {row['method']:12} {row['linkage']:9} {row['accuracy']:6.1%} ({low:.1%} to {high:.1%})  "
        f"{rand:6.3f}  {same:6.3f} {other:6.3f} {spread:6.3f}  {row['seconds_a_set']['cpu']:7.1f}"
    )


def main() -> None:
    """Run the benchmark."""
    options = parsed()
    torch.set_num_threads(options.threads)
    try:
        loaded = Structures.load(options.structures, options.map_voxel_size)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    structures, names = loaded.volumes, list(loaded.names)
    cells = []
    print("  SNR noise     method       linkage   accuracy (95 %)             ARI    same  other spread  CPU s a set")
    levels = [Level.of(snr, "coloured") for snr in options.snr] or [LEVELS[i] for i in options.levels]
    for level in levels:
        configs = [replace(level.config(options.seed + i), max_shift=options.max_shift) for i in range(options.sets)]
        sets = [gumnet.simulate(structures, particles=options.particles, config=config) for config in configs]
        for method in options.methods:
            for row in measure(method, sets, options.device):
                cells.append({**vars(level), **row})
                print(table_row(level.snr, level.noise, row), flush=True)
    told = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    keep("cluster", {"options": {**told, "structures": names}, "cells": cells})


if __name__ == "__main__":
    main()
