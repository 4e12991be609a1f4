"""Scores of all pairs, block by block, so that a run that was stopped goes on where it was.

Pairs (i, j), i < j, are in condensed order, so those of consecutive first particles lie next to each other: a block is
such a stretch, and a batch of a journal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from torch import Tensor

from gumnet.clustering.hierarchy import Distances
from gumnet.engine.place import Place
from gumnet.engine.run import run
from gumnet.engine.work import Work
from gumnet.journal import Journal
from gumnet.progress import Progress, progress


class PairScores(Protocol):
    """Scores of pairs of n particles, first particle by first particle."""

    @property
    def block(self) -> int:
        """How many pairs a block has, or more: its last first particle is done with all others."""

    def __len__(self) -> int: ...

    def rows(self, first: int, last: int, display: Progress) -> Tensor:
        """Return the scores of all pairs (i, j), first <= i < last and i < j, condensed, and count them as done."""


def pairs_before(first: int, n: int) -> int:
    """Return how many pairs of n particles come before those whose first particle is ``first``."""
    return first * n - first * (first + 1) // 2


def row_blocks(n: int, block: int) -> list[tuple[int, int]]:
    """Return stretches (first, last) of first particles, ``last`` not in, each with ``block`` pairs or more."""
    blocks, first = [], 0
    for last in range(1, n):
        if pairs_before(last, n) - pairs_before(first, n) >= block or last == n - 1:
            blocks.append((first, last))
            first = last
    return blocks


SCORES = "scores"
"""What a block is called in the result of a work that makes it."""


def all_scores(
    scores: PairScores,
    journal: Journal | None = None,
    *,
    shown: bool | None = None,
    elsewhere: tuple[Work, Place] | None = None,
) -> Distances:
    """Return the scores of all pairs of n particles, condensed, (n (n - 1) / 2,), float32.

    Parameters
    ----------
    journal
        Where finished blocks are kept, and read from where they are there already.
    shown
        Whether to show progress; by default on a terminal only.
    elsewhere
        A work that does the same for the first particles of a block, as `SCORES`, and where; in this process unless
        given.
    """
    n, block = len(scores), scores.block
    if journal is not None:
        block = journal.agree({"pairs a block": block})["pairs a block"]
    out = np.empty(pairs_before(n, n), dtype=np.float32)
    with progress("Comparing", len(out), unit="pairs", shown=shown) as display:
        todo: dict[int, range] = {}
        for number, (first, last) in enumerate(row_blocks(n, block)):
            if journal is not None and number in journal:
                part = out[pairs_before(first, n) : pairs_before(last, n)]
                part[:] = np.frombuffer(journal.read(number), dtype=np.float32)
                display.advance(len(part))
            else:
                todo[number] = range(first, last)
        for number, found in _made(scores, todo, elsewhere, display):
            rows = todo[number]
            out[pairs_before(rows.start, n) : pairs_before(rows.stop, n)] = found.numpy()
            if journal is not None:
                journal.add(number, found.numpy().astype(np.float32).tobytes())
    return out


def _made(
    scores: PairScores, todo: dict[int, range], elsewhere: tuple[Work, Place] | None, display: Progress
) -> Iterator[tuple[int, Tensor]]:
    """Yield blocks by number, as they are finished."""
    if elsewhere is None:
        for number, rows in todo.items():
            yield number, scores.rows(rows.start, rows.stop, display)
        return
    work, place = elsewhere
    for done in run(work, todo, place):
        assert done.result is not None  # nothing is tolerated
        yield done.number, done.result[SCORES]
        display.advance(len(done.result[SCORES]))
