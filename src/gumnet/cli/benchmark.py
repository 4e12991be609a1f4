"""``gumnet benchmark``: its commands, and the options that they share."""

from __future__ import annotations

from cyclopts import App

from gumnet.cli.benchmark_accuracy import accuracy
from gumnet.cli.benchmark_averaging import averaging
from gumnet.cli.benchmark_speed import speed

benchmark = App(
    name="benchmark",
    help="""Measure every method on this machine.

Example
    gumnet benchmark accuracy --out accuracy --quick
    gumnet benchmark averaging --out averaging --quick
    gumnet benchmark speed --out speed --quick""",
    help_format="plaintext",
)
"""The command; each of its own commands has ``--help``."""

benchmark.command(accuracy, sort_key=0)
benchmark.command(averaging, sort_key=1)
benchmark.command(speed, sort_key=2)
