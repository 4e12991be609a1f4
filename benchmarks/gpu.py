"""Networks trained and measured on one GPU: those that ship, and what each of their parts is worth.

    python benchmarks/gpu.py gumnet --structures A.mrc B.mrc --map-voxel-size 12 --minutes 6 --out runs
    python benchmarks/gpu.py narrow shallow few-structures --minutes 3 --pairs 400 --out runs

Trains every named network in turn on simulated particles of built-in structures, made on the GPU, for so many minutes,
and aligns pairs with it that none was trained on. Start several at once to keep the GPU busy: a step is many small
kernels.
Writes OUT/NAME.safetensors and results/gpu-DATE.json. With --speed it measures instead what a pair and a particle cost.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import keep

import gumnet
from gumnet.alignment.aligner import Aligner, AlignerOptions, make_aligner
from gumnet.benchmark.level import MAX_SHIFT, Level
from gumnet.benchmark.measured import Measured, differences
from gumnet.benchmark.pairs import Pairs
from gumnet.benchmark.seconds import Seconds
from gumnet.benchmark.structures import Structures
from gumnet.devices import resolve_device
from gumnet.geometry.wedge import missing_wedge
from gumnet.model.matched_filter import MatchedFilter, MatchedFilterConfig, save_filter
from gumnet.simulation.config import WedgeSide
from gumnet.training.contrast_config import NETWORKS, ContrastConfig, training_config
from gumnet.training.contrast_loop import train_matched
from gumnet.training.contrast_structures import training_structures

_SMALL = ContrastConfig(groups=8, steps=1400, denoising_steps=250, structures=896)
RUNS: dict[str, ContrastConfig] = {
    **{name: training_config(name, gpu=True) for name in NETWORKS},
    "wide-judged": replace(training_config("matched", gpu=True), network=MatchedFilterConfig(channels=32, judged=32)),
    "base": _SMALL,
    "narrow": replace(_SMALL, network=MatchedFilterConfig(channels=8)),
    "wide": replace(_SMALL, network=MatchedFilterConfig(channels=32)),
    "shallow": replace(_SMALL, network=MatchedFilterConfig(kernels=(5, 3, 5))),
    "small-kernels": replace(_SMALL, network=MatchedFilterConfig(kernels=(3,) * 6)),
    "coarse-grid": replace(_SMALL, network=MatchedFilterConfig(grid=16)),
    "unconditioned": replace(_SMALL, network=MatchedFilterConfig(conditioned=False)),
    "easy-negatives": replace(_SMALL, hard=_SMALL.mined),
    "2-structures": replace(_SMALL, structures=2),
    "8-structures": replace(_SMALL, structures=8),
    "32-structures": replace(_SMALL, structures=32),
}
"""By name: the networks that ship, one wider, and smaller runs that each differ from "base" in one thing."""
LEVELS: tuple[tuple[Level, WedgeSide], ...] = (
    *((Level(snr, "coloured", True), "b") for snr in (100.0, 0.3, 0.25, 0.2, 0.15, 0.1)),
    (Level(0.1, "white", False), "b"),
    *((Level(snr, "coloured", True), "both") for snr in (0.3, 0.2, 0.1)),
)


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[], metavar="NAME", help=" ".join(RUNS))
    parser.add_argument("--minutes", type=float, help="of training, each; all steps unless given")
    parser.add_argument("--steps", type=int, help="of training; as many as is usual for it unless given")
    parser.add_argument("--structures", nargs="+", type=Path, default=[], help="to measure on")
    parser.add_argument("--map-voxel-size", type=float, help="of maps that do not say it, in Angstrom")
    parser.add_argument("--pairs", type=int, default=400, help="of each level")
    parser.add_argument("--levels", nargs="+", type=int, default=list(range(len(LEVELS))))
    parser.add_argument("--seed", type=int, default=901, help="of the pairs")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    options = parser.parse_args()
    unknown = set(options.names) - set(RUNS)
    if unknown or not (options.names or options.speed) or not set(options.levels) <= set(range(len(LEVELS))):
        parser.error(f"give names of {', '.join(RUNS)}, and levels from 0 to {len(LEVELS) - 1}")
    return options


def measure(models: dict[str, MatchedFilter | None], options: argparse.Namespace) -> dict[str, Any]:
    """Return errors of the search (None) and of networks at all levels, with and without refinement."""
    structures = Structures.load(options.structures, options.map_voxel_size).volumes
    cells, found = [], []
    for level, wedge in (LEVELS[i] for i in options.levels):
        pairs = Pairs.of(gumnet.simulate(structures, pairs=options.pairs, config=level.config(options.seed, wedge)))
        told = {**vars(level), "wedge": wedge}
        measured = {}
        for name, model in models.items():
            for refine in (True, False):
                start = Seconds.now()
                poses = gumnet.align_pairs(
                    pairs.a,
                    pairs.b,
                    weights_a=pairs.weights_a,
                    weights_b=pairs.weights_b,
                    method="exhaustive" if model is None else "matched",
                    model=model,
                    refine=refine,
                    max_shift=MAX_SHIFT,
                    device=options.device,
                )
                seconds = (Seconds.now() - start) / len(pairs)
                label = name if refine else f"{name}, not refined"
                one = measured[label] = Measured.of(torch.arange(len(pairs)), poses, pairs.truth, seconds)
                cells.append({**told, "method": label, **one.figures()})
                print(f"{told} {label}: {float(one.errors.frobenius.mean()):.3f}", flush=True)
        found += differences(told, measured)
    return {"cells": cells, "paired_differences": found}


def train(name: str, options: argparse.Namespace, device: torch.device) -> MatchedFilter:
    """Return a network trained as its name says, written to the folder of the runs."""
    config = replace(RUNS[name], minutes=options.minutes, steps=options.steps or RUNS[name].steps)
    structures = training_structures(config.structures, 32, config.structure_seed)
    model = train_matched(config, options.out / name, structures=structures, overwrite=True, device=device)
    save_filter(options.out / f"{name}.safetensors", model, overwrite=True)
    return model


def speed(options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Return milliseconds a pair of the search and of the networks, and a particle against one reference."""
    structures = Structures.load(options.structures, options.map_voxel_size).volumes.to(device)
    count = 1000 if device.type == "cuda" else 4
    generator = torch.Generator(device).manual_seed(options.seed)
    volumes = structures[torch.arange(count) % len(structures)]
    volumes = volumes / volumes.std(dim=(1, 2, 3), keepdim=True)
    a, b = (volumes + torch.randn(volumes.shape, generator=generator, device=device) for _ in range(2))
    wedge = missing_wedge(32, 60.0).to(device)

    def timed(run: Callable[[], object]) -> list[float]:
        times = []
        for _ in range(4):
            start = time.perf_counter()
            run()  # poses come back on the CPU, so the GPU is done
            times.append((time.perf_counter() - start) / count * 1e3)
        return sorted(round(each, 4) for each in times[1:])

    batches = [slice(i, i + 512) for i in range(0, count, 512)]

    def run(aligner: Aligner, shared: bool) -> None:
        for rows in batches:
            aligner.align(a[:1] if shared else a[rows], b[rows], None, wedge[None])

    cells = []
    for method in ("exhaustive", "matched", "gumnet"):
        for refine in (True, False):
            aligner = make_aligner(method, AlignerOptions(refine=refine, max_shift=MAX_SHIFT), device)
            for what in ("pair", "particle") if method == "exhaustive" else ("pair",):
                times = timed(partial(run, aligner, what == "particle"))
                cells.append({"method": method, "refine": refine, "of": what, "milliseconds": times})
                print(cells[-1], flush=True)
    return {"speed": cells}


def main() -> None:
    """Train and measure, or measure speed."""
    options = parsed()
    device = resolve_device(options.device)
    told = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items() if k != "structures"}
    told["structures"] = [path.name for path in options.structures]
    if options.speed:
        keep("gpu-speed", {"options": told, **speed(options, device)})
        return
    options.out.mkdir(parents=True, exist_ok=True)
    models: dict[str, MatchedFilter | None] = {"exhaustive": None}
    for name in options.names:
        models[name] = trained = train(name, options, device)
        if trained.judge is not None:
            models[f"{name} without its judge"] = alone = copy.deepcopy(trained)
            alone.judge = None
    keep("gpu", {"options": told, **measure(models, options)})


if __name__ == "__main__":
    main()
