"""What was measured of a method on the pairs of a cell, as figures to keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from gumnet.benchmark.intervals import mean_interval, paired_difference
from gumnet.benchmark.seconds import Seconds
from gumnet.evaluation.metrics import PairErrors, pair_errors
from gumnet.particles import Poses

KINDS = ("frobenius", "degrees", "shifts", "shifts_rounded")
SURE, RIGHT_DEGREES = 0.9, 15.0


@dataclass(frozen=True)
class Calibration:
    """What the confidences of poses are worth.

    Parameters
    ----------
    sure
        Share of poses with a confidence of 0.9 or more.
    right
        Share of these that are within 15 degrees; None where there are none.
    """

    sure: float
    right: float | None

    @classmethod
    def of(cls, confidences: Tensor, degrees: Tensor) -> Calibration:
        """Return the calibration of n confidences, given the errors of their poses in degrees."""
        sure = confidences.cpu() >= SURE
        right = float((degrees[sure] <= RIGHT_DEGREES).double().mean()) if bool(sure.any()) else None
        return cls(float(sure.double().mean()), right)


@dataclass(frozen=True)
class Measured:
    """Errors and cost of one method on some of the pairs, or particles, of a cell.

    Parameters
    ----------
    rows
        Numbers of these pairs, shape (n,).
    errors
        Of their poses.
    seconds
        A pair.
    read
        How many of them were read from a cache, with what they had cost.
    calibration
        Where the poses carry confidences.
    """

    rows: Tensor
    errors: PairErrors
    seconds: Seconds
    read: int
    calibration: Calibration | None

    @classmethod
    def of(cls, rows: Tensor, poses: Poses, truth: Poses, seconds: Seconds, read: int = 0) -> Measured:
        """Return what is to be said of poses (n) with their true ones."""
        errors = pair_errors(poses, truth)
        calibration = None if poses.confidences is None else Calibration.of(poses.confidences, errors.degrees)
        return cls(rows, errors, seconds, read, calibration)

    def figures(self) -> dict[str, Any]:
        """Return the figures to keep."""
        interval = mean_interval(self.errors.frobenius)
        return {
            "n": len(self.rows),
            "seconds": asdict(self.seconds),
            "read_from_cache": self.read,
            "mean": {kind: float(getattr(self.errors, kind).mean()) for kind in KINDS},
            "frobenius_95": [interval.low, interval.high],
            "failure_rate": self.errors.failure_rate,
            "confidence": None if self.calibration is None else asdict(self.calibration),
            "rows": self.rows.tolist(),
            "pairs": {kind: [round(v, 5) for v in getattr(self.errors, kind).tolist()] for kind in KINDS},
        }


def differences(level: Mapping[str, Any], measured: Mapping[str, Measured]) -> list[dict[str, Any]]:
    """Return how each two methods of a cell differ on the pairs that both had."""
    found = []
    for first, second in combinations(measured, 2):
        one, other = measured[first], measured[second]
        shared, of_one, of_other = _shared(one.rows, other.rows)
        kinds = {}
        for kind in ("frobenius", "shifts"):
            errors = getattr(one.errors, kind)[of_one], getattr(other.errors, kind)[of_other]
            kinds[kind] = asdict(paired_difference(*errors))
        found.append({**level, "first": first, "second": second, "n": len(shared), **kinds})
    return found


def _shared(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the numbers that are in both, and where they are in the first and in the second."""
    of_first = torch.isin(first, second).nonzero()[:, 0]
    of_second = torch.isin(second, first).nonzero()[:, 0]
    return first[of_first], of_first, of_second
