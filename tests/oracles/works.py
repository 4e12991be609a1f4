"""Works whose results are known, and which fail in the ways that real ones do; workers import them by name."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import torch

from gumnet.engine.work import Result, Run, join_rows
from gumnet.errors import InputError


@dataclass(frozen=True)
class Square:
    """The square of each row, and who made it.

    Parameters
    ----------
    kill_once
        Rows whose process is killed the first time; a file in ``marks`` remembers, and one remembers each run.
    kill, fail, refuse
        Rows that always end the process, raise, or are bad input.
    most
        More rows than this do not fit the memory.
    """

    marks: Path | None = None
    kill_once: frozenset[int] = field(default_factory=frozenset)
    kill: frozenset[int] = field(default_factory=frozenset)
    fail: frozenset[int] = field(default_factory=frozenset)
    refuse: frozenset[int] = field(default_factory=frozenset)
    most: int | None = None

    def start(self, device: torch.device) -> Run:
        return self._run

    def join(self, parts: Sequence[Result]) -> Result:
        return join_rows(parts)

    def _run(self, rows: Sequence[int]) -> Result:
        if self.most is not None and len(rows) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if self.marks is not None:
            (self.marks / f"run-{uuid4().hex}").touch()
        for row in rows:
            if row in self.refuse:
                raise InputError(f"particle {row} holds NaN", cure="leave it out")
            if row in self.fail:
                raise ValueError(f"row {row} cannot be done")
            if row in self.kill or (row in self.kill_once and self._first_time(row)):
                os.kill(os.getpid(), signal.SIGKILL)
        values = torch.tensor(list(rows), dtype=torch.float64)
        return {"square": values**2, "process": torch.full((len(rows),), os.getpid())}

    def _first_time(self, row: int) -> bool:
        assert self.marks is not None
        mark = self.marks / f"row-{row}"
        if mark.exists():
            return False
        mark.touch()
        return True
