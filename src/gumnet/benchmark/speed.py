"""How fast the methods are on this machine, how near to what it can do, and how time grows with boxes and sets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import linear_regression
from typing import Any

import torch

from gumnet.alignment.to_reference import AlignConfig, align
from gumnet.averaging.accumulate import accumulate
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.joint import average
from gumnet.benchmark.aligning import aligned
from gumnet.benchmark.intervals import rate_interval
from gumnet.benchmark.level import BOX, MAX_SHIFT, VOXEL_SIZE_ANGSTROM, Level
from gumnet.benchmark.pairs import Pairs
from gumnet.benchmark.peaks import Peaks, busy, finish, measure_peaks
from gumnet.benchmark.rows import Method
from gumnet.benchmark.seconds import Seconds
from gumnet.benchmark.traffic import Traffic
from gumnet.errors import InputError
from gumnet.simulation.config import SimulationConfig
from gumnet.simulation.dataset import Simulation, simulate
from gumnet.simulation.phantom import phantom

LEVEL = Level(0.1, "coloured", True)
_WARM = 2


@dataclass(frozen=True)
class SpeedPlan:
    """What is measured.

    Parameters
    ----------
    pairs
        Of a box of 32, for every method.
    boxes, box_pairs
        Boxes of growing size, all as wide in Angstrom, and how many pairs of each.
    particles
        Sizes of sets that are aligned to one map, and averaged at given poses.
    joint
        Sizes of sets that joint alignment averages from nothing; none to leave it out.
    seed
        Of the simulations.
    """

    pairs: int
    boxes: tuple[int, ...]
    box_pairs: int
    particles: tuple[int, ...]
    joint: tuple[int, ...]
    seed: int = 0


Tell = Callable[[str], None]


def measure_speed(plan: SpeedPlan, methods: Mapping[str, Method], device: torch.device, tell: Tell) -> dict[str, Any]:
    """Return the figures of one device; the methods' settings name it."""
    peaks = measure_peaks(device)
    tell(f"{device}: {peaks.flops / 1e9:.0f} GFLOP/s of matrix products, {peaks.bytes / 1e9:.1f} GB/s of copies")
    config = LEVEL.config(plan.seed)
    structure = phantom(0, BOX)
    pairs = Pairs.of(simulate(structure[None], pairs=plan.pairs, config=config))
    return {
        "device": str(device),
        "peak_flops": peaks.flops,
        "peak_bytes": peaks.bytes,
        "methods": {row: _method(method, pairs, peaks, device, row, tell) for row, method in methods.items()},
        "boxes": {row: _boxes(plan, method, device, row, tell) for row, method in methods.items()},
        "sets": _sets(plan, structure, device, tell),
    }


def _method(method: Method, pairs: Pairs, peaks: Peaks, device: torch.device, row: str, tell: Tell) -> dict[str, Any]:
    """Return seconds a pair of a method with their interval, and what part of the peaks it reaches."""
    aligned(method.method, pairs.rows(slice(_WARM)), method.setting)
    _, timings = aligned(method.method, pairs, method.setting)
    counts = [timing.count for timing in timings]
    wall = rate_interval(counts, [timing.seconds.wall for timing in timings])
    cpu = rate_interval(counts, [timing.seconds.cpu for timing in timings])
    with Traffic() as traffic:
        aligned(method.method, pairs, method.setting)
    flops, moved = traffic.flops / len(pairs), traffic.bytes / len(pairs)
    took = busy(Seconds(wall.mean, cpu.mean), device)
    tell(f"{device}: {row}: {wall.mean:.4f} s a pair ({cpu.mean:.4f} of processors)")
    return {
        "n": len(pairs),
        "seconds": wall.mean,
        "seconds_95": [wall.low, wall.high],
        "cpu_seconds": cpu.mean,
        "flops_a_pair": flops,
        "bytes_a_pair": moved,
        "of_peak_flops": flops / took / peaks.flops,
        "of_peak_bytes": moved / took / peaks.bytes,
    }


