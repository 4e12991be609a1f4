"""What a row of the accuracy table found on part of a cell, and how each kind of row finds it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from gumnet.alignment.to_reference import AlignConfig, align
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.joint import average
from gumnet.benchmark.aligning import Setting, Timing, aligned
from gumnet.benchmark.measured import KINDS
from gumnet.benchmark.part import Part
from gumnet.benchmark.rows import Method
from gumnet.benchmark.seconds import Seconds
from gumnet.evaluation.metrics import PairErrors, pair_errors
from gumnet.particles import Poses

_DIGITS = 6


@dataclass(frozen=True)
class Found:
    """Errors of the poses of n pairs, and what finding them cost.

    Parameters
    ----------
    errors
        Of the n pairs.
    timings
        Of batches of them.
    notes
        What the method said of its result.
    """

    errors: PairErrors
    timings: tuple[Timing, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, poses: Poses, part: Part, timings: Sequence[Timing], notes: Sequence[str] = ()) -> Found:
        """Return what poses (n) of the pairs of a part are worth."""
        return cls(pair_errors(poses, part.pairs.truth), tuple(timings), tuple(notes))

    @classmethod
    def joined(cls, parts: Sequence[Found]) -> Found:
        """Return what was found on all parts, in order."""
        errors = {kind: torch.cat([getattr(part.errors, kind) for part in parts]) for kind in KINDS}
        return cls(
            PairErrors(**errors),
            tuple(timing for part in parts for timing in part.timings),
            tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        )

    def to_bytes(self) -> bytes:
        """Return it as JSON, for a journal."""
        errors = {kind: rounded(getattr(self.errors, kind)) for kind in KINDS}
        timings = [asdict(timing) for timing in self.timings]
        return json.dumps({"errors": errors, "timings": timings, "notes": self.notes}).encode()

    @classmethod
    def of_bytes(cls, payload: bytes) -> Found:
        """Return what `to_bytes` wrote."""
        read = json.loads(payload)
        errors = {kind: torch.tensor(read["errors"][kind], dtype=torch.float64) for kind in KINDS}
        timings = [Timing(each["count"], Seconds(**each["seconds"])) for each in read["timings"]]
        return cls(PairErrors(**errors), tuple(timings), tuple(read["notes"]))


Run = Callable[[Part], Found]
"""How a row finds the poses of the pairs of a part."""


def rounded(values: Tensor) -> list[float]:
    """Return values (n,) as numbers of six digits after the point, for files."""
    return [round(value, _DIGITS) for value in values.tolist()]


def by_method(method: Method) -> Run:
    """Return how a registered method does it: pair by pair."""

    def run(part: Part) -> Found:
        poses, timings = aligned(method.method, part.pairs, method.setting)
        return Found.of(poses, part, timings)

    return run


def by_bound(setting: Setting) -> Run:
    """Return what no method can beat that knows less: the search, against the noise-free structure, for a and for b.

    The pose of b on a is that of b on the structure after the inverse of that of a, so it has the errors of both, as
    poses of joint alignment have.
    """

    def run(part: Part) -> Found:
        config = AlignConfig(max_shift=setting.max_shift, device=setting.device)
        before = Seconds.now()
        poses = align(part.particles, part.reference, config).poses
        cost = Seconds.now() - before
        return Found.of(part.pair_poses(poses), part, [Timing(len(part), cost)])

    return run


def by_joint(setting: Setting, seed: int) -> Run:
    """Return how joint alignment does it: all volumes of all pairs together, from nothing."""

    def run(part: Part) -> Found:
        config = AverageConfig(classes=part.structures, max_shift=setting.max_shift, seed=seed, device=setting.device)
        before = Seconds.now()
        made = average(part.particles, config)
        cost = Seconds.now() - before
        poses = part.pair_poses(made.particles.poses)
        return Found.of(poses, part, [Timing(len(part), cost)], made.notes)

    return run
