"""Real particles whose table holds poses: what each method finds of them that starts from none.

The file's poses are not the truth, but what its authors ended with. A method that agrees with most of them from nothing
found what they did; where it does not, either may be wrong. Three questions, after section 4.3 of the Gum-Net paper:

- particles against a map: that of the other half of the particles at the file's poses, which holds none of their noise.
- pairs of particles: how many relative poses agree, and the correlation of the aligned pairs on what both observed.
- joint alignment of all particles from nothing, its frame taken off.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gumnet.alignment.aligner import DEFAULT_MAX_SHIFT
from gumnet.alignment.to_reference import align
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.halves import assign_half_sets, rows_of_half
from gumnet.averaging.joint import average
from gumnet.averaging.result import Average
from gumnet.benchmark.aligning import Setting, aligned
from gumnet.benchmark.found import rounded
from gumnet.benchmark.intervals import mean_interval, share_interval
from gumnet.benchmark.order import Order
from gumnet.benchmark.pairs import Pairs
from gumnet.benchmark.rows import BOUND, JOINT, MIXED, Method
from gumnet.benchmark.seconds import Seconds
from gumnet.devices import seeded
from gumnet.errors import InputError
from gumnet.evaluation.metrics import pair_errors, set_errors
from gumnet.geometry.fourier import frequencies, to_fourier, to_real
from gumnet.journal import Journal
from gumnet.model.loss import alignment_loss
from gumnet.particles import Particles, Poses
from gumnet.types import Volumes

FILE = "file"
"""The row of the file's own poses."""
RIGHT_DEGREES = 15.0
_LEAST = 4


@dataclass(frozen=True)
class RealSet:
    """Real particles with poses, and the pairs of them that are aligned.

    Parameters
    ----------
    particles
        n particles with the poses of their file and half sets.
    rows
        The two particles of each of m pairs, (m, 2).
    """

    particles: Particles
    rows: Tensor

    @classmethod
    def of(cls, particles: Particles, pairs: int, seed: int) -> RealSet:
        """Return particles with at most so many random pairs of them.

        Raises
        ------
        InputError
            If the table holds no poses, or too few particles.
        """
        n = len(particles)
        if n < _LEAST:
            raise InputError(f"{n} real particles are too few", cure=f"give {_LEAST} or more")
        same = torch.eye(3, dtype=particles.poses.rotations.dtype)
        if bool((particles.poses.rotations - same).abs().max() < 1e-6):
            raise InputError("the real particles have no poses, or all the same", cure="give a table with rotations")
        all_pairs = torch.triu_indices(n, n, 1).T
        chosen = torch.randperm(len(all_pairs), generator=seeded(seed))[:pairs].sort().values
        return cls(assign_half_sets(particles, seed), all_pairs[chosen])

    @cached_property
    def pairs(self) -> Pairs:
        """The pairs, with the relative poses of the file for their truth."""
        one, other = self.rows.T.tolist()
        read, weights = self.particles.read_volumes, self.particles.read_weights
        truth = self.relative(self.particles.poses)
        return Pairs(read(one), read(other), weights(one), weights(other), truth)

    def relative(self, poses: Poses) -> Poses:
        """Return the poses of b on a of the m pairs, from those of the n particles on a reference."""
        return poses[self.rows[:, 1]].compose(poses[self.rows[:, 0]].inverse())

    @cached_property
    def at_file(self) -> Average:
        """The average at the file's poses."""
        return average(self.particles, AverageConfig(iterations=0))

    def correlations(self, poses: Poses) -> Tensor:
        """Return the correlations (m,) of the pairs at poses, each on what both of its particles observed."""
        parts = []
        for start in range(0, len(self.rows), 16):
            some, at = self.pairs.rows(slice(start, start + 16)), poses[start : start + 16]
            loss = alignment_loss(some.a, some.b, at.rotations, at.shifts, some.weights_a, some.weights_b)
            parts.append(1 - loss)
        return torch.cat(parts).double()


def band_passed_correlation(maps: Volumes) -> float:
    """Return the correlation of two maps (2, N, N, N) between 0.06 and 0.3 cycles per voxel."""
    box = maps.shape[-1]
    k = frequencies(box, dtype=torch.float64).norm(dim=-1)
    band = to_real(to_fourier(maps.double()) * ((k > 0.06) & (k < 0.3)), box)
    return float(torch.corrcoef(band.flatten(1))[0, 1])


