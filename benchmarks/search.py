"""Accuracy and time of pair alignment: every method on the same pairs, with the same shift limit.

    python benchmarks/search.py --pairs 100 --methods exhaustive ht fa
    python benchmarks/search.py --structures a.mrc b.mrc --map-voxel-size 12

Prints a table and writes results/search-DATE.json with the date, the hardware, the commit and every pair's errors. The
structures are the built-in phantoms unless maps are given. One thread, unless --threads says otherwise: seconds a pair
are those of one core.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import gumnet
from gumnet.evaluation.metrics import PairErrors, pair_errors
from gumnet.simulation.phantom import phantoms
from gumnet.simulation.structure import from_file

HERE = Path(__file__).parent
BOX, VOXEL_SIZE_ANGSTROM, MAX_SHIFT = 32, 12.0, 6.4
# (SNR, noise, CTF): half of coloured noise goes through the CTF and half is low-passed; white noise comes without CTF.
LEVELS = (
    (100.0, "coloured", True),
    (0.3, "coloured", True),
    (0.2, "coloured", True),
    (0.1, "coloured", True),
    (0.1, "white", False),
)
RESAMPLES = 2000


def confidence_interval(values: torch.Tensor) -> tuple[float, float]:
    """Return the 95 % interval of the mean of (n,) values, by the bootstrap."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(len(values), (RESAMPLES, len(values)), generator=generator)
    low, high = values[rows].mean(dim=1).quantile(torch.tensor([0.025, 0.975], dtype=values.dtype)).tolist()
    return low, high


def hardware() -> dict[str, Any]:
    """Return what the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    models = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def commit() -> str:
    """Return the commit that is measured, marked where the tree differs from it."""
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def measure(method: str, made: gumnet.Simulation, *, refine: bool, device: str) -> tuple[PairErrors, float]:
    """Return the errors of a method on simulated pairs, and its seconds a pair; the first call warms up."""
    assert made.pairs is not None
    rows_a, rows_b = made.pairs.T.tolist()
    read, weights = made.particles.read_volumes, made.particles.read_weights
    a, b, weights_a, weights_b = read(rows_a), read(rows_b), weights(rows_a), weights(rows_b)

    def run(rows: slice) -> gumnet.Poses:
        return gumnet.align_pairs(
            a[rows],
            b[rows],
            weights_a=None if weights_a is None else weights_a[rows],
            weights_b=None if weights_b is None else weights_b[rows],
            method=method,
            refine=refine,
            max_shift=MAX_SHIFT,
            device=device,
        )

    run(slice(0, 2))
    start = time.perf_counter()
    poses = run(slice(None))
    return pair_errors(poses, made.pair_truth()), (time.perf_counter() - start) / len(poses)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--methods", nargs="+", default=["exhaustive"])
    parser.add_argument("--structures", nargs="+", type=Path, default=[])
    parser.add_argument("--map-voxel-size", type=float)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--wedge", choices=["b", "both"], default="b")
    parser.add_argument("--no-refine", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.structures:
        size = options.map_voxel_size
        loaded = [from_file(p, BOX, VOXEL_SIZE_ANGSTROM, map_voxel_size_angstrom=size) for p in options.structures]
        structures = torch.stack(loaded)
    else:
        structures = phantoms(5, BOX, VOXEL_SIZE_ANGSTROM)
    cells = []
    print("  SNR noise     method      frobenius (95 %)        degrees  shift   fail  s/pair")
    for snr, noise, ctf in LEVELS:
        for method in options.methods:
            parts, seconds = [], 0.0
            for seed in options.seeds:
                config = gumnet.SimulationConfig(
                    snr=snr, noise=noise, ctf=ctf, seed=seed, wedge=options.wedge, max_shift=MAX_SHIFT
                )
                count = options.pairs // len(options.seeds)
                made = gumnet.simulate(structures, pairs=count, config=config)
                errors, each = measure(method, made, refine=not options.no_refine, device=options.device)
                parts.append(errors)
                seconds += each / len(options.seeds)
            names = ("frobenius", "degrees", "shifts", "shifts_rounded")
            joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
            low, high = confidence_interval(joined["frobenius"])
            failed = float((joined["frobenius"] > 1).double().mean())
            mean = {name: float(values.mean()) for name, values in joined.items()}
            cells.append(
                {
                    "snr": snr,
                    "noise": noise,
                    "ctf": ctf,
                    "wedge": options.wedge,
                    "method": method,
                    "refine": not options.no_refine,
                    "seconds_a_pair": seconds,
                    "mean": mean,
                    "frobenius_95": [low, high],
                    "failure_rate": failed,
                    "pairs": {name: [round(v, 5) for v in values.tolist()] for name, values in joined.items()},
                }
            )
            print(
                f"{snr:5g} {noise:9} {method:11} {mean['frobenius']:.3f} ({low:.3f} to {high:.3f})".ljust(50)
                + f"{mean['degrees']:8.2f} {mean['shifts']:6.2f} {failed:6.1%} {seconds:7.3f}",
                flush=True,
            )
    now = datetime.now(UTC)
    record = {
        "date": now.isoformat(timespec="seconds"),
        "commit": commit(),
        "hardware": hardware(),
        "structures": [path.name for path in options.structures] or "built-in phantoms 0 to 4",
        "seeds": options.seeds,
        "cells": cells,
    }
    out = HERE / "results" / f"search-{now:%Y-%m-%d-%H%M%S}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(record) + "\n", encoding="utf-8")
    print(f"written: {out.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main()
