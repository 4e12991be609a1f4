"""Table 1: errors of every method on the same simulated pairs, at every level of noise.

A run is cut into tasks, one for each row on each part of each cell, which a journal keeps as they finish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from gumnet.benchmark.eta import Eta
from gumnet.benchmark.found import Found, Run
from gumnet.benchmark.level import Level
from gumnet.benchmark.part import Part
from gumnet.benchmark.rows import BOUND, JOINT, MIXED
from gumnet.benchmark.structures import Structures
from gumnet.errors import InputError
from gumnet.journal import Journal

LEAST_PAIRS = 2
"""Of a structure: joint alignment deals the four volumes of two pairs to two halves."""

_GUESSES = {
    "ht": 0.2,
    "fa": 0.5,
    "exhaustive": 0.15,
    "matched": 0.3,
    "gumnet": 0.25,
    "gumnet-refined": 0.3,
    JOINT: 6.0,
    MIXED: 20.0,
    BOUND: 0.3,
}
"""Seconds a pair on one core, until a row has told its own."""


@dataclass(frozen=True)
class Task:
    """A row on part of a cell: the pairs of one structure, or of all of them (``part`` None)."""

    number: int
    level: Level
    row: str
    part: int | None


@dataclass(frozen=True)
class AccuracyPlan:
    """What is measured.

    Parameters
    ----------
    structures, levels, rows
        A cell is a level; all rows get the same pairs of all structures.
    pairs
        In a cell, all structures together; each gets as many, the first ones one more where that does not divide.
    seed
        Of poses and noise, the same at every level.
    left_out
        For rows that some levels leave out, the SNR below which they do.
    """

    structures: Structures
    levels: tuple[Level, ...]
    rows: tuple[str, ...]
    pairs: int
    seed: int = 0
    left_out: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        least = LEAST_PAIRS * len(self.structures)
        if self.pairs < least:
            cure = f"give {least} or more, {LEAST_PAIRS} for each of {len(self.structures)} structures"
            raise InputError(f"--pairs {self.pairs} is too few", cure=cure)

    def count(self, number: int) -> int:
        """Return how many pairs structure ``number`` gets in a cell."""
        each, more = divmod(self.pairs, len(self.structures))
        return each + (number < more)

    def runs_at(self, row: str, level: Level) -> bool:
        """Return whether a row is measured at a level."""
        return level.snr >= (self.left_out or {}).get(row, 0.0)

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks in order: by level, by row, by structure."""
        found: list[Task] = []
        for level in self.levels:
            for row in self.rows:
                if not self.runs_at(row, level):
                    continue
                for part in (None,) if row == MIXED else range(len(self.structures)):
                    found.append(Task(len(found), level, row, part))
        return tuple(found)

    def units(self, task: Task) -> int:
        """Return how many pairs a task holds."""
        return self.pairs if task.part is None else self.count(task.part)


@dataclass(frozen=True)
class Cell:
    """What a row found at a level, on all pairs of the cell."""

    level: Level
    row: str
    found: Found


Tell = Callable[[Cell, Eta], None]
"""Called when a row of a cell is whole, also where a journal had it."""


def measure(
    plan: AccuracyPlan, runs: Mapping[str, Run], *, journal: Journal | None = None, tell: Tell | None = None
) -> list[Cell]:
    """Return what every row found in every cell.

    Parameters
    ----------
    runs
        How each row of the plan does it.
    journal
        Keeps finished tasks, and gives those of an earlier run.
    """
    left: dict[str, int] = {}
    for task in plan.tasks:
        left[task.row] = left.get(task.row, 0) + plan.units(task)
    eta = Eta(left, _GUESSES)
    parts, warm = _Parts(plan), set[str]()
    cells: list[Cell] = []
    of_row: list[Found] = []
    for task, following in _with_next(plan.tasks):
        if journal is not None and task.number in journal:
            found = Found.of_bytes(journal.read(task.number))
        else:
            part = parts.get(task)
            if task.row not in warm and task.row not in (JOINT, MIXED):
                runs[task.row](_few(part))  # the first call warms up
                warm.add(task.row)
            found = runs[task.row](part)
            if journal is not None:
                journal.add(task.number, found.to_bytes())
        eta.done(task.row, plan.units(task), sum(timing.seconds.wall for timing in found.timings))
        of_row.append(found)
        if following is None or (following.level, following.row) != (task.level, task.row):
            cells.append(Cell(task.level, task.row, Found.joined(of_row)))
            of_row = []
            if tell is not None:
                tell(cells[-1], eta)
    return cells


class _Parts:
    """The parts of a level, made when they are first asked for."""

    def __init__(self, plan: AccuracyPlan) -> None:
        self._plan = plan
        self._level: Level | None = None
        self._made: dict[int, Part] = {}

    def get(self, task: Task) -> Part:
        if task.level != self._level:
            self._level, self._made = task.level, {}
        if task.part is None:
            return Part.joined([self._one(number) for number in range(len(self._plan.structures))])
        return self._one(task.part)

    def _one(self, number: int) -> Part:
        if number not in self._made:
            assert self._level is not None
            structure = self._plan.structures.volumes[number]
            self._made[number] = Part.of(structure, number, self._level, self._plan.count(number), self._plan.seed)
        return self._made[number]


def _few(part: Part) -> Part:
    rows = slice(LEAST_PAIRS)
    particles = part.particles.select(range(2 * LEAST_PAIRS))
    return Part(part.pairs.rows(rows), particles, part.reference, part.structures)


def _with_next(tasks: tuple[Task, ...]) -> Iterator[tuple[Task, Task | None]]:
    yield from zip(tasks, (*tasks[1:], None), strict=True)
