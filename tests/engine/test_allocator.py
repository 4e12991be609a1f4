"""Memory that is freed is used again without being mapped anew."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_COUNT = """
import resource, sys, torch
from gumnet.engine.allocator import reuse_freed_memory
if "reuse" in sys.argv and not reuse_freed_memory():
    raise SystemExit("no glibc")
for _ in range(10):
    torch.ones(1 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    torch.ones(1 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*arguments: str) -> int:
    """Return the page faults of fifty tensors of 4 MB, one after the other, in a process as Dask starts it."""
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}
    call = [sys.executable, "-c", _COUNT, *arguments]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    if "no glibc" in done.stderr:
        pytest.skip("the C library is not glibc")
    return int(done.stdout)


def test_a_worker_of_dask_does_not_map_each_tensor_anew() -> None:
    pages = 50 * (4 << 20) // os.sysconf("SC_PAGE_SIZE")
    assert faults("reuse") < pages / 10
    if faults() < pages / 2:
        pytest.skip("this system maps pages so large that it does not show")
