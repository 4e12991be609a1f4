"""Pure noise through joint alignment: no resolution may be claimed, and the notes must say that there is nothing.

    python benchmarks/pure_noise.py --particles 200 --starts auto together blob --seeds 1

White noise in boxes of 32 voxels of 12 A behind a missing wedge of 30 degrees. The band of the start is what a shared
first map can feign: nothing finer may be claimed from any start.
"""

from __future__ import annotations

import argparse

import torch
from common import keep

import gumnet
from gumnet.benchmark.level import BOX, VOXEL_SIZE_ANGSTROM
from gumnet.benchmark.seconds import Seconds
from gumnet.geometry.fourier import to_fourier, to_real
from gumnet.geometry.wedge import missing_wedge


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--particles", type=int, default=200)
    parser.add_argument("--starts", nargs="+", default=["auto", "together", "blob"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    weights = missing_wedge(BOX, 60.0)
    cells = []
    print("| start | seed | resolution (A) | band of the start (A) | evidence | CPU s | notes |")
    print("|---|---|---|---|---|---|---|")
    for seed in options.seeds:
        noise = torch.randn(options.particles, BOX, BOX, BOX, generator=torch.Generator().manual_seed(seed))
        volumes = to_real(to_fourier(noise) * weights, BOX)
        particles = gumnet.Particles.from_tensors(volumes, voxel_size_angstrom=VOXEL_SIZE_ANGSTROM, weights=weights)
        for start in options.starts:
            before = Seconds.now()
            found = gumnet.average(particles, gumnet.AverageConfig(start=start, max_shift=3.0, seed=seed))
            cell = {
                "start": start,
                "seed": seed,
                "resolution": found.resolution_angstrom,
                "band": found.history[0].band_angstrom,
                "evidence": found.starts[-1].evidence if found.starts else None,
                "cpu_seconds": (Seconds.now() - before).cpu,
                "notes": found.notes,
            }
            cells.append(cell)
            evidence = "-" if cell["evidence"] is None else f"{cell['evidence']:.2f}"
            print(
                f"| {start} | {seed} | {found.resolution_angstrom:.1f} | {found.history[0].band_angstrom:.1f} | "
                f"{evidence} | {cell['cpu_seconds']:.0f} | {' '.join(found.notes)} |",
                flush=True,
            )
    keep("pure_noise", {"options": vars(options), "cells": cells})


if __name__ == "__main__":
    main()
