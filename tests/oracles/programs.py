"""gumnet as a program of its own, for tests that kill it or start several: forked from a server that has it loaded.

A new interpreter would load torch for two seconds each time.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import torch

# What commands load when they run; the server does it once.
import gumnet.averaging.joint
import gumnet.clustering.run
import gumnet.report.average
import gumnet.report.cluster
import gumnet.training.loop
from gumnet.averaging import begin
from gumnet.averaging.start_config import Phase
from gumnet.cli.main import main
from gumnet.clustering import searched

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])
SCHEDULE = (Phase(2, 1, 1.0, 0.7), Phase(3, 1, 0.5, 0.7))
"""First maps of an average in a second."""
PAIRS_A_BLOCK = 10
"""Blocks of distances in a part of a second."""


def start(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None, *, threads: int = 1
) -> ForkServerProcess:
    """Start gumnet and return its process; what it says goes to a file, and averages have short first maps."""
    process = _CONTEXT.Process(target=_run, args=(list(arguments), str(log), dict(environment or {}), threads))
    process.start()
    return process


def _run(arguments: list[str], log: str, environment: dict[str, str], threads: int) -> None:
    os.environ.update(environment)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    torch.set_num_threads(threads)
    begin.SCHEDULE = SCHEDULE
    searched.PAIRS_A_BLOCK = PAIRS_A_BLOCK
    code = main(arguments)
    sys.stdout.flush()
    os._exit(code)
