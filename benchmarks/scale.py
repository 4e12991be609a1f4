"""How fast and in how much memory many particles are packed, aligned, averaged and clustered, by one worker or several.

    python benchmarks/scale.py
    python benchmarks/scale.py --workers 1 --folder /tmp/scale --align-with="--local --low-pass 80" \
        --pack 1000 10000 100000 --align 1000 10000 100000 --average 1000 10000 100000

Particles are simulated in a stream, so that their number does not matter for memory: `BASE` of them, and more as these
with new noise. Each command is run as a program of its own at each size. ``--align-with`` are options of alignment;
averages are at the poses that it found, at the true ones where a size was not aligned. ``--search`` aligns over all
rotations in the full band. Of a clustering, pairs are counted, n (n - 1) / 2. Sizes of 0 leave a command out.

What a particle costs is what the largest size takes more than the smallest, so starting up does not count. Growth is
the time of the largest size over that of the second, as often as it has more particles: 1 is linear. Efficiency is the
rate of n workers over n times that of one. All by the clock on the wall, which means something on an idle machine only,
and by that of the processors over the pace of the machine meanwhile (`measured.Pace`).

With ``--folder`` what was measured is kept there: a benchmark that was killed goes on with the same command, and begins
with the size that it was killed in. Figures go to results/scale-DATE.json with the load of the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import keep
from measured import Measured, Pace, measure
from torch import Tensor

import gumnet
from gumnet.benchmark.level import BOX, VOXEL_SIZE_ANGSTROM, Level
from gumnet.io.mrc import write_map, write_volume_stack
from gumnet.io.relion import CTF_IMAGE, IMAGE
from gumnet.io.relion_optics import PREMULTIPLIED
from gumnet.io.relion_write import ctf_from_weights, write_particles
from gumnet.particles import MemorySource, Particles, Poses
from gumnet.simulation.phantom import phantoms
from gumnet.types import Volume

BASE, CHUNK = 1000, 250
NEW_NOISE = 0.3
"""Of what is added to a particle that comes again, over its own deviation."""
LEVEL = Level(0.1, "coloured", True)
TABLE = """
import sys, time
from pathlib import Path
from gumnet.io.read import read_particles
from gumnet.io.relion_write import write_particles
def peak():
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in status if line.startswith("VmHWM")))
few, many, out = map(Path, sys.argv[1:])
write_particles(out, read_particles(few), overwrite=True)  # modules are loaded
before, start = peak(), time.process_time()
particles = read_particles(many)
read, middle = peak(), time.process_time()
write_particles(out, particles, overwrite=True)
end = time.process_time()
print(len(particles), read - before, 1e6 * (middle - start), peak() - before, 1e6 * (end - middle))
"""
"""Reads and writes a table, and says rows, bytes and microseconds; what was loaded before does not count."""
HEAD = (
    f"{'command':<8}{'workers':>8}{'count':>9}{'s wall':>9}{'s cpu':>9}{'pace':>7}{'ms each':>10}{'paced':>8}"
    f"{'peak (GB)':>11}{'all':>6}{'growth':>8}{'paced':>7}{'efficiency':>12}{'cpu':>6}"
)


def stream(folder: Path, count: int, structure: Volume) -> Path:
    """Write a folder of particles of one structure, a few at a time, unless it is there, and return it."""
    if (folder / "particles.star").exists():
        return folder
    folder.mkdir(exist_ok=True)
    made = [
        gumnet.simulate(structure[None], particles=min(CHUNK, count - start), config=LEVEL.config(seed=start))
        for start in range(0, min(BASE, count), CHUNK)
    ]
    base = torch.cat([each.particles.read_volumes(range(len(each.particles))) for each in made])
    poses = Poses.concatenate([each.truth for each in made])
    rows = torch.arange(count) % len(base)

    def volumes() -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(1)
        for i, row in enumerate(rows.tolist()):
            if i < len(base):
                yield base[row]
            else:
                yield base[row] + NEW_NOISE * base[row].std() * torch.randn(BOX, BOX, BOX, generator=generator)

    stack, weights = folder / "volumes.mrcs", made[0].particles.weights
    write_volume_stack(stack, volumes(), VOXEL_SIZE_ANGSTROM, dtype=np.float16, overwrite=True)
    assert weights is not None
    write_map(folder / "weights.mrc", ctf_from_weights(weights.read([0])[0]), VOXEL_SIZE_ANGSTROM, overwrite=True)
    images = [f"{i + 1}@{stack}" for i in range(count)]
    table = pd.DataFrame({IMAGE: images, CTF_IMAGE: str(folder / "weights.mrc"), "rlnOpticsGroup": 1})
    optics = pd.DataFrame({"rlnOpticsGroup": [1], "rlnOpticsGroupName": ["simulated"], PREMULTIPLIED: [1]})
    # They are in the file, and only their number is asked.
    named = MemorySource(torch.zeros(()).expand(count, BOX, BOX, BOX))
    particles = Particles(named, poses[rows], VOXEL_SIZE_ANGSTROM, table=table, optics=optics)
    write_particles(folder / "particles.star", particles)
    return folder


def some_of(source: Path, count: int) -> Path:
    """Return a table of the first particles of a table or store; of more than it has, they come up again."""
    path, particles = source.parent / f"first-{count}-of-{source.name}.star", gumnet.read_particles(source)
    write_particles(path, particles.select([i % len(particles) for i in range(count)]), overwrite=True)
    return path


def table_costs(few: Path, path: Path) -> dict[str, float]:
    """Return what a row of a table takes: bytes of the file and, at the peak, of memory, microseconds of processors."""
    given = [str(few), str(path), str(path.with_name("out.star"))]
    done = subprocess.run([sys.executable, "-c", TABLE, *given], stdout=subprocess.PIPE, text=True, check=True)
    rows, *values = (float(word) for word in done.stdout.split())
    names = ("B of file", "B to read", "us to read", "B to read and write", "us to write")
    return dict(zip(names, (path.stat().st_size / rows, *(value / rows for value in values)), strict=True))


def read_milliseconds(store: Path, count: int = 500) -> float:
    """Return the time of a random read of one volume, when all are in the cache of the system: the best of five."""
    source = gumnet.read_particles(store).volumes
    rows = torch.randint(len(source), (count,), generator=torch.Generator().manual_seed(0)).tolist()
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for row in rows:
            source.read([row])
        best = min(best, time.perf_counter() - start)
    return best / count * 1e3


class Scale:
    """Measures the commands one after the other, and keeps what was measured.

    Parameters
    ----------
    folder
        Where everything is written; what was measured lies in ``rows.json``.
    options
        Those of the command line.
    """

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self._options, self._kept = folder, options, folder / "rows.json"
        self.rows = [Measured(**row) for row in json.loads(self._kept.read_text())] if self._kept.exists() else []
        self.store, self.reference = folder / f"store-{max(options.pack)}", folder / "reference.mrc"
        self._pace = Pace()

    def all(self) -> None:
        """Measure what is not measured yet."""
        options = self._options
        structure = phantoms(1, BOX, VOXEL_SIZE_ANGSTROM)[0]
        write_map(self.reference, structure, VOXEL_SIZE_ANGSTROM, overwrite=True)
        particles = stream(self.folder / "particles", max(options.pack), structure)
        for count in options.pack:
            # Eight shards or more, so that workers have something to share.
            megabytes = min(256.0, count * 2 * BOX**3 / 8e6)
            given = ["--out", str(self.folder / f"store-{count}"), "--shard-megabytes", str(megabytes)]
            self._each("pack", count, particles, given)
        given = ["--reference", str(self.reference), "--out"]
        for count in options.search:
            self._each("search", count, self.store, [*given, str(self.folder / "searched.star")])
        for count in options.align:
            self._each("align", count, self.store, [*given, str(self._aligned(count)), *options.align_with])
        for count in options.average:
            source = self._aligned(count) if self._aligned(count).exists() else self.store
            self._each("average", count, source, ["--iterations", "0", "--out", str(self.folder / "average")])
        for count in options.cluster:
            self._each("cluster", count, self.store, ["--k", "1", "--out", str(self.folder / "classes")])

    def _aligned(self, count: int) -> Path:
        return self.folder / f"aligned-{count}.star"

    def _each(self, command: str, count: int, source: Path, given: list[str]) -> None:
        counted = count * (count - 1) // 2 if command == "cluster" else count
        done = {row.workers for row in self.rows if (row.command, row.particles) == (command, counted)}
        todo = [workers for workers in self._options.workers if workers not in done]
        if not (count and todo):
            return
        table = str(some_of(source, count))
        for workers in todo:
            place = ["--cluster", f"local:{workers}"] if self._options.dask else ["--workers", str(workers)]
            program = "align" if command == "search" else command
            row = measure(program, workers, counted, [table, *given, *place], self._pace, name=command)
            self.rows.append(row)
            self._kept.write_text(json.dumps([asdict(row) for row in self.rows]))
            print(row, flush=True)


def figures_of(rows: Sequence[Measured]) -> list[dict[str, Any]]:
    """Return each row with what a particle costs, how time grows and what workers are worth; None of what is not known.

    Each is a pair: by the wall, and by processors over pace.
    """

    def both(row: Measured) -> tuple[float, float]:
        return row.wall, row.cpu / row.pace_ms

    def each(command: str, workers: int) -> tuple[float, float]:
        some = sorted((r for r in rows if (r.command, r.workers) == (command, workers)), key=lambda r: r.particles)
        small, large = some[0], some[-1]
        more = large.particles - small.particles
        if not more:
            return both(large)[0] / large.particles, both(large)[1] / large.particles
        (a, b), (c, d) = both(small), both(large)
        return (c - a) / more, (d - b) / more

    found = []
    first = min((row.workers for row in rows), default=1)
    for row in rows:
        smaller = [r for r in rows if (r.command, r.workers) == (row.command, row.workers)]
        smaller = sorted((r for r in smaller if r.particles < row.particles), key=lambda r: r.particles)
        growth = None
        if smaller:
            ratio = row.particles / smaller[-1].particles
            growth = [x / (y * ratio) for x, y in zip(both(row), both(smaller[-1]), strict=True)]
        of_one, of_n = each(row.command, first), each(row.command, row.workers)
        efficiency = [one * first / (n * row.workers) for one, n in zip(of_one, of_n, strict=True)]
        # The processors of all workers are counted together: there is no number of them to divide by.
        efficiency[1] *= row.workers / first
        found.append({**asdict(row), "growth": growth, "efficiency": efficiency})
    return found


def main() -> None:
    """Measure, print the table and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes: dict[str, list[int]] = {"pack": [1000, 10000], "align": [32, 160], "search": [0]}
    sizes |= {"average": [1000, 10000], "cluster": [16, 32]}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, nargs="+", default=default, help=f"sizes to {name}")
    parser.add_argument("--align-with", type=shlex.split, default=[], help="options of gumnet align, in one word")
    parser.add_argument("--table", type=int, default=100_000, help="rows of a table to read and write")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dask", action="store_true", help="workers of a Dask cluster of this machine")
    parser.add_argument("--folder", type=Path, help="keep everything here, and go on from it")
    parser.add_argument("--note", default="", help="kept with the figures")
    options = parser.parse_args()
    load_before = os.getloadavg()[0]
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        needed, free = 4 * max(options.pack) * BOX**3 + 1e9, shutil.disk_usage(folder).free
        if needed > free and not (folder / "rows.json").exists():
            raise SystemExit(f"{needed / 1e9:.0f} GB are needed in {folder.name}, {free / 1e9:.0f} are free: left out")
        scale = Scale(folder, options)
        scale.all()
        read = read_milliseconds(scale.store)
        table = table_costs(some_of(scale.store, 10), some_of(scale.store, options.table)) if options.table else {}
    figures = figures_of(scale.rows)
    print(HEAD)
    for row in figures:
        growth = row["growth"] or (float("nan"), float("nan"))
        print(
            f"{row['command']:<8}{row['workers']:>8}{row['particles']:>9}{row['wall']:>9.1f}{row['cpu']:>9.1f}"
            f"{row['pace_ms']:>7.1f}{1e3 * row['cpu'] / row['particles']:>10.2f}"
            f"{row['cpu'] / row['pace_ms'] / row['particles'] * 1e3:>8.3f}{row['peak_gigabytes']:>11.2f}"
            f"{row['all_gigabytes']:>6.2f}{growth[0]:>8.2f}{growth[1]:>7.2f}"
            f"{row['efficiency'][0]:>12.2f}{row['efficiency'][1]:>6.2f}"
        )
    print(f"random read of a cached volume of {BOX}^3: {read:.3f} ms")
    if table:
        print("a row of a table:", ", ".join(f"{value:.3g} {name}" for name, value in table.items()))
    costs = {"read_ms": read, "table": {"rows": options.table, **table}, "rows": figures}
    settings = {"load_before": load_before, "note": options.note, "box": BOX, "align_with": options.align_with}
    keep("scale", {**settings, "dask": options.dask, **costs})


if __name__ == "__main__":
    main()
