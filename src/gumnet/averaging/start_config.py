"""What the search for first maps is told, and what it tells of its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gumnet.geometry.symmetry import PointGroup


@dataclass(frozen=True)
class Phase:
    """Steps in one band.

    Parameters
    ----------
    shells
        Highest shell.
    steps
        How many, at most.
    caution
        Shells count by the power that is in common to this power, times that of the structure to the rest: 1 to 0.
    stride
        How much further than a step leads the maps go: the difference of two steps times this is added.
    """

    shells: int
    steps: int
    caution: float
    stride: float


SCHEDULE = (
    Phase(4, 12, 1.0, 0.7),
    Phase(5, 16, 0.5, 0.7),
    Phase(6, 6, 0.5, 0.6),
    Phase(7, 10, 0.5, 0.3),
    Phase(8, 8, 0.5, 0.3),
    Phase(9, 6, 0.5, 0.3),
)
"""Shell 7 is 55 A in a box of 32 voxels of 12 A. Where most particles are sure of their pose there, the search over all
rotations finds every particle with these maps; where noise is strong, finer shells tell more. What grows slowly in
shell 6, as a proteasome does, grows fast in shell 7: half of twelve steps there do as well (docs/joint.md)."""
SURE = 0.5
"""Mean probability of a particle's best pose from which on no further phase is needed."""
SURE_SHELLS = 7
"""Up to this shell, phases are left out only where particles are all but certain of their poses."""
FINE_PARTICLES = 100
"""Fewer particles do not fill finer shells than these, and a step there costs seconds however few they are."""
ALL_SURE = 0.9
"""The same for these phases: noise is weak then, and the search finds every particle with a coarser map too."""
FIRST_CHOICE = 2
"""After this phase the better half of the starts goes on, and again after each that follows."""


@dataclass(frozen=True)
class StartConfig:
    """How first maps are made.

    Parameters
    ----------
    classes
        How many.
    max_shift
        Largest shift of a particle along each axis, in voxels.
    schedule
        The phases, in turn.
    folds
        Into how many parts particles are dealt, an even number: each is compared with maps of the others.
    starts
        Random starts. After the second phase the better half of them goes on, after the third the best.
    batch
        Most particles in a step, a class; of larger sets each step draws anew.
    symmetry
        Point group that the maps have; none unless given.
    """

    classes: int = 1
    max_shift: float = 4.0
    schedule: tuple[Phase, ...] = SCHEDULE
    folds: int = 4
    starts: int = 3
    batch: int = 1000
    symmetry: PointGroup | None = None

    def starts_after(self, phase: int) -> int:
        """Return how many starts go on after a phase, counted from 1; all do before the first."""
        left = self.starts
        for _ in range(FIRST_CHOICE, phase + 1):
            left = (left + 1) // 2
        return left


@dataclass(frozen=True)
class StartStep:
    """What one step reached.

    Parameters
    ----------
    start
        Number of the start, from 1.
    shells
        Highest shell.
    evidence
        Mean logarithm of how much likelier the maps of others make a particle than no structure does.
    shares
        Shares of the classes.
    sureness
        Mean probability of a particle's best pose.
    refilled
        Classes, from 1, that were lost and got the worse half of a large one.
    """

    start: int
    shells: int
    evidence: float
    shares: tuple[float, ...]
    sureness: float
    refilled: tuple[int, ...] = ()


OnStep = Callable[[StartStep], None]
