"""How well a map agrees with itself under each kind of axis of a point group."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gumnet.alignment.band import Band
from gumnet.alignment.score import Comparison, norms, phases, read_at
from gumnet.alignment.spectrum import as_complex
from gumnet.geometry.so3 import rotation_from_vector
from gumnet.geometry.symmetry import PointGroup
from gumnet.types import Rotations, Vectors

LEAST_AGREEMENT = 0.75
"""Agreement from which on an axis is one. Of asymmetric structures (twelve phantoms, no noise) the best of all twofold
axes reaches 0.25 to 0.51 where the particle is three periods wide, and less in finer shells."""
CHANCE, CHANCE_DEVIATIONS = 0.6, 3.0
"""An agreement is also to be above the first number by so many deviations of noise: the best of thousands of axes."""
LEAST_ANGULAR = 0.1
"""Least share, in what the maps have in common, of what changes as they turn about an axis: with less its fold is not
told, since interpolation alone loses some per cent."""
Verdict = Literal["holds", "fails", "unsure", "round"]
"""Whether a map has an axis: unsure where noise may give as much, round where any turn about it does."""
_SAME = 1e-4
_LEVEL = 5e-4
"""A component below this is written as 0."""
_VALUES = 1 << 22


@dataclass(frozen=True)
class Axis:
    """One kind of axis of a point group, and how the map agrees with itself about it.

    Parameters
    ----------
    fold
        Order of the turns.
    direction
        One such axis, (3,), in the map's frame, (x, y, z), of length 1.
    turns
        How many turns of this kind the group has.
    agreement
        Mean over them: 1 is what the half maps reach with each other, 0 what a turn about that axis by any other angle
        gives. NaN where the map hardly changes as it turns about the axis.
    deviation
        Standard deviation that noise gives it.
    raw
        The same before what any turn about the axis gives is taken off.
    level
        What any turn about the axis gives.
    """

    fold: int
    direction: tuple[float, float, float]
    turns: int
    agreement: float
    deviation: float
    raw: float
    level: float

    def direction_words(self) -> str:
        """Return the direction, (x, y, z), in words."""
        return f"({', '.join(f'{round(value, 3) + 0.0:.3f}' for value in self.direction)})"

    def words(self) -> str:
        """Return the fold and what it reaches: "7-fold 0.98 (+-0.02)"."""
        if math.isnan(self.agreement):
            return f"{self.fold}-fold as any turn ({self.level:.2f})"
        return f"{self.fold}-fold {self.agreement:.2f} (+-{self.deviation:.2f})"

    @property
    def least(self) -> float:
        """Agreement that it has to reach."""
        return max(LEAST_AGREEMENT, CHANCE + CHANCE_DEVIATIONS * self.deviation)

    @property
    def verdict(self) -> Verdict:
        """Whether it is an axis of the map."""
        if math.isnan(self.agreement):
            return "round" if self.raw >= LEAST_AGREEMENT else "fails"
        if self.agreement < LEAST_AGREEMENT:
            return "fails"
        return "holds" if self.agreement >= self.least else "unsure"


def agreements(comparison: Comparison, rotations: Rotations, centre: Vectors, shells: int) -> Tensor:
    """Return the agreement (k,) of the first map with the second one turned by (k, 3, 3) about a point (3,).

    In units of what they reach as they are, in the shells up to ``shells``.
    """
    band = Band.up_to(comparison.box, shells)
    data, turned = comparison.within(band), comparison.turned_reference(band.shells)
    every = torch.cat([torch.eye(3, dtype=torch.float64)[None], rotations.double()])
    shifts = centre.double() - every @ centre.double()
    size = max(1, _VALUES // len(band.shell))
    scores = []
    for some, moved in zip(torch.split(every.float(), size), torch.split(shifts.float(), size), strict=True):
        values, _ = read_at(turned, some[None], band)
        model = as_complex(values) * phases(band, moved[None])
        numerator = (model * data.matched[:, None]).real.sum(dim=-1)
        scores.append(numerator[0] / norms(model.abs() ** 2, None, data)[0])
    found = torch.cat(scores).double()
    return found[1:] / found[0]


def judged_axes(
    group: PointGroup, frame: Rotations, evaluate: Callable[[Rotations], Tensor], *, deviation: float, about: int
) -> tuple[Axis, ...]:
    """Return how a map agrees with itself about each kind of axis of a group in a frame (3, 3).

    Parameters
    ----------
    evaluate
        Gives the agreement (k,) under turns (k, 3, 3) of the map.
    deviation
        Standard deviation of the agreement under one turn.
    about
        How many turns about an axis show what any of them gives: more than the highest order that the map holds.
    """
    frame = frame.double()
    values = evaluate(frame @ group.rotations[1:] @ frame.mT)
    angles = torch.arange(about, dtype=torch.float64) * (2 * math.pi / about)
    found = []
    for members in kinds_of_turns(group):
        first = group.rotations[members[0]]
        direction = upwards(frame @ axis_of(first))
        raw = float(values[[member - 1 for member in members]].mean())
        level = float(evaluate(rotation_from_vector(angles[:, None] * direction)).mean())
        changing = 1 - level
        found.append(
            Axis(
                fold=order_of(first),
                direction=(float(direction[0]), float(direction[1]), float(direction[2])),
                turns=len(members),
                agreement=(raw - level) / changing if changing >= LEAST_ANGULAR else math.nan,
                deviation=deviation / math.sqrt(len(members)) / max(changing, LEAST_ANGULAR),
                raw=raw,
                level=level,
            )
        )
    return tuple(found)


def kinds_of_turns(group: PointGroup) -> list[list[int]]:
    """Return the members but the identity, by number, in kinds: those whose powers generate equivalent axes.

    Two turns are of a kind if a member of the group takes the powers of one to those of the other: if one is a symmetry
    of a map that has this group, or a part of it about the same axis, so are the other turns about that axis.
    """
    kinds: list[list[int]] = []
    left = list(range(1, group.order))
    while left:
        first = group.rotations[left[0]]
        powers = _generators(first)
        alike = group.rotations[:, None] @ powers @ group.rotations.mT[:, None]
        alike = alike.reshape(-1, 9)
        near = torch.cdist(group.rotations[left].reshape(-1, 9), alike).amin(dim=1) < _SAME
        kinds.append([member for member, same in zip(left, near.tolist(), strict=True) if same])
        left = [member for member, same in zip(left, near.tolist(), strict=True) if not same]
    return kinds


def axis_of(rotation: Rotations) -> Vectors:
    """Return the axis (3,) of a rotation (3, 3) other than the identity, of length 1."""
    values, vectors = torch.linalg.eigh((rotation + rotation.mT) / 2)
    axis: Vectors = vectors[:, int(values.argmax())]
    return axis


def upwards(axis: Vectors) -> Vectors:
    """Return an axis (3,) or its opposite, whichever points to positive z, or else to positive y or x."""
    leading = next((float(axis[i]) for i in (2, 1, 0) if abs(float(axis[i])) > _LEVEL), 1.0)
    return axis * math.copysign(1.0, leading)


def order_of(rotation: Rotations) -> int:
    """Return the smallest number of times that a rotation (3, 3) makes the identity."""
    power, order = rotation, 1
    while float((power - torch.eye(3).to(power)).abs().max()) > _SAME:
        power, order = power @ rotation, order + 1
    return order


def _generators(rotation: Rotations) -> Rotations:
    """Return the powers (k, 3, 3) of a rotation that generate the same turns as it."""
    order = order_of(rotation)
    exponents = [k for k in range(1, order + 1) if math.gcd(k, order) == 1]
    return torch.stack([torch.linalg.matrix_power(rotation, k) for k in exponents])
