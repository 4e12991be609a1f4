"""Time and memory of a search against the size of the box: the same particle in ever finer voxels.

    python benchmarks/box_size.py
    python benchmarks/box_size.py --boxes 32 96 --pairs 4 --low-pass 24

Prints a table and writes results/box_size-DATE.json. For every box it measures pairs, and particles against one
reference, each in a process of its own, whose peak memory is that of this work and of what it reads: below it, the
memory of the same process before it aligns anything. Volumes are of a phantom with white noise, without CTF, of SNR 1
in the band of the smallest box; so finer voxels bring coefficients, and no information worth the name.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from common import keep
from methods import OURS, Setting, align_pairs, align_to_reference
from peers.cache import Cache

import gumnet
from gumnet.benchmark.pairs import Pairs
from gumnet.benchmark.seconds import Seconds
from gumnet.evaluation.metrics import pair_errors
from gumnet.simulation.phantom import phantoms

EXTENT_ANGSTROM = 384.0
"""Side of every box: 32 voxels of 12 A."""
SHIFT = 0.2
"""Largest shift, in boxes."""
HEAD = " box  voxel  what        n  s each   (cpu)  s once   (cpu)   peak MiB  before  degrees  shift (A)"


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", nargs="+", type=int, default=[32, 48, 64, 96])
    parser.add_argument("--method", default="exhaustive", choices=OURS)
    parser.add_argument("--model", type=Path, help="weights, for the methods that need them")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--particles", type=int, default=64, help="of the shared reference")
    parser.add_argument("--low-pass", type=float, help="finest resolution, in Angstrom; all that the voxels hold")
    parser.add_argument("--memory", type=float, help="limit given to the search, in gigabytes; its own unless given")
    parser.add_argument("--snr", type=float, default=1.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def simulated(box: int, options: argparse.Namespace, *, pairs: bool) -> gumnet.Simulation:
    """Return pairs, or particles of one structure, in a box of so many voxels."""
    voxel_size = EXTENT_ANGSTROM / box
    config = gumnet.SimulationConfig(
        # The noise spreads over all coefficients: with this, that of the low shells is the same in every box.
        snr=options.snr * (min(options.boxes) / box) ** 3,
        box=box,
        voxel_size_angstrom=voxel_size,
        max_shift=SHIFT * box,
        noise="white",
        ctf=False,
        whole_voxel_shifts=False,
        seed=1,
    )
    structures = phantoms(1, box, voxel_size)
    if pairs:
        return gumnet.simulate(structures, pairs=options.pairs, config=config)
    return gumnet.simulate(structures, particles=options.particles, config=config)


def peak_mebibytes() -> float:
    """Return the most memory that this program ever held."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: on Linux it remembers the program that this process was before it became this one.
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="utf-8"))
        assert found is not None
        return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def in_child(options: argparse.Namespace, what: str, path: Path, box: int) -> dict[str, Any]:
    """Measure what another process simulated, so that its memory is not counted here."""
    torch.set_num_threads(options.threads)
    given = torch.load(path, weights_only=True, mmap=True)
    setting = Setting(
        SHIFT * box,
        EXTENT_ANGSTROM / box,
        low_pass=options.low_pass,
        device=options.device,
        model=options.model,
        memory_gigabytes=options.memory,
    )
    truth = gumnet.Poses.of(given["rotations"], given["shifts"])
    before = peak_mebibytes()
    once = Seconds(0.0, 0.0)
    if what == "pairs":
        pairs = Pairs(given["a"], given["b"], None, given["weights"], truth)
        poses, each = align_pairs(options.method, pairs, setting, Cache(None))
    else:
        particles = gumnet.Particles.from_tensors(
            given["b"], voxel_size_angstrom=setting.voxel_size, weights=given["weights"]
        )
        poses, each, once = align_to_reference(options.method, particles, given["a"], setting)
    errors = pair_errors(poses, truth)
    on_gpu = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None
    return {
        "seconds": asdict(each),
        "seconds_a_reference": asdict(once),
        "peak_mebibytes": peak_mebibytes(),
        "mebibytes_before": before,
        "gpu_peak_mebibytes": on_gpu,
        "degrees": float(errors.degrees.mean()),
        "shift_angstrom": float(errors.shifts.mean()) * setting.voxel_size,
    }


def measure(box: int, what: str, options: argparse.Namespace) -> dict[str, Any]:
    """Simulate here, align in a child process, and return its figures."""
    made = simulated(box, options, pairs=what == "pairs")
    if what == "pairs":
        pairs = Pairs.of(made)
        assert pairs.weights_b is not None
        given = {"a": pairs.a, "b": pairs.b, "weights": pairs.weights_b}
        truth = pairs.truth
    else:
        rows, truth = list(range(len(made.particles))), made.truth
        weights = made.particles.read_weights(rows[:1])
        assert weights is not None
        given = {"a": made.structures[0], "b": made.particles.read_volumes(rows), "weights": weights[0]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volumes.pt"
        torch.save({**given, "rotations": truth.rotations, "shifts": truth.shifts}, path)
        command = [sys.executable, __file__, *sys.argv[1:], "--child", what, str(path), str(box)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"box": box, "what": what, "n": len(truth), **figures}


def main() -> None:
    """Run the benchmark, or the part of one child process."""
    options = parsed()
    if options.child:
        what, path, box = options.child
        print(json.dumps(in_child(options, what, Path(path), int(box))))
        return
    torch.set_num_threads(options.threads)
    cells = []
    print(HEAD)
    for what in ("pairs", "reference"):
        for box in options.boxes:
            one = measure(box, what, options)
            cells.append(one)
            each, once = one["seconds"], one["seconds_a_reference"]
            print(
                f"{box:4} {EXTENT_ANGSTROM / box:5.1f}A  {what:9} {one['n']:3} {each['wall']:7.3f} {each['cpu']:7.3f} "
                f"{once['wall']:7.2f} {once['cpu']:7.2f} {one['peak_mebibytes']:10.0f} {one['mebibytes_before']:7.0f} "
                f"{one['degrees']:8.2f} {one['shift_angstrom']:10.2f}",
                flush=True,
            )
    told = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    del told["child"]
    keep("box_size", {"options": told, "cells": cells})


if __name__ == "__main__":
    main()
