"""Damaged files: every reader either reads them or says in one line what is wrong, within its limits.

A few files of each kind are damaged in every run of the tests, always the same; ``make fuzz MINUTES=10`` tries others
for that long. What fails is written to build/fuzz, and becomes a small test of its reader.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from gumnet.errors import InputError
from tests.fuzz.limits import bounded
from tests.fuzz.mutate import DAMAGE, Edit, damaged
from tests.fuzz.targets import TARGETS, Target

MINUTES = float(os.environ.get("GUMNET_FUZZ_MINUTES", "0"))
EXAMPLES = 300 if MINUTES else 8
FAILED = Path("build/fuzz")
"""Where what fails is kept, below the current folder."""
QUICK = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=not MINUTES,
    phases=(Phase.generate, Phase.shrink) if MINUTES else (Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


def read_all(target: Target, path: Path) -> None:
    """Give a file to all readers; what is no `InputError` is raised."""
    size = sum(file.stat().st_size for file in path.parent.iterdir() if file.is_file())
    for reader in target.readers:
        with bounded(size), contextlib.suppress(InputError):
            reader(path)


def _reads(reader: Callable[[Path], object], path: Path) -> bool:
    """Return whether a reader takes a file; its modules are loaded then."""
    try:
        reader(path)
    except InputError:
        return False
    return True


@pytest.mark.parametrize("name", TARGETS)
def test_a_damaged_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    whole, folder = tmp_path / "whole", tmp_path / "damaged"
    whole.mkdir()
    target.make(whole)
    taken = [_reads(reader, whole / target.name) for reader in target.readers]
    assert any(taken), "the whole file is of its kind"
    original = (whole / target.name).read_bytes()
    shutil.copytree(whole, folder)
    path = folder / target.name

    def attempt(edits: list[Edit]) -> None:
        path.write_bytes(damaged(original, edits))
        try:
            read_all(target, path)
        except BaseException:
            FAILED.mkdir(parents=True, exist_ok=True)
            (FAILED / f"{name}{path.suffix}").write_bytes(path.read_bytes())
            raise

    if not MINUTES:
        QUICK(given(edits=DAMAGE)(attempt))()
    end = time.process_time() + 60 * MINUTES / len(TARGETS)
    while time.process_time() < end:
        seed(time.time_ns())(QUICK(given(edits=DAMAGE)(attempt)))()
