"""Table 2: averages of one structure from nothing, by every method, against the structure itself."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from gumnet.alignment.pairs import align_pairs
from gumnet.alignment.to_reference import AlignConfig, align
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.fsc import KNOWN_STRUCTURE_THRESHOLD, fsc, resolution_angstrom
from gumnet.averaging.halves import assign_half_sets
from gumnet.averaging.joint import average
from gumnet.benchmark import relion
from gumnet.benchmark.eta import Eta
from gumnet.benchmark.found import rounded
from gumnet.benchmark.level import Level
from gumnet.benchmark.part import noise_free
from gumnet.benchmark.rows import BOUND, JOINT, RELION, TRUE, Method
from gumnet.benchmark.seconds import Seconds
from gumnet.benchmark.structures import Structures
from gumnet.evaluation.metrics import set_errors
from gumnet.geometry.warp import warp
from gumnet.journal import Journal
from gumnet.particles import Particles, Poses
from gumnet.simulation.dataset import simulate
from gumnet.types import Volume, Volumes

_GUESSES = {
    TRUE: 0.02,
    BOUND: 0.1,
    "ht": 1.5,
    "fa": 4.0,
    "exhaustive": 0.8,
    "matched": 1.5,
    "gumnet": 1.2,
    "gumnet-refined": 1.4,
    JOINT: 3.0,
    RELION: 40.0,
}
"""Seconds a particle on one core, until a row has told its own."""


@dataclass(frozen=True)
class AveragingPlan:
    """What is measured.

    Parameters
    ----------
    structures
        One structure.
    levels, rows
        Each row averages the same particles of each level.
    particles
        Of a set.
    iterations
        Of the methods that align to the average and average again, from the particles as they are.
    max_shift
        Of the particles from the centre along each axis, in voxels; all rows are told it.
    seed, device, threads
        Threads are those of RELION.
    schedule
        Of RELION.
    """

    structures: Structures
    levels: tuple[Level, ...]
    rows: tuple[str, ...]
    particles: int
    iterations: int
    max_shift: float
    seed: int = 0
    device: str = "cpu"
    threads: int = 1
    schedule: relion.Schedule = field(default_factory=relion.Schedule)


@dataclass(frozen=True)
class Set:
    """The particles of a level, what is true of them, and the structure as they show it."""

    particles: Particles
    truth: Poses
    structure: Volume
    reference: Volume

    @classmethod
    def of(cls, plan: AveragingPlan, level: Level) -> Set:
        """Return the set of a level."""
        config = level.config(plan.seed, max_shift=plan.max_shift)
        structure = plan.structures.volumes[0]
        made = simulate(structure[None], particles=plan.particles, config=config)
        particles = assign_half_sets(made.particles, plan.seed)
        return cls(particles, made.truth, structure, noise_free(structure[None], level)[0])


@dataclass(frozen=True)
class Averaged:
    """What a row made of a set.

    Parameters
    ----------
    half_maps
        Shape (2, N, N, N).
    resolution_halves
        In Angstrom, where the halves correlate to 0.143.
    poses
        Of the particles, where the row tells them.
    seconds
        What it cost.
    notes
        What it said of its result.
    """

    half_maps: Volumes
    resolution_halves: float
    poses: Poses | None
    seconds: Seconds
    notes: tuple[str, ...] = ()


def measure_averages(
    plan: AveragingPlan,
    methods: Mapping[str, Method],
    *,
    journal: Journal | None = None,
    tell: Callable[[dict[str, Any], Eta], None] | None = None,
) -> list[dict[str, Any]]:
    """Return what every row made at every level, as figures to keep.

    Parameters
    ----------
    methods
        The registered methods among the rows.
    journal
        Keeps finished rows, and gives those of an earlier run.
    """
    cells: list[dict[str, Any]] = []
    eta = Eta(dict.fromkeys(plan.rows, plan.particles * len(plan.levels)), _GUESSES)
    for level in plan.levels:
        made: Set | None = None
        for row in plan.rows:
            number = len(cells)
            if journal is not None and number in journal:
                cell = json.loads(journal.read(number))
            else:
                made = Set.of(plan, level) if made is None else made
                found = _averaged(plan, row, made, methods)
                cell = {**vars(level), "colour": level.colour, "method": row, **_judged(made, found)}
                if journal is not None:
                    journal.add(number, json.dumps(cell).encode())
            cells.append(cell)
            eta.done(row, plan.particles, cell["seconds"]["wall"])
            if tell is not None:
                tell(cell, eta)
    return cells


def _averaged(plan: AveragingPlan, row: str, made: Set, methods: Mapping[str, Method]) -> Averaged:
    """Return the average of a set by a row."""
    if row == RELION:
        maps, cost = relion.average(made.particles, plan.max_shift, plan.schedule, plan.threads, plan.seed)
        reached = resolution_angstrom(fsc(maps[0], maps[1]), made.particles.voxel_size_angstrom, maps.shape[-1])
        return Averaged(maps, reached, None, cost)
    config = _config(plan, row, methods)
    particles = made.particles.with_poses(made.truth) if row == TRUE else made.particles
    before = Seconds.now()
    if row == BOUND:
        # What is left to lose when the structure itself is known: no average of less can have better poses.
        particles = align(particles, made.reference, AlignConfig(max_shift=plan.max_shift, device=plan.device))
    found = average(particles, config)
    cost = Seconds.now() - before
    poses = None if row == TRUE else found.particles.poses
    return Averaged(found.half_maps, found.resolution_angstrom, poses, cost, found.notes)


def _config(plan: AveragingPlan, row: str, methods: Mapping[str, Method]) -> AverageConfig:
    common: dict[str, Any] = {"max_shift": plan.max_shift, "seed": plan.seed, "device": plan.device}
    if row in (TRUE, BOUND):
        return AverageConfig(iterations=0, device=plan.device)
    if row == JOINT:
        return AverageConfig(**common)
    method = methods[row]
    return AverageConfig(
        iterations=plan.iterations,
        start="blob",
        method=method.method,
        refine=method.setting.refine,
        model=method.setting.model,
        **common,
    )


def _judged(made: Set, found: Averaged) -> dict[str, Any]:
    """Return the figures of an average, its mean map put where it matches the structure best."""
    box, voxel_size = made.particles.box, made.particles.voxel_size_angstrom
    mean = found.half_maps.double().mean(dim=0).float()
    curve = fsc(on_structure(mean, made.reference), made.structure)
    figures: dict[str, Any] = {
        "resolution_truth": _finite(resolution_angstrom(curve, voxel_size, box, KNOWN_STRUCTURE_THRESHOLD)),
        "resolution_halves": _finite(found.resolution_halves),
        "fsc_truth": rounded(curve),
        "seconds": asdict(found.seconds),
        "notes": list(found.notes),
    }
    if found.poses is not None:
        errors = set_errors(found.poses, made.truth)
        figures |= {"rotation": float(errors.frobenius.mean()), "failure_rate": errors.failure_rate}
    return figures


def on_structure(found: Volume, reference: Volume) -> Tensor:
    """Return a map (N, N, N) turned and shifted to where the search finds the structure in it."""
    pose = align_pairs(reference[None], found[None], device="cpu")
    return warp(found[None], pose.rotations.float(), pose.shifts.float(), oversampling=2)[0]


def _finite(resolution: float) -> float | None:
    return resolution if math.isfinite(resolution) else None
