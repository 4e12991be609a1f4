"""Networks trained and measured on one GPU: those that ship, and what each of their parts is worth.

    python benchmarks/gpu.py gumnet --structures A.mrc B.mrc --map-voxel-size 12 --minutes 6 --out runs
    python benchmarks/gpu.py narrow shallow few-structures --minutes 3 --pairs 400 --out runs
    python benchmarks/gpu.py small MP AP SC --baselines ht --structures A.mrc B.mrc --map-voxel-size 12 --minutes 2

Trains every named network in turn on simulated particles of built-in structures, made on the GPU, for so many minutes,
and aligns pairs with it that none was trained on. Start several at once to keep the GPU busy: a step is many small
kernels.
"paper", "small" and their ablations regress poses: each is trained alike, and every two are compared on the same pairs
by a permutation test. MP, AP and SC are ablations of "small"; those of "paper" are called paper-MP and so on.
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
from gumnet.model.gumnet import PRESETS, GumNet
from gumnet.model.matched_filter import MatchedFilter, MatchedFilterConfig, save_filter
from gumnet.model.weights import save_model
from gumnet.simulation.config import WedgeSide
from gumnet.training.contrast_config import NETWORKS, ContrastConfig, training_config
from gumnet.training.contrast_loop import train_matched
from gumnet.training.contrast_structures import training_structures
from gumnet.training.simulated import SimulatedConfig, train_simulated

_CARRIED = 6_000_000
"""Networks of more weights, as "paper", are not brought back: files are at most 16 MiB."""
_SMALL = ContrastConfig(groups=8, steps=1400, denoising_steps=250, structures=896)
_JUDGES: dict[str, dict[str, Any]] = {
    "both": {"both_ways": True, "consistency": 0.1},
    "searched": {"judged_on": "search"},
    "searched-both": {"judged_on": "search", "both_ways": True, "consistency": 0.1},
}
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
    **{
        f"{name}-{how}": replace(training_config(name, gpu=True), **settings)
        for name in NETWORKS
        for how, settings in _JUDGES.items()
    },
}
"""By name: the networks that ship, one wider, and smaller runs that each differ from "base" in one thing. Those
that ship are there with other lessons of their judge too: on what the search finds, from both sides, or both."""
_ABLATIONS: dict[str, dict[str, Any]] = {
    "MP": {"pooling": "max"},
    "AP": {"pooling": "average"},
    "SC": {"correlation": "single"},
}
_SMALL_POSES = SimulatedConfig()
_PAPER_POSES = SimulatedConfig(network=PRESETS["paper"], pairs=64, learning_rate=3e-4)
REGRESSING: dict[str, SimulatedConfig] = {
    "small": _SMALL_POSES,
    **{k: replace(_SMALL_POSES, network=replace(_SMALL_POSES.network, **v)) for k, v in _ABLATIONS.items()},
    "small-one-band": replace(_SMALL_POSES, bands=(1.0,)),
    "small-one-way": replace(_SMALL_POSES, consistency=0.0),
    "small-no-curriculum": replace(_SMALL_POSES, curriculum=0.0),
    "small-truth-alone": replace(_SMALL_POSES, correlation=0.0),
    "small-as-the-paper": replace(_SMALL_POSES, bands=(1.0,), consistency=0.0, truth=0.0, curriculum=0.0),
    "small-euler": replace(_SMALL_POSES, network=replace(_SMALL_POSES.network, head="euler")),
    "paper": _PAPER_POSES,
    **{f"paper-{k}": replace(_PAPER_POSES, network=replace(_PAPER_POSES.network, **v)) for k, v in _ABLATIONS.items()},
}
"""Networks that regress poses: "small" and "paper", and what differs from them in one thing."""
LEVELS: tuple[tuple[Level, WedgeSide], ...] = (
    *((Level(snr, "coloured", True), "b") for snr in (100.0, 0.3, 0.25, 0.2, 0.15, 0.1)),
    (Level(0.1, "white", False), "b"),
    *((Level(snr, "coloured", True), "both") for snr in (0.3, 0.2, 0.1)),
)


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[], metavar="NAME", help=" ".join([*RUNS, *REGRESSING]))
    parser.add_argument("--baselines", nargs="*", default=["exhaustive"], help="methods to measure beside them")
    parser.add_argument("--minutes", type=float, help="of training, each; all steps unless given")
    parser.add_argument("--steps", type=int, help="of training; as many as is usual for it unless given")
    parser.add_argument("--batch", type=int, help="pairs in a step, of networks that regress")
    parser.add_argument("--structures", nargs="+", type=Path, default=[], help="to measure on")
    parser.add_argument("--map-voxel-size", type=float, help="of maps that do not say it, in Angstrom")
    parser.add_argument("--pairs", type=int, default=400, help="of each level")
    parser.add_argument("--levels", nargs="+", type=int, default=list(range(len(LEVELS))))
    parser.add_argument("--seed", type=int, default=901, help="of the pairs")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    options = parser.parse_args()
    unknown = set(options.names) - set(RUNS) - set(REGRESSING)
    if unknown or not (options.names or options.speed) or not set(options.levels) <= set(range(len(LEVELS))):
        parser.error(f"give names of {', '.join([*RUNS, *REGRESSING])}, and levels from 0 to {len(LEVELS) - 1}")
    return options


def measure(models: dict[str, MatchedFilter | GumNet | None], options: argparse.Namespace) -> dict[str, Any]:
    """Return errors of methods (None) and of networks at all levels, with and without refinement."""
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
                    method=_method(name, model),
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


def _method(name: str, model: MatchedFilter | GumNet | None) -> str:
    """Return by which method a network aligns; what has none is a method itself."""
    if model is None:
        return name
    return "gumnet" if isinstance(model, GumNet) else "matched"


def train(name: str, options: argparse.Namespace, device: torch.device) -> MatchedFilter | GumNet:
    """Return a network trained as its name says, written to the folder of the runs."""
    if name in REGRESSING:
        poses = REGRESSING[name]
        poses = replace(poses, minutes=options.minutes, steps=options.steps or poses.steps)
        poses = replace(poses, pairs=options.batch or poses.pairs)
        count = min(poses.structures, 2 * poses.steps * poses.pairs)
        given = training_structures(count, poses.network.box, poses.structure_seed)
        network = train_simulated(poses, options.out / name, structures=given, overwrite=True, device=device)
        if network.count_parameters() < _CARRIED:
            save_model(options.out / f"{name}.safetensors", network, overwrite=True, half=True)
        return network
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
    models: dict[str, MatchedFilter | GumNet | None] = dict.fromkeys(options.baselines)
    for name in options.names:
        models[name] = trained = train(name, options, device)
        if isinstance(trained, MatchedFilter) and trained.judge is not None:
            models[f"{name} without its judge"] = alone = copy.deepcopy(trained)
            alone.judge = None
    keep("gpu", {"options": told, **measure(models, options)})


if __name__ == "__main__":
    main()
