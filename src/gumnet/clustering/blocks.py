"""Scores of all pairs, block by block, so that a run that was stopped goes on where it was.

Pairs (i, j), i < j, are in condensed order, so those of consecutive first particles lie next to each other: a block is
such a stretch. In its folder each block is a file of its own, there whole or not at all, beside ``run.json``, which
says what the run is of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gumnet.clustering.hierarchy import Distances
from gumnet.errors import InputError
from gumnet.io.atomic import write_whole
from gumnet.progress import Progress, progress

RUN = "run.json"


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


@dataclass(frozen=True)
class BlockStore:
    """A folder of blocks of one run."""

    folder: Path

    @classmethod
    def start(cls, folder: Path, run: Mapping[str, Any]) -> BlockStore:
        """Return an empty store for a run; what an earlier one left in the folder is removed."""
        cls(folder).remove()
        with write_whole(folder / RUN) as temporary:
            temporary.write_text(json.dumps(dict(run), indent=2) + "\n", encoding="utf-8")
        return cls(folder)

    @classmethod
    def resume(cls, folder: Path, run: Mapping[str, Any]) -> BlockStore:
        """Return the store that the same run left in the folder.

        Raises
        ------
        InputError
            If there is none, or if it is of other particles or settings.
        """
        path = folder / RUN
        if not path.is_file():
            raise InputError("there is no run to resume here", cure="leave out --resume", path=folder.parent)
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise InputError("cannot be read as JSON", cure="start anew with --overwrite", path=path) from None
        for name, value in json.loads(json.dumps(dict(run))).items():
            if before.get(name) != value:
                raise InputError(
                    f"the run was started with {name} {before.get(name)}, not {value}",
                    cure="resume with the same particles and settings, or start anew with --overwrite",
                    path=path,
                )
        return cls(folder)

    def done(self) -> list[Path]:
        """Return the files of the blocks that are done."""
        return sorted(self.folder.glob("rows_*.npy"))

    def remove(self) -> None:
        """Remove the blocks, and the folder unless it holds something else."""
        # A run that was killed while it wrote leaves a file under its temporary name.
        halves = [*self.folder.glob(".rows_*.tmp.npy"), *self.folder.glob(".run.*.tmp.json")]
        for path in (*self.done(), *halves, self.folder / RUN):
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _path(self, first: int, last: int) -> Path:
        return self.folder / f"rows_{first:07d}_{last:07d}.npy"

    def read(self, first: int, last: int, count: int) -> Distances | None:
        """Return the ``count`` scores of a block, or None if it is not done."""
        path = self._path(first, last)
        if not path.is_file():
            return None
        try:
            values = np.load(path, allow_pickle=False)
        except (OSError, ValueError):
            values = np.zeros(0)
        if values.shape != (count,) or values.dtype != np.float32:
            raise InputError(f"does not hold the scores of {count} pairs", cure="remove it and resume", path=path)
        return np.asarray(values, dtype=np.float32)

    def write(self, first: int, last: int, scores: Distances) -> None:
        """Keep the scores of a block."""
        with write_whole(self._path(first, last), overwrite=True) as temporary:
            np.save(temporary, scores, allow_pickle=False)


def all_scores(scores: PairScores, store: BlockStore | None = None, *, shown: bool | None = None) -> Distances:
    """Return the scores of all pairs of n particles, condensed, (n (n - 1) / 2,), float32.

    Parameters
    ----------
    store
        Where finished blocks are kept, and read from where they are there already.
    shown
        Whether to show progress; by default on a terminal only.
    """
    n = len(scores)
    out = np.empty(pairs_before(n, n), dtype=np.float32)
    with progress("Comparing", len(out), unit="pairs", shown=shown) as display:
        for first, last in row_blocks(n, scores.block):
            part = slice(pairs_before(first, n), pairs_before(last, n))
            count = part.stop - part.start
            kept = None if store is None else store.read(first, last, count)
            if kept is None:
                kept = scores.rows(first, last, display).to(torch.float32).numpy()
                if store is not None:
                    store.write(first, last, kept)
            else:
                display.advance(count)
            out[part] = kept
    return out


def batches(rows: Sequence[int], size: int) -> list[list[int]]:
    """Return ``rows`` in order, ``size`` at a time."""
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]
