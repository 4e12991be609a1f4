from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from gumnet.alignment.aligner import AlignerOptions, SideBySide, make_aligner
from gumnet.alignment.batch import batching_for, peak_bytes
from gumnet.engine.threads import side_by_side
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.wedge import missing_wedge
from tests.oracles.gaussians import density

CPU = torch.device("cpu")


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_parts_run_at_the_same_time_and_share_the_threads(two_threads: None) -> None:
    meeting = threading.Barrier(2, timeout=60)
    threads: list[int] = []

    def work(_: int) -> None:
        meeting.wait()  # breaks unless another part is in it, too
        threads.append(torch.get_num_threads())

    side_by_side(work, range(4), most=4)
    assert threads == [1, 1, 1, 1]
    assert torch.get_num_threads() == 2


def test_parts_are_read_only_as_workers_come_free(two_threads: None) -> None:
    done: list[int] = []

    def parts() -> Iterator[int]:
        for i in range(6):
            assert i - len(done) <= 2, "more than the workers hold would lie in memory"
            yield i

    side_by_side(done.append, parts(), most=2)
    assert sorted(done) == list(range(6))


@pytest.mark.parametrize("most", [1, 2])
def test_what_a_part_raises_comes_out(two_threads: None, most: int) -> None:
    def work(i: int) -> None:
        if i == 1:
            raise ValueError(str(i))

    with pytest.raises(ValueError, match="1"):
        side_by_side(work, range(3), most=most)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("own", [False, True], ids=["one reference", "one each"])
def test_an_aligner_gives_the_same_poses_side_by_side(own: bool, two_threads: None, generator: torch.Generator) -> None:
    box, wedge = 16, missing_wedge(16, 60.0)[None]
    turns = random_rotations(5, generator=generator)
    volumes = torch.stack([density(box, turn) for turn in turns]).float()
    reference = volumes.flip(0) if own else volumes[:1]
    volumes = volumes + 0.2 * torch.randn(volumes.shape, generator=generator)
    weights = wedge.expand(5, -1, -1, -1) if own else None
    one, two = (make_aligner("exhaustive", AlignerOptions(at_once=n), CPU) for n in (1, 2))
    assert isinstance(two, SideBySide)
    alone, shared = (aligner.align(reference, volumes, weights, wedge) for aligner in (one, two))
    for column in ("rotations", "shifts", "scores", "confidences"):
        torch.testing.assert_close(getattr(shared, column), getattr(alone, column), atol=1e-3, rtol=0)


def test_parts_side_by_side_stay_within_memory() -> None:
    found = [
        batching_for(AlignerOptions(), 48, CPU, shared_reference=True, memory_gigabytes=gigabytes, threads=8)
        for gigabytes in (1.0, 2.0, 4.0, 64.0)
    ]
    counts = [batching.at_once for batching in found]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] == 8
    for gigabytes, batching in zip((1.0, 2.0, 4.0, 64.0), found, strict=True):
        assert peak_bytes(AlignerOptions(), 48, batching, shared_reference=True) <= gigabytes * 1e9
    assert batching_for(AlignerOptions(), 48, CPU, shared_reference=True, wanted=2, threads=8).at_once <= 2
