"""How fast and in how much memory many particles are packed, aligned, averaged and clustered, by one worker or several.

    python benchmarks/scale.py
    python benchmarks/scale.py --pack 1000 10000 --average 1000 10000 --align 32 160 --cluster 16 32 --workers 1 2
    python benchmarks/scale.py --pack 10000 100000 --average 10000 100000 --align 1000 10000 --cluster 100 1000

Particles are simulated in a stream, so that their number does not matter for memory. Each command is run as a program
of its own at two sizes, and what counts is what the larger takes more, so starting up does not. Averages are at the
true poses; of a clustering, pairs are counted, n (n - 1) / 2. Sizes of 0 leave a command out. Efficiency is the rate of
n workers over n times that of one: by the clock on the wall, which means something on an idle machine only, and by that
of the processors, which leaves out waiting. Figures go to results/scale-DATE.json with the load of the machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from common import keep
from torch import Tensor

import gumnet
from gumnet.benchmark.level import BOX, VOXEL_SIZE_ANGSTROM, Level
from gumnet.benchmark.seconds import Seconds
from gumnet.io.mrc import write_map, write_volume_stack
from gumnet.io.relion import CTF_IMAGE, IMAGE
from gumnet.io.relion_optics import PREMULTIPLIED
from gumnet.io.relion_write import ctf_from_weights, write_particles
from gumnet.particles import MemorySource, Particles, Poses, Source
from gumnet.simulation.phantom import phantoms
from gumnet.types import Volume

CHUNK = 250
LEVEL = Level(0.1, "coloured", True)
PROGRAM = """
import resource, sys
from pathlib import Path
from gumnet.cli.main import main
code = main(sys.argv[1:])
own = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(max(int(own), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
"""gumnet, which says at the end what its largest process took. ru_maxrss of a child counts what its parent took when it
was started, so it is asked within."""
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
    f"{'command':<8}{'workers':>8}{'count':>11}{'s wall':>9}{'s cpu':>8}{'ms each wall':>14}{'ms each cpu':>13}"
    f"{'peak (GB)':>11}{'efficiency wall':>17}{'cpu':>6}"
)


@dataclass(frozen=True)
class Measured:
    """One command, run once.

    Parameters
    ----------
    wall, cpu
        Seconds from start to end, and those of all processors.
    peak_gigabytes
        Of its largest process.
    """

    command: str
    workers: int
    particles: int
    wall: float
    cpu: float
    peak_gigabytes: float


def stream(folder: Path, count: int, structure: Volume) -> Path:
    """Write a folder of particles of one structure, a few at a time, and return it."""
    folder.mkdir()
    weights: list[Source] = []
    poses: list[Poses] = []

    def volumes() -> Iterator[Tensor]:
        for start in range(0, count, CHUNK):
            size = min(CHUNK, count - start)
            made = gumnet.simulate(structure[None], particles=size, config=LEVEL.config(seed=start))
            assert made.particles.weights is not None
            weights.append(made.particles.weights)
            poses.append(made.truth)
            yield from made.particles.read_volumes(range(size))

    write_volume_stack(folder / "volumes.mrcs", volumes(), VOXEL_SIZE_ANGSTROM)
    write_map(folder / "weights.mrc", ctf_from_weights(weights[0].read([0])[0]), VOXEL_SIZE_ANGSTROM)
    images = [f"{i + 1}@{folder / 'volumes.mrcs'}" for i in range(count)]
    table = pd.DataFrame({IMAGE: images, CTF_IMAGE: str(folder / "weights.mrc"), "rlnOpticsGroup": 1})
    optics = pd.DataFrame({"rlnOpticsGroup": [1], "rlnOpticsGroupName": ["simulated"], PREMULTIPLIED: [1]})
    # They are in the file, and only their number is asked.
    named = MemorySource(torch.zeros(()).expand(count, BOX, BOX, BOX))
    particles = Particles(named, Poses.concatenate(poses), VOXEL_SIZE_ANGSTROM, table=table, optics=optics)
    write_particles(folder / "particles.star", particles)
    return folder


def measure(command: str, workers: int, count: int, arguments: list[str]) -> Measured:
    """Run gumnet as a program of its own, with one thread a worker."""
    given = [command, *arguments, "--workers", str(workers), "--threads", "1", "--allow-outside", "--overwrite"]
    start = Seconds.now()
    done = subprocess.run([sys.executable, "-c", PROGRAM, *given], stdout=subprocess.PIPE, text=True, check=False)
    spent = Seconds.now() - start
    if done.returncode:
        raise SystemExit(f"gumnet {command} ended with {done.returncode}")
    peak_kilobytes = int(done.stdout.split()[-1])
    return Measured(command, workers, count, spent.wall, spent.cpu, peak_kilobytes * 1024 / 1e9)


def some_of(store: Path, count: int) -> Path:
    """Return a table of the first particles of a store; of more than it has, they come up again."""
    path, particles = store.parent / f"first-{count}.star", gumnet.read_particles(store)
    write_particles(path, particles.select([i % len(particles) for i in range(count)]), overwrite=True)
    return path


def table_costs(few: Path, path: Path) -> dict[str, float]:
    """Return what a row of a table takes: bytes of the file and, at the peak, of memory, microseconds of processors."""
    given = [str(few), str(path), str(path.with_name("out.star"))]
    done = subprocess.run([sys.executable, "-c", TABLE, *given], stdout=subprocess.PIPE, text=True, check=True)
    rows, *values = (float(word) for word in done.stdout.split())
    names = ("B of file", "B to read", "us to read", "B to read and write", "us to write")
    return dict(zip(names, (path.stat().st_size / rows, *(value / rows for value in values)), strict=True))


def seconds_each(rows: list[Measured], command: str, workers: int) -> tuple[float, float]:
    """Return seconds on the wall and of processors for each particle that the larger run has more than the smaller."""
    small, *_, large = sorted(
        (row for row in rows if (row.command, row.workers) == (command, workers)), key=lambda row: row.particles
    )
    more = large.particles - small.particles
    return (large.wall - small.wall) / more, (large.cpu - small.cpu) / more


def read_milliseconds(store: Path, count: int = 2000) -> float:
    """Return the time of a random read of one volume, when all are in the cache of the system."""
    source = gumnet.read_particles(store).volumes
    rows = torch.randint(len(source), (count,), generator=torch.Generator().manual_seed(0)).tolist()
    for _ in range(2):
        start = time.perf_counter()
        for row in rows:
            source.read([row])
    return (time.perf_counter() - start) / count * 1e3


def main() -> None:
    """Measure, print the table and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=int, nargs=2, default=[1000, 10000], help="sizes to pack")
    parser.add_argument("--align", type=int, nargs=2, default=[32, 160], help="sizes to align")
    parser.add_argument("--average", type=int, nargs=2, default=[1000, 10000], help="sizes to average, as packed")
    parser.add_argument("--cluster", type=int, nargs=2, default=[16, 32], help="sizes to cluster")
    parser.add_argument("--table", type=int, default=100_000, help="rows of a table to read and write")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--note", default="", help="kept with the figures")
    options = parser.parse_args()
    structure = phantoms(1, BOX, VOXEL_SIZE_ANGSTROM)[0]
    rows: list[Measured] = []
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store, reference = folder / "store", folder / "reference.mrc"
        write_map(reference, structure, VOXEL_SIZE_ANGSTROM)
        for count in options.pack:
            particles = stream(folder / f"particles-{count}", count, structure)
            shards = ["--shard-megabytes", str(count * 2 * BOX**3 / 8e6)]
            for workers in options.workers:
                rows.append(measure("pack", workers, count, [str(particles), "--out", str(store), *shards]))
        read = read_milliseconds(store)
        for count in options.align:
            given = [str(some_of(store, count)), "--reference", str(reference), "--out", str(folder / "out.star")]
            rows += [measure("align", workers, count, given) for workers in options.workers if count]
        for count in options.average:
            given = [str(some_of(store, count)), "--iterations", "0", "--out", str(folder / "average")]
            rows += [measure("average", workers, count, given) for workers in options.workers if count]
        for count in options.cluster:
            given = [str(some_of(store, count)), "--k", "1", "--out", str(folder / "classes")]
            pairs = count * (count - 1) // 2
            rows += [measure("cluster", workers, pairs, given) for workers in options.workers if count]
        table = table_costs(some_of(store, 10), some_of(store, options.table))
    figures: list[dict[str, Any]] = []
    print(HEAD)
    for row in rows:
        wall, cpu = seconds_each(rows, row.command, row.workers)
        wall_of_one, cpu_of_one = seconds_each(rows, row.command, options.workers[0])
        efficiency = (wall_of_one * options.workers[0] / (wall * row.workers), cpu_of_one / cpu)
        figures.append({**asdict(row), "each_seconds_wall_cpu": [wall, cpu], "efficiency_wall_cpu": efficiency})
        print(
            f"{row.command:<8}{row.workers:>8}{row.particles:>11}{row.wall:>9.1f}{row.cpu:>8.1f}{1e3 * wall:>14.2f}"
            f"{1e3 * cpu:>13.2f}{row.peak_gigabytes:>11.2f}{efficiency[0]:>17.2f}{efficiency[1]:>6.2f}"
        )
    print(f"random read of a cached volume of {BOX}^3: {read:.3f} ms")
    print("a row of a table:", ", ".join(f"{value:.3g} {name}" for name, value in table.items()))
    costs = {"read_ms": read, "table": {"rows": options.table, **table}, "rows": figures}
    keep("scale", {"load_before": load_before, "note": options.note, "box": BOX, **costs})


if __name__ == "__main__":
    main()
