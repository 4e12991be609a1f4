"""What an average is said to take in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from gumnet.averaging.config import AverageConfig
from gumnet.averaging.joint import average
from gumnet.averaging.memory import average_bytes, average_shares, sums_bytes
from gumnet.errors import InputError
from gumnet.particles import MemorySource, Particles, Poses

CPU = torch.device("cpu")
BOX = 32


class OnDisk:
    """Volumes that nobody should have to read."""

    def __init__(self, count: int) -> None:
        self.count, self.box, self.reads = count, BOX, 0

    def __len__(self) -> int:
        return self.count

    def read(self, indices: Sequence[int]) -> torch.Tensor:
        self.reads += len(indices)
        return torch.zeros(len(indices), BOX, BOX, BOX)


def particles(count: int) -> Particles:
    return Particles(OnDisk(count), Poses.identity(count), 10.0)


def test_the_sums_grow_by_one_a_doubling() -> None:
    one = sums_bytes(BOX, 4000) - sums_bytes(BOX, 2000)
    assert one > 3 * 8 * BOX**3
    assert sums_bytes(BOX, 8000) - sums_bytes(BOX, 4000) == one
    assert sums_bytes(2 * BOX, 2000) == pytest.approx(8 * sums_bytes(BOX, 2000), rel=0.3)


@pytest.mark.parametrize("gigabytes", [1.3, 1.5, 3.0])
def test_what_is_said_stays_below_the_limit(gigabytes: float) -> None:
    some = particles(20_000)
    assert 0.6 * gigabytes * 1e9 < average_bytes(some, gigabytes, CPU) <= gigabytes * 1e9
    with pytest.raises(InputError, match=r"allow 1\.3 GB"):  # first maps keep 0.6 GB of as many particles
        average_bytes(some, 1.0, CPU)
    assert average_bytes(some, None, CPU) > 2.6e9, "all 20,000 volumes are kept"
    held = replace(some, volumes=MemorySource(torch.zeros(()).expand(20_000, BOX, BOX, BOX)))
    assert average_bytes(held, None, CPU) < 1.5e9, "those that are in memory already are not kept twice"


def test_particles_are_kept_where_one_process_reads_them_again() -> None:
    some, config = particles(100), AverageConfig(memory_gigabytes=3.0)
    assert average_shares(config, some, workers=1, device=CPU).kept_gigabytes > 0.5
    assert average_shares(config, some, workers=2, device=CPU).kept_gigabytes == 0
    assert average_shares(config, some, workers=1, device=CPU, keeps=False).kept_gigabytes == 0
    assert average_shares(replace(config, iterations=0), some, workers=1, device=CPU).kept_gigabytes == 0


def test_too_little_memory_is_said_before_anything_is_read() -> None:
    some = particles(10)
    with pytest.raises(InputError, match=r"0\.2 GB of memory do not hold one particle of box 32; allow"):
        average(some, AverageConfig(memory_gigabytes=0.2, device="cpu"))
    assert isinstance(some.volumes, OnDisk)
    assert some.volumes.reads == 0
