"""Limits that a reader has to keep to: nothing but `InputError`, seconds of a processor, and a few times the file."""

from __future__ import annotations

import resource
import signal
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SECONDS = 5
"""Of this process's own time, so that a busy machine does not matter; the files take milliseconds."""
TIMES_THE_FILE = 10
SMALL = 2 * 2**20
"""Bytes that any reader may take: tables of four rows are objects and indices more than numbers."""
UNSEEN = 2**30
"""Bytes that may be taken beyond tracemalloc's sight, by torch and HDF5: an allocation above fails."""


class TooMuchError(AssertionError):
    """A reader took more memory than it may."""


class TooLongError(AssertionError):
    """A reader took more time than it may."""


@contextmanager
def bounded(size: int) -> Iterator[None]:
    """Run a block that reads files of ``size`` bytes in all under the limits; tracemalloc is on while it runs."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise TooLongError(f"more than {SECONDS} s")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGVTALRM, stop)
    tracemalloc.start()
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + UNSEEN, hard))
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
        if peak > TIMES_THE_FILE * size + SMALL:
            raise TooMuchError(f"{peak} bytes for a file of {size}")
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        tracemalloc.stop()
        signal.signal(signal.SIGVTALRM, before)
