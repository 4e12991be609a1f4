"""What a place where batches run can do, and the simplest one: this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

import torch

from gumnet.engine.work import Answer, Runner, Work


class Backend(Protocol):
    """Runs batches in any order, `slots` at a time. As a context manager it ends its workers."""

    @property
    def slots(self) -> int:
        """How many batches to have handed out at a time, so that no worker waits."""

    def submit(self, ticket: int, rows: Sequence[int]) -> None:
        """Hand a batch out; its answer will have the ticket."""

    def next(self) -> Answer:
        """Wait for the next answer. A worker that died gives one too, with a reason, and is replaced."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None: ...


class InProcess:
    """Runs batches in this process, one after the other, when their answers are asked for."""

    slots = 1

    def __init__(self, work: Work, device: torch.device) -> None:
        self._runner = Runner(work, device)
        self._waiting: deque[tuple[int, Sequence[int]]] = deque()

    def submit(self, ticket: int, rows: Sequence[int]) -> None:
        """Remember a batch."""
        self._waiting.append((ticket, rows))

    def next(self) -> Answer:
        """Run the batch that waited longest."""
        return self._runner.answer(*self._waiting.popleft())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._waiting.clear()
