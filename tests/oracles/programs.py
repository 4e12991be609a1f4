"""gumnet as a program of its own, for tests that kill it or start several: forked from a server that has it loaded.

A new interpreter would load torch for two seconds each time.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch

# What commands load when they run; the server does it once.
from gumnet.averaging.start_config import Phase
from gumnet.cli.main import main

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


def _no_report(folder: Path, *_: object, **__: object) -> list[str]:
    (folder / "report.html" if folder.is_dir() else folder).touch()
    return []


QUICK: dict[str, Any] = {
    "gumnet.averaging.first_search.SCHEDULE": (Phase(2, 1, 1.0, 0.7), Phase(3, 1, 0.5, 0.7)),
    "gumnet.clustering.searched.PAIRS_A_BLOCK": 10,
    "gumnet.report.average.write_average_report": _no_report,
    "gumnet.cli.cluster._write_report": _no_report,
}
"""What makes programs quick: short first maps, small blocks of pairs, no figures."""


def start(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None, *, threads: int = 1
) -> ForkServerProcess:
    """Start gumnet, made `QUICK`, and return its process; what it says goes to a file."""
    process = _CONTEXT.Process(target=_run, args=(list(arguments), str(log), dict(environment or {}), threads))
    process.start()
    return process


def _run(arguments: list[str], log: str, environment: dict[str, str], threads: int) -> None:
    os.environ.update(environment)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    torch.set_num_threads(threads)
    for name, value in QUICK.items():
        module, _, attribute = name.rpartition(".")
        setattr(import_module(module), attribute, value)
    code = main(arguments)
    sys.stdout.flush()
    os._exit(code)
