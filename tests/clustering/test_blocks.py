"""Blocks of pairs: whole, found again, and those of another run refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gumnet.clustering.blocks import BlockStore, all_scores, pairs_before, row_blocks
from gumnet.errors import InputError
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
    run = {"method": "exhaustive", "max_shift": None}
    stopped = Counted(fails_at=3)
    with pytest.raises(KeyboardInterrupt):
        all_scores(stopped, BlockStore.start(tmp_path / "blocks", run))
    assert stopped.asked, "something was done before"
    resumed = Counted()
    store = BlockStore.resume(tmp_path / "blocks", run)
    assert np.array_equal(all_scores(resumed, store), EXPECTED)
    assert resumed.asked
    assert not set(resumed.asked) & set(stopped.asked), "nothing is done twice"
    store.remove()
    assert not list(tmp_path.iterdir())


def test_a_new_run_clears_its_blocks_and_no_other_file(tmp_path: Path) -> None:
    all_scores(Counted(), BlockStore.start(tmp_path, {"method": "ht"}))
    (tmp_path / "mine.txt").write_text("kept")
    (tmp_path / ".rows_0000000_0000002.abcd.tmp.npy").write_text("a run was killed here")
    fresh = Counted()
    store = BlockStore.start(tmp_path, {"method": "fa"})
    all_scores(fresh, store)
    assert fresh.asked[0] == (0, 2)
    store.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_cannot_be_resumed_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run to resume"):
        BlockStore.resume(tmp_path / "blocks", {})
    store = BlockStore.start(tmp_path / "blocks", {"method": "ht"})
    with pytest.raises(InputError, match="started with method ht, not fa"):
        BlockStore.resume(tmp_path / "blocks", {"method": "fa"})
    all_scores(Counted(), store)
    store.done()[1].write_bytes(b"broken")
    with pytest.raises(InputError, match=r"rows_.*remove it and resume"):
        all_scores(Counted(), store)
    (tmp_path / "blocks" / "run.json").write_text("{")
    with pytest.raises(InputError, match="JSON"):
        BlockStore.resume(tmp_path / "blocks", {})
