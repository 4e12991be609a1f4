"""Classes that are one structure: their maps, put on each other, agree as far as the halves of each say they can.

Classes are of different particles, so their noise is independent; what one map holds of the other is the structure. The
halves of a class say how much of its map is structure: two maps of the same one correlate by the root of the product of
both. Spherical averages are left out, since all particles look alike in them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.alignment.aligner import AlignerOptions, make_aligner
from gumnet.alignment.score import default_mask
from gumnet.averaging.frame import frame_shells
from gumnet.averaging.fsc import fsc
from gumnet.averaging.result import Average
from gumnet.geometry.warp import warp
from gumnet.particles import Poses
from gumnet.resolution.claim import shell_counts
from gumnet.symmetry.angular import without_spherical_average
from gumnet.types import Volumes

_LEAST = 0.5
"""Correlation with the structure from which on a shell counts: half maps that agree to 0.143 reach it."""
SAME = 0.9
"""Agreement from which on two classes are one structure, as far as their maps tell. Phantoms at signal-to-noise ratios
of 0.1 to 1: 0.99 to 1.01 for one structure, 0.13 to 0.28 for two, 0.98 for one that lacks 6 % of its mass."""


@dataclass(frozen=True)
class Pair:
    """Two classes and how alike their maps are.

    Parameters
    ----------
    first, second
        Numbers of the classes.
    agreement
        1 for maps of one structure, 0 for unrelated ones; NaN where the halves of a class do not agree.
    pose
        Pose (1) of the second map on the first.
    """

    first: int
    second: int
    agreement: float
    pose: Poses


def compared(first: Average, second: Average) -> tuple[float, Poses]:
    """Return how alike two maps are once one is put on the other, and the pose (1) of the second on the first."""
    means = torch.stack([first.half_maps.mean(dim=0), second.half_maps.mean(dim=0)]).float()
    box = means.shape[-1]
    reached = _reached(first) * _reached(second)
    weights = torch.where(reached >= _LEAST, shell_counts(box) * reached, 0.0)
    weights[0] = 0
    total = float((weights * reached).sum())
    if not total > 0:
        return math.nan, Poses.identity(1)
    shells = max(frame_shells(box), int(torch.nonzero(weights)[-1]))
    aligner = make_aligner("exhaustive", AlignerOptions(max_frequency=shells / box), torch.device("cpu"))
    pose = aligner.align(means[:1], means[1:], None, None)
    moved = pose.to(dtype=torch.float32)
    onto = warp(means[1:], moved.rotations, moved.shifts, oversampling=2)[0]
    parts = _angular(torch.stack([means[0], onto]))
    return float((weights * fsc(parts[0], parts[1])).sum()) / total, pose


def _reached(made: Average) -> Tensor:
    """Return the correlation (N // 2 + 1,) of the mean of the half maps of a class with its structure.

    Two of it would correlate by ``2 F / (1 + F)``, and it with what is free of noise by the root (Rosenthal and
    Henderson, 2003).
    """
    halves = fsc(*_angular(made.half_maps.float())).clamp(0, 1)
    return (2 * halves / (1 + halves)).sqrt()


def _angular(maps: Volumes) -> Volumes:
    """Return maps (n, N, N, N), masked, without their spherical averages."""
    mask = default_mask(maps.shape[-1])
    return torch.stack([without_spherical_average(volume, mask) for volume in maps])


def duplicates(parts: Sequence[Average], numbers: Sequence[int]) -> list[Pair]:
    """Return the pairs of classes that are one structure; each class with the first one that it is the same as.

    Parameters
    ----------
    parts
        Averages of the classes.
    numbers
        Their numbers.
    """
    found: list[Pair] = []
    first_of: dict[int, int] = {}
    for second in range(1, len(parts)):
        for first in range(second):
            if first in first_of:
                continue  # it is the same as one that is compared itself
            agreement, pose = compared(parts[first], parts[second])
            if agreement >= SAME:
                first_of[second] = first
                found.append(Pair(numbers[first], numbers[second], agreement, pose))
                break
    return found


def duplicate_words(pairs: Sequence[Pair], *, merged: bool) -> tuple[str, ...]:
    """Return which classes are one structure, a sentence for each that occurs several times."""
    said = []
    for first in sorted({pair.first for pair in pairs}):
        same = [pair for pair in pairs if pair.first == first]
        numbers = [str(number) for number in (first, *(pair.second for pair in same))]
        lowest = min(pair.agreement for pair in same)
        done = (
            f"they were put together as class {first}"
            if merged
            else "--merge puts them together, as asking for fewer classes may"
        )
        said.append(
            f"Classes {', '.join(numbers[:-1])} and {numbers[-1]} are the same structure in other orientations, as far "
            f"as their maps tell: put on each other they agree to {lowest:.2f} of what their halves allow; {done}."
        )
    return tuple(said)
