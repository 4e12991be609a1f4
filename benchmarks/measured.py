"""Runs a program and says what it took: seconds, memory of its largest process and of all, and the machine's pace."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

import gumnet
from gumnet.alignment.to_reference import AlignConfig, align
from gumnet.averaging.accumulate import Accumulator
from gumnet.benchmark.level import BOX, VOXEL_SIZE_ANGSTROM, Level
from gumnet.benchmark.seconds import Seconds
from gumnet.simulation.phantom import phantoms

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
LOOK_SECONDS, PACE_SECONDS = 1.0, 10.0


@dataclass(frozen=True)
class Measured:
    """One command, run once.

    Parameters
    ----------
    wall, cpu
        Seconds from start to end, and those of all processors.
    peak_gigabytes
        Of its largest process, files that are mapped included.
    all_gigabytes
        Most that all its processes took at a time, what they share counted once; looked at each second.
    pace_ms
        Mean milliseconds of the processor that `Pace` took meanwhile.
    """

    command: str
    workers: int
    particles: int
    wall: float
    cpu: float
    peak_gigabytes: float
    all_gigabytes: float
    pace_ms: float


class Pace:
    """A fixed piece of work, the time of which says how fast the machine is while other programs use it too.

    A second of a processor that shares its caches and its clock with others is worth less: on the machine where this
    was written it did a quarter of what it did alone. Two particles are aligned from their poses, and summed.
    """

    def __init__(self) -> None:
        self._reference = phantoms(1, BOX, VOXEL_SIZE_ANGSTROM)[0]
        made = gumnet.simulate(self._reference[None], particles=2, config=Level(0.1, "coloured", True).config(seed=0))
        self._particles = made.particles.with_poses(made.truth)
        self._config = AlignConfig(local=True, low_pass_angstrom=40.0, device="cpu")
        self()

    def __call__(self) -> float:
        """Return the milliseconds of the processor that it takes now."""
        start = time.thread_time()
        found = align(self._particles, self._reference, self._config)
        sums = Accumulator(BOX)
        sums.add(found.read_volumes([0, 1]), found.read_weights([0, 1]), found.poses)
        return 1e3 * (time.thread_time() - start)


def measure(
    command: str, workers: int, count: int, arguments: list[str], pace: Callable[[], float], *, name: str = ""
) -> Measured:
    """Run gumnet as a program of its own, with one thread a worker; ``arguments`` say how many workers there are."""
    given = [command, *arguments, "--threads", "1", "--allow-outside", "--overwrite"]
    start = Seconds.now()
    own = time.process_time()
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *given], stdout=subprocess.PIPE, text=True)
    with _Watch(process.pid, pace) as watch:
        text, _ = process.communicate()
    # What this process did itself meanwhile is no part of it.
    ours = time.process_time() - own
    spent = Seconds.now() - start
    if process.returncode:
        raise SystemExit(f"gumnet {command} ended with {process.returncode}")
    peak_kilobytes = int(text.split()[-1])
    peaks = peak_kilobytes * 1024 / 1e9, watch.most / 1e9
    return Measured(name or command, workers, count, spent.wall, spent.cpu - ours, *peaks, watch.pace())


class _Watch:
    """Looks at a process and its children, in a thread, while it runs."""

    def __init__(self, pid: int, pace: Callable[[], float]) -> None:
        self._pid, self._pace = pid, pace
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._paces: list[float] = []
        self.most = 0

    def __enter__(self) -> _Watch:
        self._paces.append(self._pace())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def pace(self) -> float:
        """Return the mean of the paces that were taken."""
        return statistics.fmean(self._paces)

    def _look(self) -> None:
        torch.set_num_threads(1)
        paced = time.monotonic()
        while not self._end.wait(LOOK_SECONDS):
            self.most = max(self.most, sum(_shared_out_bytes(pid) for pid in _family(self._pid)))
            if time.monotonic() - paced > PACE_SECONDS:
                self._paces.append(self._pace())
                paced = time.monotonic()


def _family(pid: int) -> list[int]:
    """Return a process and those that it started, and they."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{each}/task"):
                found += map(int, Path(f"/proc/{each}/task/{task}/children").read_text().split())
    return found


def _shared_out_bytes(pid: int) -> int:
    """Return the memory of a process; what n processes share counts as an nth of it in each."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("Pss:")))
    return 0
