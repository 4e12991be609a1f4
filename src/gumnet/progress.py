"""Progress with rate and ETA on the terminal; silent when the output is not one."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Progress:
    """A running display of how far a task is; does nothing when not shown."""

    def __init__(self, description: str, total: int, *, unit: str, shown: bool) -> None:
        self._bar = None
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
        Whether to show it; by default only when standard error is a terminal.
    """
    display = Progress(description, total, unit=unit, shown=sys.stderr.isatty() if shown is None else shown)
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
