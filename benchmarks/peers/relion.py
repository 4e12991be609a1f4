"""RELION 3.1 (GPL), run as programs: what all of them share."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from shutil import which

from gumnet.benchmark.seconds import Seconds


def missing(program: str) -> str | None:
    """Return why a program cannot run, or None."""
    return None if which(program) else f"{program} of RELION 3.1 is not on the PATH"


def version(program: str) -> str:
    """Return the version that a program says it has."""
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return next(word for line in told.splitlines() if "ersion" in line for word in line.split() if word[0].isdigit())


def run(command: Sequence[str | Path], folder: Path) -> Seconds:
    """Run a program in a folder, on one thread, and return what that cost; raise `RuntimeError` where it fails."""
    words = [str(word) for word in command]
    start = Seconds.now()
    done = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    cost = Seconds.now() - start
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return cost
