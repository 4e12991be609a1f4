"""Progress with rate and ETA: a bar on the terminal; elsewhere nothing, or, if asked for, a line now and then."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import TypeVar

T = TypeVar("T")

LOGGED: ContextVar[bool] = ContextVar("LOGGED", default=False)
"""Whether lines are written where standard error is no terminal, as for the log of a queue: with ``--verbose``."""
_FIRST_SECONDS, _MOST_SECONDS = 60.0, 1800.0
"""A log gets its first line after a minute, the next ones after twice the time each, and every half hour in the end."""


class Log:
    """Lines about how far a task is, few enough for the log of a run that takes days."""

    def __init__(self, description: str, total: int, unit: str) -> None:
        self._description, self._total, self._unit = description, total, unit
        self._done, self._began, self._wait = 0, monotonic(), _FIRST_SECONDS
        self._next = self._began + self._wait
        self._note = ""

    def advance(self, steps: int, note: str | None = None) -> None:
        """Count ``steps`` as done, and write a line if one is due, the last ``note`` at its end."""
        self._done += steps
        self._note = self._note if note is None else f"; {note}"
        now = monotonic()
        if now < self._next or self._done >= self._total:
            return
        self._wait = min(2 * self._wait, _MOST_SECONDS)
        self._next = now + self._wait
        seconds = now - self._began
        left = (self._total - self._done) * seconds / max(self._done, 1)
        of = "" if self._unit == "%" else f"of {self._total} "
        sys.stderr.write(
            f"{self._description}: {self._done} {of}{self._unit} in {_minutes(seconds)}, about {_minutes(left)} left"
            f"{self._note}\n"
        )
        sys.stderr.flush()


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Progress:
    """A running display of how far a task is; does nothing when not shown."""

    def __init__(self, description: str, total: int, *, unit: str, shown: bool, log: bool = False) -> None:
        self._bar = None
        self._log = Log(description, total, unit) if log and not shown else None
        if not shown:
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
        )
        self._unit = unit
        self._task = self._bar.add_task(description, total=total, rate="", note="")
        self._bar.start()

    def advance(self, steps: int = 1, note: str | None = None) -> None:
        """Count ``steps`` as done, and show ``note`` at the end of the line."""
        if self._log is not None:
            self._log.advance(steps, note)
        if self._bar is None:
            return
        self._bar.advance(self._task, steps)
        speed = self._bar.tasks[self._task].speed
        self._bar.update(self._task, rate=f"{speed:.3g} {self._unit}/s" if speed else "")
        if note is not None:
            self._bar.update(self._task, note=note)

    def close(self) -> None:
        """Take the display down."""
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def progress(description: str, total: int, *, unit: str = "particles", shown: bool | None = None) -> Iterator[Progress]:
    """Show progress over ``total`` steps on standard error while the block runs.

    Parameters
    ----------
    shown
        Whether to show it; by default where standard error is a terminal; elsewhere there are lines for a log
        where `LOGGED` is set.
    """
    log = shown is None and LOGGED.get()
    display = Progress(description, total, unit=unit, shown=sys.stderr.isatty() if shown is None else shown, log=log)
    try:
        yield display
    finally:
        display.close()


def track(items: Sequence[T], description: str, *, unit: str = "particles") -> Iterator[T]:
    """Yield ``items`` while showing progress over them."""
    with progress(description, len(items), unit=unit) as display:
        for item in items:
            yield item
            display.advance()
