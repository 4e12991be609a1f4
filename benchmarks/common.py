"""What the benchmarks share: the cells and their pairs, the clock, the machine, and where figures are kept."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import gumnet
from gumnet.averaging.mask import soft_sphere
from gumnet.particles import Poses
from gumnet.simulation.config import NoiseColour, WedgeSide
from gumnet.simulation.phantom import phantoms
from gumnet.simulation.structure import from_file
from gumnet.types import Volumes, Weights

HERE = Path(__file__).parent
BOX, VOXEL_SIZE_ANGSTROM, MAX_SHIFT = 32, 12.0, 6.4


@dataclass(frozen=True)
class Seconds:
    """What something cost: seconds on the wall, and seconds of all processors, those of child processes included."""

    wall: float
    cpu: float

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall + other.wall, self.cpu + other.cpu)

    def __sub__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall - other.wall, self.cpu - other.cpu)

    def __truediv__(self, count: float) -> Seconds:
        return Seconds(self.wall / count, self.cpu / count)

    @classmethod
    def now(cls) -> Seconds:
        """Return the clocks, of which differences mean something."""
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return cls(time.perf_counter(), time.process_time() + children.ru_utime + children.ru_stime)


@dataclass(frozen=True)
class Level:
    """What the volumes look like: signal-to-noise, colour of the noise, and whether there is a CTF."""

    snr: float
    noise: NoiseColour
    ctf: bool

    def config(self, seed: int, wedge: WedgeSide = "b") -> gumnet.SimulationConfig:
        """Return what to simulate."""
        return gumnet.SimulationConfig(
            snr=self.snr,
            noise=self.noise,
            ctf=self.ctf,
            seed=seed,
            wedge=wedge,
            max_shift=MAX_SHIFT,
            voxel_size_angstrom=VOXEL_SIZE_ANGSTROM,
        )


# Half of coloured noise goes through the CTF and half is low-passed; white noise comes without CTF.
LEVELS = (
    Level(100.0, "coloured", True),
    Level(0.3, "coloured", True),
    Level(0.2, "coloured", True),
    Level(0.1, "coloured", True),
    Level(0.1, "white", False),
)


@dataclass(frozen=True)
class Pairs:
    """Pairs of volumes with their weights and the true poses of b on a, ``x_b = R x_a + t``."""

    a: Volumes
    b: Volumes
    weights_a: Weights | None
    weights_b: Weights | None
    truth: Poses

    @classmethod
    def of(cls, made: gumnet.Simulation) -> Pairs:
        """Return the pairs of a simulation, which depend on its arguments alone; another count gives other pairs."""
        truth = made.pair_truth()
        assert made.pairs is not None
        rows_a, rows_b = made.pairs.T.tolist()
        read, weights = made.particles.read_volumes, made.particles.read_weights
        return cls(read(rows_a), read(rows_b), weights(rows_a), weights(rows_b), truth)

    def __len__(self) -> int:
        return len(self.a)

    def rows(self, rows: slice | Tensor) -> Pairs:
        """Return some of the pairs."""

        def some(weights: Weights | None) -> Weights | None:
            return None if weights is None else weights[rows]

        return Pairs(self.a[rows], self.b[rows], some(self.weights_a), some(self.weights_b), self.truth[rows])

    @classmethod
    def concatenate(cls, parts: Sequence[Pairs]) -> Pairs:
        """Return the pairs of all parts, in order."""

        def joined(weights: list[Weights | None]) -> Weights | None:
            given = [each for each in weights if each is not None]
            return torch.cat(given) if given else None

        return cls(
            torch.cat([part.a for part in parts]),
            torch.cat([part.b for part in parts]),
            joined([part.weights_a for part in parts]),
            joined([part.weights_b for part in parts]),
            Poses.concatenate([part.truth for part in parts]),
        )

    def masked(self, radius: float | None) -> Pairs:
        """Return the pairs with a soft sphere of this radius, in voxels, on every a; None leaves them."""
        if radius is None:
            return self
        return replace(self, a=self.a * soft_sphere(self.a.shape[-1], radius))


def load_structures(paths: Sequence[Path], map_voxel_size: float | None) -> tuple[Volumes, list[str]]:
    """Return structures (k, N, N, N) from maps or atoms, or else the built-in phantoms, and their names."""
    if not paths:
        return phantoms(5, BOX, VOXEL_SIZE_ANGSTROM), [f"phantom {i}" for i in range(5)]
    loaded = [from_file(p, BOX, VOXEL_SIZE_ANGSTROM, map_voxel_size_angstrom=map_voxel_size) for p in paths]
    return torch.stack(loaded), [path.name for path in paths]


def cpu_name() -> str:
    """Return what processor this is."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if os.path.exists("/proc/cpuinfo") else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def hardware() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def commit() -> str:
    """Return the commit that is measured, marked where the tree differs from it."""
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def keep(name: str, figures: dict[str, Any]) -> Path:
    """Write figures with the date, the hardware and the commit to results/NAME-DATE.json, on one line."""
    now = datetime.now(UTC)
    record = {"date": now.isoformat(timespec="seconds"), "commit": commit(), "hardware": hardware(), **figures}
    out = HERE / "results" / f"{name}-{now:%Y-%m-%d-%H%M%S}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(record) + "\n", encoding="utf-8")
    print(f"written: {out.relative_to(HERE.parent)}")
    return out
