"""How sure a mean, or the difference of two methods on the same pairs, is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

RESAMPLES = 10_000
_SEED = 0
_Z = 1.959963984540054


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Interval):
    """A mean difference of n pairs with its 95 % interval, and the chance of one as large if neither were better."""

    p: float
    n: int


def mean_interval(values: Tensor) -> Interval:
    """Return the mean of (n,) values and its 95 % interval, by the bootstrap over the values."""
    values = values.double()
    generator = torch.Generator().manual_seed(_SEED)
    rows = torch.randint(len(values), (RESAMPLES, len(values)), generator=generator)
    low, high = _tails(values[rows].mean(dim=1))
    return Interval(float(values.mean()), low, high)


def share_interval(count: int, total: int) -> Interval:
    """Return the share of ``count`` in ``total`` with its 95 % interval by Wilson (1927).

    Not by the bootstrap, which says of 0 failures in 12 that there are none.
    """
    share, z2 = count / total, _Z**2
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def rate_interval(counts: Sequence[int], totals: Sequence[float]) -> Interval:
    """Return what one costs, ``sum(totals) / sum(counts)``, with its 95 % interval by the bootstrap over the batches.

    Parameters
    ----------
    counts
        How many pairs, or particles, each batch held.
    totals
        What each batch cost. One batch alone tells nothing of the spread: its interval is NaN.
    """
    n, cost = torch.tensor(counts, dtype=torch.float64), torch.tensor(totals, dtype=torch.float64)
    mean = float(cost.sum() / n.sum())
    if len(n) < 2:
        return Interval(mean, math.nan, math.nan)
    rows = torch.randint(len(n), (RESAMPLES, len(n)), generator=torch.Generator().manual_seed(_SEED))
    low, high = _tails(cost[rows].sum(dim=1) / n[rows].sum(dim=1))
    return Interval(mean, low, high)


def holm(p: Sequence[float]) -> list[float]:
    """Return p values adjusted for that many tests at once (Holm, 1979)."""
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted


def _tails(values: Tensor) -> list[float]:
    ends: list[float] = values.quantile(torch.tensor([0.025, 0.975], dtype=values.dtype)).tolist()
    return ends


def paired_difference(first: Tensor, second: Tensor) -> Difference:
    """Return how much larger the errors (n,) of a first method are than those of a second on the same pairs.

    The interval is a bootstrap over pairs. p is that of the permutation test: if neither method were better, each
    difference could as well have the other sign.
    """
    differences = first.double() - second.double()
    interval = mean_interval(differences)
    generator = torch.Generator().manual_seed(_SEED)
    signs = torch.randint(2, (RESAMPLES, len(differences)), generator=generator, dtype=torch.int8).double() * 2 - 1
    permuted = (signs @ differences).abs()
    # Sums in another order differ in the last digits, and a tie counts.
    as_large = int((permuted >= float(differences.sum().abs()) * (1 - 1e-9)).sum())
    p = (1 + as_large) / (1 + RESAMPLES)
    return Difference(interval.mean, interval.low, interval.high, p, len(differences))
