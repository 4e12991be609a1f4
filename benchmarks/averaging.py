"""Averages at known poses against the structure: what making them costs, in resolution and in time.

    python benchmarks/averaging.py --particles 60 --seeds 1 2 3

Simulated sets of the built-in phantoms, periodic in their box. The correlation with the structure (within a soft
sphere, since the corners hold noise alone) at several frequencies in cycles per voxel, for our average and for that of
relion_reconstruct, where it is installed, at the same poses and weights; and that of the two averages with each other.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import torch
from common import keep
from peers import relion_average
from torch import Tensor

import gumnet
from gumnet.averaging.accumulate import accumulate
from gumnet.averaging.fsc import fsc
from gumnet.averaging.mask import soft_sphere
from gumnet.benchmark.seconds import Seconds
from gumnet.simulation.phantom import phantom

FREQUENCIES = (0.1, 0.2, 0.3, 0.35, 0.375, 0.43)
SETS: dict[str, dict[str, Any]] = {
    "wedge, no noise": {"snr": math.inf, "ctf": False, "noise": "white"},
    "wedge and CTF, no noise": {"snr": math.inf, "ctf_in_weights": True},
    "wedge and CTF, SNR 0.3": {"snr": 0.3, "ctf_in_weights": True},
    "wedge, white noise, SNR 0.1": {"snr": 0.1, "ctf": False, "noise": "white"},
}
VOXEL_SIZES = {24: 12.0, 32: 10.0, 33: 10.0, 64: 5.0}


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--particles", type=int, default=60)
    parser.add_argument("--boxes", type=int, nargs="+", default=[32], choices=VOXEL_SIZES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept: list[dict[str, object]] = []
    for box in options.boxes:
        for name, settings in SETS.items():
            curves, costs = _measure(box, settings, options.particles, options.seeds)
            print(f"{box}: {name}")
            for pair, curve in curves.items():
                at = {f"{f:g}": round(float(curve[round(f * box)]), 4) for f in FREQUENCIES}
                print(f"  {pair:22} " + "  ".join(f"{f}: {value:.4f}" for f, value in at.items()))
                kept.append({"box": box, "set": name, "pair": pair, "fsc": at})
            cpu = {program: cost.cpu for program, cost in costs.items()}
            print("  CPU s a particle:", ", ".join(f"{program} {seconds:.4f}" for program, seconds in cpu.items()))
            kept.append({"box": box, "set": name, "cpu_s_a_particle": cpu})
    keep("averaging", {"particles": options.particles, "seeds": options.seeds, "results": kept})


def _measure(
    box: int, settings: dict[str, Any], count: int, seeds: list[int]
) -> tuple[dict[str, Tensor], dict[str, Seconds]]:
    """Return the correlations (N // 2 + 1,) of maps by pair, means over seeds, and what a particle cost."""
    curves: dict[str, list[Tensor]] = {}
    costs: dict[str, Seconds] = {}
    mask = soft_sphere(box)
    for seed in seeds:
        config = gumnet.SimulationConfig(box=box, voxel_size_angstrom=VOXEL_SIZES[box], seed=seed, **settings)
        made = gumnet.simulate(phantom(seed, box, config.voxel_size_angstrom)[None], particles=count, config=config)
        particles = made.particles.with_poses(made.truth)
        start = Seconds.now()
        maps = {"gumnet": accumulate(particles, shown=False).result()}
        cost = {"gumnet": Seconds.now() - start}
        if relion_average.missing() is None and box % 2 == 0:  # RELION centres odd boxes elsewhere
            maps["RELION"], cost["RELION"] = relion_average.average(particles)
            curves.setdefault("gumnet and RELION", []).append(fsc(maps["gumnet"], maps["RELION"], mask=mask))
        for program, average in maps.items():
            curves.setdefault(f"{program} and truth", []).append(fsc(average, made.structures[0], mask=mask))
            costs[program] = costs.get(program, Seconds(0.0, 0.0)) + cost[program] / (count * len(seeds))
    return {pair: torch.stack(each).mean(dim=0) for pair, each in curves.items()}, costs


if __name__ == "__main__":
    main()
