"""How sure a mean, or the difference of two methods on the same pairs, is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RESAMPLES = 10_000
_SEED = 0


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
    low, high = values[rows].mean(dim=1).quantile(torch.tensor([0.025, 0.975], dtype=values.dtype)).tolist()
    return Interval(float(values.mean()), low, high)


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
