"""Accuracy and time of alignment: every method, and peers where they are installed, on the same volumes.

    python benchmarks/search.py --pairs 100 --methods exhaustive ht fa acryo relion --low-pass 60
    python benchmarks/search.py --structures a.mrc b.mrc --map-voxel-size 12 --peer-pairs 20 --peer-cache peers.jsonl
    python benchmarks/search.py --shared-reference --particles 1000 --methods exhaustive --levels 3

Prints a table of every method, one of the differences between each two on the pairs that both had, with a 95 % interval
and a permutation test, and writes results/search-DATE.json with the date, the hardware, the commit and every pair's
errors. All methods get the same volumes, band, mask and shift limit. The structures are the built-in phantoms unless
maps are given. One thread, unless --threads says otherwise: seconds a pair are those of one core. Seconds of the
processor (cpu) are beside those on the wall, which other work on the machine makes longer.

acryo runs where it can be imported (pip install acryo==0.9.1), RELION 3.1 where relion_refine is on the PATH; else
their rows say so. They take half a minute a pair: --peer-pairs runs them on the first few pairs of every seed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from common import LEVELS, keep
from methods import OURS, PEERS, Setting, align_pairs, cannot_run
from peers.cache import Cache
from shared_reference import Reference, measure_shared_reference

import gumnet
from gumnet.benchmark import text_table
from gumnet.benchmark.level import MAX_SHIFT, VOXEL_SIZE_ANGSTROM
from gumnet.benchmark.measured import Measured, differences
from gumnet.benchmark.pairs import Pairs
from gumnet.benchmark.structures import Structures
from gumnet.errors import InputError
from gumnet.types import Volumes


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--methods", nargs="+", default=["exhaustive"], metavar="METHOD", help=" ".join((*OURS, *PEERS))
    )
    parser.add_argument("--model", type=Path, help="weights, for the methods that need them")
    parser.add_argument("--pairs", type=int, default=100, help="in a cell, all seeds together")
    parser.add_argument("--peer-pairs", type=int, help="of these, how many the peers get; all unless given")
    parser.add_argument("--peer-cache", type=Path, help="file of what peers found: read, and added to")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4])
    names = ", ".join(f"{i} {level.snr:g} {level.noise}" for i, level in enumerate(LEVELS))
    parser.add_argument("--levels", nargs="+", type=int, default=list(range(len(LEVELS))), help=f"of: {names}")
    parser.add_argument("--structures", nargs="+", type=Path, default=[])
    parser.add_argument("--map-voxel-size", type=float, help="of maps that do not say it, in Angstrom")
    parser.add_argument("--wedge", choices=["b", "both"], default="b")
    parser.add_argument("--low-pass", type=float, help="finest resolution for all methods, in Angstrom")
    parser.add_argument("--mask", type=float, help="radius of a soft sphere on the reference (a of a pair), in voxels")
    parser.add_argument("--no-refine", action="store_true", help="for our methods")
    parser.add_argument("--device", default="cpu", help="for our methods")
    parser.add_argument("--threads", type=int, default=1, help="for our methods; peers have one")
    parser.add_argument("--shared-reference", action="store_true", help="particles of one structure against one map")
    parser.add_argument("--particles", type=int, default=1000, help="of the shared reference, for our methods")
    parser.add_argument("--peer-particles", type=int, default=20, help="the same for peers")
    parser.add_argument("--reference", choices=["clean", "average"], default="clean", help=Reference.__doc__)
    options = parser.parse_args()
    if options.pairs < len(options.seeds) or not all(0 <= i < len(LEVELS) for i in options.levels):
        parser.error("give at least one pair a seed, and levels from the list")
    if options.particles < 2 or options.peer_particles < 2 or options.peer_pairs == 0:
        parser.error("give at least two particles, and one pair for the peers")
    return options


def measure_pairs(options: argparse.Namespace, structures: Volumes, setting: Setting) -> dict[str, Any]:
    """Measure all methods on pairs, print the tables and return the figures."""
    cache = Cache(options.peer_cache)
    count = options.pairs // len(options.seeds)
    cells, found = [], []
    print(text_table.PAIRS_HEAD)
    for level in (LEVELS[i] for i in options.levels):
        configs = [level.config(seed, options.wedge) for seed in options.seeds]
        parts = [Pairs.of(gumnet.simulate(structures, pairs=count, config=config)) for config in configs]
        pairs = Pairs.concatenate(parts)
        numbers = torch.arange(len(pairs))
        measured: dict[str, Measured] = {}
        for method in options.methods:
            reason = cannot_run(method)
            if reason is not None:
                print(text_table.missing_row(level.snr, level.noise, method, reason), flush=True)
                continue
            rows = numbers
            if method in PEERS and options.peer_pairs is not None:
                some = -(-options.peer_pairs // len(options.seeds))  # of every seed, rounded up
                rows = numbers.view(len(options.seeds), count)[:, :some].flatten()
            chosen, read_before = pairs.rows(rows), cache.hits
            poses, seconds = align_pairs(method, chosen, setting, cache)
            one = Measured.of(rows, poses, chosen.truth, seconds, read=cache.hits - read_before)
            measured[method] = one
            cells.append({**vars(level), "method": method, **one.figures()})
            print(text_table.row(one, level.snr, level.noise, method), flush=True)
        found += differences(vars(level), measured)
    print(text_table.differences_table(found))
    return {"cells": cells, "paired_differences": found}


def main() -> None:
    """Run the benchmark."""
    options = parsed()
    torch.set_num_threads(options.threads)
    setting = Setting(
        MAX_SHIFT,
        VOXEL_SIZE_ANGSTROM,
        low_pass=options.low_pass,
        mask=options.mask,
        refine=not options.no_refine,
        device=options.device,
        model=options.model,
    )
    try:
        loaded = Structures.load(options.structures, options.map_voxel_size)
        structures, names = loaded.volumes, list(loaded.names)
        if options.shared_reference:
            figures = measure_shared_reference(options, structures, [LEVELS[i] for i in options.levels], setting)
        else:
            figures = measure_pairs(options, structures, setting)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    told = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    keep("search", {"options": {**told, "structures": names, "peer_cache": None}, **figures})


if __name__ == "__main__":
    main()