def _boxes(plan: SpeedPlan, method: Method, device: torch.device, row: str, tell: Tell) -> dict[str, Any]:
    """Return seconds a pair in boxes of growing size, and the power of the box that they grow with."""
    seconds: dict[str, float] = {}
    cpu: dict[str, float] = {}
    skipped = None
    for box in plan.boxes:
        setting = replace(method.setting, max_shift=MAX_SHIFT * box / BOX, voxel_size=VOXEL_SIZE_ANGSTROM * BOX / box)
        pairs = Pairs.of(in_box(box, plan.box_pairs, plan.seed))
        try:
            aligned(method.method, pairs.rows(slice(1)), setting)
        except InputError as error:  # a network is for one box
            skipped = error.problem
            continue
        before = Seconds.now()
        aligned(method.method, pairs, setting)
        each = (Seconds.now() - before) / len(pairs)
        seconds[str(box)], cpu[str(box)] = each.wall, each.cpu
    tell(f"{device}: {row}: boxes of {', '.join(seconds)}")
    clock = seconds if device.type == "cuda" else cpu
    return {"seconds": seconds, "cpu_seconds": cpu, "power": power_of(clock), "not_run": skipped}


def in_box(box: int, pairs: int, seed: int) -> Simulation:
    """Return pairs of a phantom in a box of so many voxels, as wide in Angstrom as the standard box.

    White noise without CTF, as strong in the same frequencies: finer voxels bring coefficients and nothing else.
    """
    config = SimulationConfig(
        snr=(BOX / box) ** 3,
        box=box,
        voxel_size_angstrom=VOXEL_SIZE_ANGSTROM * BOX / box,
        max_shift=MAX_SHIFT * box / BOX,
        noise="white",
        ctf=False,
        seed=seed,
    )
    return simulate(phantom(0, box)[None], pairs=pairs, config=config)


def power_of(seconds: Mapping[str, float]) -> float | None:
    """Return p of the best fit ``seconds ~ size^p``, least squares of the logarithms; None of fewer than two sizes."""
    if len(seconds) < 2:
        return None
    sizes, costs = ([math.log(value) for value in values] for values in (map(float, seconds), seconds.values()))
    return linear_regression(sizes, costs).slope


def _sets(plan: SpeedPlan, structure: torch.Tensor, device: torch.device, tell: Tell) -> dict[str, Any]:
    """Return seconds for sets of growing size."""
    config = LEVEL.config(plan.seed)
    most = max((*plan.particles, *plan.joint))
    made = simulate(structure[None], particles=most, config=config)
    posed = made.particles.with_poses(made.truth)
    one = AlignConfig(max_shift=MAX_SHIFT, device=str(device))
    found: dict[str, Any] = {
        "aligned to one map": _growth(
            plan.particles, lambda n: align(made.particles.select(range(n)), structure, one), device
        ),
        "averaged at given poses": _growth(
            plan.particles, lambda n: accumulate(posed.select(range(n)), device=device, shown=False).result(), device
        ),
    }
    if plan.joint:
        joint = AverageConfig(seed=plan.seed, device=str(device))
        found["joint alignment from nothing"] = _growth(
            plan.joint, lambda n: average(made.particles.select(range(n)), joint), device, warm=False
        )
    for name, figures in found.items():
        tell(f"{device}: {name}: {', '.join(figures['seconds'])} particles")
    return found


def _growth(
    sizes: Sequence[int], work: Callable[[int], object], device: torch.device, *, warm: bool = True
) -> dict[str, Any]:
    """Return what sets of growing size cost, and the least-squares line through it: once, and for each particle."""
    if warm:
        work(min(sizes))
    costs: dict[int, Seconds] = {}
    for size in sizes:
        before = Seconds.now()
        work(size)
        finish(device)
        costs[size] = Seconds.now() - before
    clock = {n: cost.wall if device.type == "cuda" else cost.cpu for n, cost in costs.items()}
    line = linear_regression(list(clock), list(clock.values())) if len(clock) > 1 else None
    return {
        "seconds": {str(n): cost.wall for n, cost in costs.items()},
        "cpu_seconds": {str(n): cost.cpu for n, cost in costs.items()},
        "each": None if line is None else line.slope,
        "once": None if line is None else line.intercept,
    }
