"""Blocks of pairs: whole, and found again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gumnet.clustering.blocks import all_scores, pairs_before, row_blocks
from gumnet.journal import Journal
from gumnet.progress import Progress

N = 9


@dataclass
class Counted:
    """Scores 100 i + j, which remember what was asked for, and can fail."""

    block: int = 10
    fails_at: int = N
    asked: list[tuple[int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return N

    def rows(self, first: int, last: int, display: Progress) -> Tensor:
        if last > self.fails_at:
            raise KeyboardInterrupt
        self.asked.append((first, last))
        return torch.tensor([100.0 * i + j for i in range(first, last) for j in range(i + 1, N)])


EXPECTED = np.array([100.0 * i + j for i in range(N) for j in range(i + 1, N)], dtype=np.float32)


@pytest.mark.parametrize("block", [1, 10, 20, 1000])
def test_blocks_hold_each_pair_once_and_enough_of_them(block: int) -> None:
    blocks = row_blocks(N, block)
    assert [i for first, last in blocks for i in range(first, last)] == list(range(N - 1))
    assert all(pairs_before(last, N) - pairs_before(first, N) >= block for first, last in blocks[:-1])
    assert np.array_equal(all_scores(Counted(block)), EXPECTED)


def test_a_run_that_stopped_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    stopped = Counted(fails_at=3)
    run: dict[str, Any] = {"path": tmp_path / "journal", "settings": {"--method": "exhaustive"}, "inputs": {}}
    with pytest.raises(KeyboardInterrupt), Journal.open(**run) as journal:
        all_scores(stopped, journal)
    assert stopped.asked, "something was done before"
    # Of other blocks, as less memory would ask for: a run keeps those that it began with.
    resumed = Counted(block=1)
    with Journal.open(**run, resume=True) as journal:
        assert np.array_equal(all_scores(resumed, journal), EXPECTED)
    assert resumed.asked
    assert sorted(stopped.asked + resumed.asked) == row_blocks(N, Counted().block), "nothing is done twice"