def measure_real(
    real: RealSet,
    methods: Mapping[str, Method],
    rows: Sequence[str],
    setting: Setting,
    seed: int = 0,
    journal: Journal | None = None,
    first_task: int = 0,
    tell: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Return what every row finds on real particles, as figures to keep.

    Parameters
    ----------
    methods
        The registered methods among the rows.
    rows
        All rows in order; the bound knows a structure, which real particles do not have, and is left out.
    first_task
        Number of the first of these rows in the journal.
    """
    found: dict[str, dict[str, Any]] = {}
    not_run: dict[str, str] = {}
    for number, row in enumerate((FILE, *(row for row in rows if row not in (BOUND, MIXED))), first_task):
        if journal is not None and number in journal:
            found[row] = json.loads(journal.read(number))
        else:
            try:
                found[row] = _row(real, row, methods, setting, seed)
            except InputError as error:  # such as a network for another box
                not_run[row] = error.problem
                continue
            if journal is not None:
                journal.add(number, json.dumps(found[row]).encode())
        if tell is not None:
            tell(row)
    # A larger correlation is better, and the order wants what is smaller.
    order = Order.of({row: -torch.tensor(each["pairs"]["correlations"]).double() for row, each in found.items()})
    wrong = {
        row: (torch.tensor(each["particles"]["degrees"]) > RIGHT_DEGREES).double()
        for row, each in found.items()
        if "particles" in each
    }
    return {
        "particles": len(real.particles),
        "pairs": len(real.rows),
        "rows": found,
        "not_run": not_run,
        "order": order.figures(),
        "particles_order": Order.of(wrong).figures() if wrong else None,
    }


def _row(real: RealSet, row: str, methods: Mapping[str, Method], setting: Setting, seed: int) -> dict[str, Any]:
    """Return what one row finds."""
    if row == FILE:
        return {**_figures(real, real.pairs.truth), **_maps(real.at_file)}
    return _joint(real, setting, seed) if row == JOINT else _method(real, methods[row])


def _figures(real: RealSet, poses: Poses) -> dict[str, Any]:
    """Return what the poses (m) of the pairs are worth."""
    degrees = pair_errors(poses, real.pairs.truth).degrees
    correlations = real.correlations(poses)
    mean = mean_interval(correlations)
    return {
        "pairs_within": _share(degrees),
        "correlation": mean.mean,
        "correlation_95": [mean.low, mean.high],
        "pairs": {"degrees": rounded(degrees), "correlations": rounded(correlations)},
    }


def _particles(degrees: Tensor) -> dict[str, Any]:
    """Return what the rotations (n) of the particles are worth, in the order of the table."""
    return {"particles_within": _share(degrees), "particles": {"degrees": rounded(degrees)}}


def _share(degrees: Tensor) -> dict[str, Any]:
    right = int((degrees <= RIGHT_DEGREES).sum())
    interval = share_interval(right, len(degrees))
    return {"count": right, "of": len(degrees), "share": interval.mean, "interval_95": [interval.low, interval.high]}


def _maps(made: Average) -> dict[str, float]:
    return {"half_maps": band_passed_correlation(made.half_maps), "resolution": made.resolution_angstrom}


def _joint(real: RealSet, setting: Setting, seed: int) -> dict[str, Any]:
    """Return what joint alignment finds; it knows no poses and no half sets of the file."""
    blank = replace(
        real.particles, poses=Poses.identity(len(real.particles)), half_sets=torch.zeros(0, dtype=torch.int64)
    )
    before = Seconds.now()
    made = average(blank, AverageConfig(seed=seed, device=setting.device))
    cost = Seconds.now() - before
    degrees = set_errors(made.particles.poses, real.particles.poses).degrees
    return {
        **_figures(real, real.relative(made.particles.poses)),
        **_maps(made),
        **_particles(degrees),
        "seconds": cost.wall,
        "notes": list(made.notes),
    }


def _method(real: RealSet, method: Method) -> dict[str, Any]:
    """Return what a registered method finds, particle by particle on the map of the other half and pair by pair."""
    setting = replace(
        method.setting,
        max_shift=DEFAULT_MAX_SHIFT * real.particles.box,
        voxel_size=real.particles.voxel_size_angstrom,
    )
    degrees, halves = [], [rows_of_half(real.particles, half) for half in (1, 2)]
    for half, rows in enumerate(halves, 1):
        some = real.particles.select(rows)
        # Half maps are in the order of the half sets.
        aligned_to = real.at_file.half_maps[2 - half].float()
        poses = align(some, aligned_to, setting.config(method.method, real.particles.box)).poses
        degrees.append(pair_errors(poses, some.poses).degrees)
    poses, timings = aligned(method.method, real.pairs, setting)
    cost = sum(timing.seconds.wall for timing in timings) / len(real.rows)
    in_order = torch.cat(degrees)[torch.argsort(torch.cat(halves))]
    return {**_figures(real, poses), **_particles(in_order), "seconds_a_pair": cost}
