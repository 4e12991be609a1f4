from __future__ import annotations

import re

import pytest
import torch

from gumnet.alignment.aligner import AlignerOptions
from gumnet.alignment.batch import KEPT_GIGABYTES, Shares, batching_for, shares_of
from gumnet.errors import InputError

CPU = torch.device("cpu")


def size(box: int, gigabytes: float | None = None, *, shared: bool = True, max_frequency: float | None = None) -> int:
    options = AlignerOptions(max_frequency=max_frequency)
    return batching_for(options, box, CPU, shared_reference=shared, memory_gigabytes=gigabytes, threads=1).size


def test_more_memory_holds_more_particles() -> None:
    sizes = [size(64, gigabytes) for gigabytes in (1.0, 2.0, 4.0)]
    assert sizes[0] < sizes[1] <= sizes[2]
    assert size(64, 2.0) == size(64), "2 GB unless told"
    assert size(64, shared=False) <= size(64), "a reference each takes memory each"
    assert size(64, max_frequency=0.15) >= size(64)
    assert size(96) >= 1


@pytest.mark.parametrize("box", [32, 64, 96])
@pytest.mark.parametrize("shared", [True, False])
def test_too_little_memory_is_answered_with_how_much_it_takes(box: int, shared: bool) -> None:
    with pytest.raises(InputError, match=rf"0.1 GB of memory do not hold one particle of box {box}; allow") as caught:
        size(box, 0.1, shared=shared)
    needed = re.search(r"allow ([\d.]+) GB", str(caught.value))
    assert needed is not None
    assert size(box, float(needed[1]), shared=shared) >= 1
    with pytest.raises(InputError):
        size(box, float(needed[1]) - 0.11, shared=shared)


@pytest.mark.parametrize("gigabytes", [-1.0, 0.0])
def test_no_memory_is_no_limit_to_keep(gigabytes: float) -> None:
    with pytest.raises(InputError, match="GB of memory"):
        size(32, gigabytes)


def test_a_batch_that_was_asked_for_goes_first() -> None:
    assert batching_for(AlignerOptions(), 96, CPU, shared_reference=True, wanted=7).size == 7


@pytest.mark.parametrize(("workers", "keepers"), [(1, 1), (1, 0), (3, 4)])
def test_a_limit_is_shared_by_alignment_kept_particles_and_what_else_there_is(workers: int, keepers: int) -> None:
    options, besides, count = AlignerOptions(), 0.3e9, 50_000

    def shared(gigabytes: float | None) -> Shares:
        return shares_of(
            gigabytes, options, 32, CPU, particles=count, workers=workers, keepers=keepers, besides=besides
        )

    assert shared(None) == Shares(KEPT_GIGABYTES if keepers else 0.0, None)
    with pytest.raises(InputError, match="allow") as caught:
        shared(0.4)
    needed = re.search(r"allow ([\d.]+) GB", str(caught.value))
    assert needed is not None
    with pytest.raises(InputError):
        shared(float(needed[1]) - 0.11)
    for limit in (float(needed[1]), float(needed[1]) + 2.0, 100.0):
        found = shared(limit)
        assert found.alignment_gigabytes is not None
        kept = keepers * found.kept_gigabytes
        assert kept + found.alignment_gigabytes + besides / 1e9 == pytest.approx(limit)
        assert 0 <= found.kept_gigabytes <= KEPT_GIGABYTES
        assert (found.kept_gigabytes > 0) == (keepers > 0)
        given = {"memory_gigabytes": found.alignment_gigabytes, "particles": count, "workers": workers}
        assert batching_for(options, 32, CPU, shared_reference=True, **given).size >= 1  # type: ignore[arg-type]
