"""How many candidates are looked at more closely: few where one stands out, many where none does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

CANDIDATES_AT_ONCE = 64
"""Candidates that are refined together on a CPU, at most, or those of one particle: what is computed on the way then
stays in its cache. A GPU takes all at once."""


@dataclass(frozen=True)
class Stage:
    """Which candidates are refined in the shells up to ``shells``, by at most how many steps.

    Parameters
    ----------
    shells
        Highest shell.
    candidates
        How many a particle, at most.
    steps
        Of Levenberg and Marquardt's method.
    within
        Only those whose log likelihood is so much below that of the best, or less: few where one peak stands out, many
        where none does.
    least
        But so many at least: of clean volumes noise explains nothing, and the step to a peak much.
    """

    shells: int
    candidates: int
    steps: int
    within: float = math.inf
    least: int = 1


def contenders(scores: Tensor, stage: Stage, sharp: Tensor) -> Tensor:
    """Return how many candidates, the first, a stage refines of each particle, (n,).

    Parameters
    ----------
    scores
        Shape (n, k), the best first.
    sharp
        What scores are multiplied by to be log likelihoods, (n,).
    """
    below = sharp[:, None] * (scores[:, :1] - scores)
    found = scores.isfinite()
    count = (found & (below <= stage.within)).sum(dim=1).clamp(stage.least, stage.candidates)
    return torch.minimum(count, found.sum(dim=1)).clamp_min(1)


def together(counts: Tensor) -> Iterator[slice]:
    """Yield which of n particles are refined together: all on a GPU, else neighbours of as many candidates, (n,)."""
    if counts.device.type != "cpu":
        yield slice(0, len(counts))
        return
    first, widths = 0, counts.tolist()
    for i in range(1, len(widths) + 1):
        if i == len(widths) or widths[i] != widths[first] or (i + 1 - first) * widths[first] > CANDIDATES_AT_ONCE:
            yield slice(first, i)
            first = i
