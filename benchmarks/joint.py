"""Joint alignment from nothing: how often it finds the structure, how well, and in what time.

    python benchmarks/joint.py --structures A.mrc B.mrc --map-voxel-size 12 --particles 150 --snr 0.1 --seeds 1 2 3
    python benchmarks/joint.py --structures A.mrc --map-voxel-size 12 --particles 500 --snr 0.05
    python benchmarks/joint.py --structures A.mrc B.mrc … --together --particles 500 --classes 5

Boxes of 32 voxels of 12 A, tilts of -60 to 60 degrees, noise half through the CTF and half low-passed, shifts of any
length up to 3 voxels on each axis. Errors are those of `gumnet.evaluation.metrics.set_errors`: the frame of the
average, which nothing tells, is taken off. Of several classes, each is compared with the structure that most of its
particles are of. Two threads unless --threads says otherwise; seconds on the wall, and of all processors.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from common import keep

import gumnet
from gumnet.averaging.fsc import KNOWN_STRUCTURE_THRESHOLD, fsc, resolution_angstrom
from gumnet.benchmark.level import VOXEL_SIZE_ANGSTROM
from gumnet.benchmark.seconds import Seconds
from gumnet.benchmark.structures import Structures
from gumnet.evaluation.metrics import set_errors
from gumnet.evaluation.partition import rightly_classified
from gumnet.geometry.warp import warp

MAX_SHIFT = 3.0


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structures", nargs="+", type=Path, default=[])
    parser.add_argument("--map-voxel-size", type=float, help="of maps that do not say it, in Angstrom")
    parser.add_argument("--particles", type=int, default=150, help="of a set, all structures together")
    parser.add_argument("--snr", type=float, default=0.1)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--together", action="store_true", help="mix the structures instead of one set each")
    parser.add_argument("--classes", type=int, default=1)
    parser.add_argument("--start", default="auto")
    parser.add_argument("--iterations", type=int, default=gumnet.AverageConfig().iterations)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--verbose", action="store_true")
    return parser.parse_args()


def measure(structures: torch.Tensor, names: list[str], seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return what one set gave."""
    config = gumnet.SimulationConfig(
        snr=options.snr,
        seed=seed,
        max_shift=MAX_SHIFT,
        whole_voxel_shifts=False,
        voxel_size_angstrom=VOXEL_SIZE_ANGSTROM,
    )
    made = gumnet.simulate(structures, particles=options.particles, config=config)

    def show(whose: str, step: Any) -> None:
        if options.verbose:
            print(f"    {whose}: {step}", flush=True)

    before = Seconds.now()
    found = gumnet.average(
        made.particles,
        gumnet.AverageConfig(
            seed=seed, max_shift=MAX_SHIFT, iterations=options.iterations, classes=options.classes, start=options.start
        ),
        on_start=show,
        on_iteration=lambda step, *_: print(f"    {step}", flush=True) if options.verbose else None,
    )
    spent = Seconds.now() - before
    classes = []
    for number in range(1, options.classes + 1):
        rows = torch.nonzero(found.particles.classes == number)[:, 0] if options.classes > 1 else slice(None)
        truth_classes = made.truth_classes[rows]
        if len(truth_classes) < 2:
            continue
        most = int(truth_classes.mode().values)
        of_most = truth_classes == most
        errors = set_errors(found.particles.poses[rows][of_most], made.truth[rows][of_most])
        average = found.classes[len(classes)] if found.classes else found
        # The map in the frame of the truth.
        placed = warp(average.map[None], errors.frame.rotations.float(), errors.frame.shifts.float(), oversampling=2)
        curve = fsc(placed[0], structures[most - 1])
        classes.append(
            {
                "structure": names[most - 1],
                "particles": len(truth_classes),
                "rotation": float(errors.frobenius.mean()),
                "rotation_median": float(errors.frobenius.median()),
                "shift": float(errors.shifts.mean()),
                "shift_median": float(errors.shifts.median()),
                "failures": errors.failure_rate,
                "found_again": average.reproduced.share if average.reproduced else None,
                "resolution_halves": average.resolution_angstrom,
                "resolution_truth": resolution_angstrom(curve, VOXEL_SIZE_ANGSTROM, 32, KNOWN_STRUCTURE_THRESHOLD),
            }
        )
    accuracy = None
    if options.classes > 1:
        accuracy = float(rightly_classified(found.particles.classes, made.truth_classes).double().mean())
    return {
        "seed": seed,
        "wall_seconds": spent.wall,
        "cpu_seconds": spent.cpu,
        "accuracy": accuracy,
        "classes": classes,
        "notes": found.notes,
    }


def main() -> None:
    """Run the benchmark."""
    options = parsed()
    torch.set_num_threads(options.threads)
    loaded = Structures.load(options.structures, options.map_voxel_size)
    structures, names = loaded.volumes, list(loaded.names)
    sets = (
        [(structures, names)] if options.together else [(s[None], [n]) for s, n in zip(structures, names, strict=True)]
    )
    cells = []
    print("| structure | seed | rotation | median | shift | failures | halves (A) | truth (A) | wall s | CPU s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for some, their_names in sets:
        for seed in options.seeds:
            cell = measure(some, their_names, seed, options)
            cells.append(cell)
            for c in cell["classes"]:
                print(
                    f"| {c['structure']} ({c['particles']}) | {seed} "
                    f"| {c['rotation']:.3f} | {c['rotation_median']:.3f} | {c['shift']:.2f} | {c['failures']:.1%} "
                    f"| {c['resolution_halves']:.1f} | {c['resolution_truth']:.1f} | "
                    f"{cell['wall_seconds']:.0f} | {cell['cpu_seconds']:.0f} |",
                    flush=True,
                )
            if cell["accuracy"] is not None:
                print(f"  classes right: {cell['accuracy']:.1%}", flush=True)
            for note in cell["notes"]:
                print(f"  {note}", flush=True)
    told = {name: str(value) for name, value in vars(options).items()}
    keep("joint", {"options": {**told, "structures": names}, "cells": cells})


if __name__ == "__main__":
    main()
