"""Whether poses are found again: the same particles, searched on the map of the half that they are not in.

A particle that is part of a map recognises its own noise there. So its score, and how sure its pose looks, say little
where noise is strong: a wrong map keeps its particles where they are. The other half's map was made without it. A pose
that is found there as well, over all rotations, is right, or both are wrong in the same way, which of random rotations
one in a thousand is (within 15 degrees).

If p of the poses on either map are right, p^2 or more are found again: particles that are easy on one map are easy on
the other. So the root of the share that is found again is the most that can be right.

Halves that started from one map have its noise in common, so that wrong poses may be found again too. Of those, finer
shells than that map's tell (`gumnet.resolution.claim`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gumnet.alignment.confidence import RIGHT_DEGREES
from gumnet.geometry.so3 import angular_distance_degrees
from gumnet.geometry.symmetry import PointGroup
from gumnet.types import Mask, Rotations

MOST_CHECKED = 50
"""Particles of a half that are searched again, drawn at random from more: the share of a hundred is known to 5 %."""
LEAST_CHECKED = 10
"""With fewer in all, a share says nothing."""
LEAST_RIGHT = 0.5
"""Share of right poses below which the notes say that most are wrong."""


@dataclass(frozen=True)
class Reproduced:
    """How many poses were found again on the map of the other half.

    Parameters
    ----------
    checked
        Particles that were searched again.
    found_again
        How many of them came out within `RIGHT_DEGREES` of their pose, or where the map looks the same.
    """

    checked: int
    found_again: int

    @property
    def share(self) -> float:
        """Share of the poses that were found again; NaN of none."""
        return self.found_again / self.checked if self.checked else math.nan

    @property
    def most_right(self) -> float:
        """Largest share of right poses that goes with it."""
        return math.sqrt(self.share)

    @property
    def is_doubtful(self) -> bool:
        """Whether most poses are wrong."""
        return self.checked >= LEAST_CHECKED and self.most_right < LEAST_RIGHT

    def words(self, *, given: bool = False) -> str:
        """Return what it says, in a sentence, and where most poses are wrong in another one what may help.

        ``given`` is whether the halves started from a map that was given.
        """
        again = (
            f"{self.found_again} of {self.checked} particles ({100 * self.share:.0f} %) find their orientation again, "
            f"to {RIGHT_DEGREES:g}°, on the map of the half that they are not in"
        )
        if not self.is_doubtful:
            return f"{again}."
        other = "another map to start from" if given else "a known map to start from (--initial) or another --seed"
        return f"Most poses are likely wrong, and the map with them: only {again}. More particles may help, or {other}."


def same_rotations(first: Rotations, second: Rotations, group: PointGroup) -> Mask:
    """Return which rotations (n, 3, 3) are within `RIGHT_DEGREES` of others (n, 3, 3), or of an equivalent, (n,)."""
    if group.order == 1:
        return angular_distance_degrees(first.double(), second.double()) <= RIGHT_DEGREES
    return group.distance_degrees(first, second) <= RIGHT_DEGREES
