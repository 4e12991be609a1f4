"""``gumnet benchmark``: its commands, and the options that they share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import App, Parameter

from gumnet.cli.benchmark_accuracy import accuracy

benchmark = App(
    name="benchmark",
    help="""Measure accuracy, averages and speed of every method on this machine.

Example
    gumnet benchmark accuracy --out accuracy --quick
    gumnet benchmark averaging --out averaging --quick
    gumnet benchmark speed --out speed --quick""",
    help_format="plaintext",
)
"""The command; each of its own commands has ``--help``."""

for _number, _command in enumerate((accuracy,)):
    benchmark.command(_command, sort_key=_number)
