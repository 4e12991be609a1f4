"""The accuracy table as figures to keep: cells with intervals, and the order of methods at each level."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gumnet.benchmark.accuracy import Cell
from gumnet.benchmark.found import Found, rounded
from gumnet.benchmark.intervals import Interval, mean_interval, rate_interval, share_interval
from gumnet.benchmark.level import Level
from gumnet.benchmark.measured import KINDS
from gumnet.benchmark.order import Order
from gumnet.benchmark.rows import BOUND, JOINT
from gumnet.evaluation.metrics import FAILURE_FROBENIUS

COLUMNS = (*KINDS, "failure_rate", "seconds", "cpu_seconds")
"""What a cell has a mean and an interval of: rotation (Frobenius and degrees), shifts in voxels, failures, seconds."""


def figures(found: Found) -> dict[str, Any]:
    """Return the figures of a row in a cell: means with 95 % intervals, and the errors of every pair."""
    failed = int((found.errors.frobenius > FAILURE_FROBENIUS).sum())
    counts = [timing.count for timing in found.timings]
    columns: dict[str, Interval] = {kind: mean_interval(getattr(found.errors, kind)) for kind in KINDS}
    columns["failure_rate"] = share_interval(failed, len(found.errors))
    columns["seconds"] = rate_interval(counts, [timing.seconds.wall for timing in found.timings])
    columns["cpu_seconds"] = rate_interval(counts, [timing.seconds.cpu for timing in found.timings])
    return {
        "n": len(found.errors),
        "mean": {name: interval.mean for name, interval in columns.items()},
        "interval_95": {name: [interval.low, interval.high] for name, interval in columns.items()},
        "median_frobenius": float(found.errors.frobenius.median()),
        "std": {kind: float(getattr(found.errors, kind).std()) for kind in KINDS},
        "notes": list(found.notes),
        "pairs": {kind: rounded(getattr(found.errors, kind)) for kind in KINDS},
    }


def levels_of(cells: Iterable[Cell]) -> list[Level]:
    """Return the levels of cells, each once, in order."""
    return list(dict.fromkeys(cell.level for cell in cells))


def accuracy_figures(cells: Sequence[Cell]) -> dict[str, Any]:
    """Return all cells as figures, with the order of methods at each level, of which the bound is none."""
    orders = []
    for level in levels_of(cells):
        here = {cell.row: cell.found.errors.frobenius for cell in cells if cell.level == level}
        methods = {row: errors for row, errors in here.items() if row != BOUND}
        entry: dict[str, Any] = {**vars(level), "colour": level.colour}
        if methods:
            entry |= Order.of(methods).figures()
        if JOINT in here and BOUND in here:
            entry["joint_over_bound"] = float(here[JOINT].mean() / here[BOUND].mean())
        orders.append(entry)
    return {
        "cells": [
            {**vars(cell.level), "colour": cell.level.colour, "method": cell.row, **figures(cell.found)}
            for cell in cells
        ],
        "orders": orders,
    }


def csv_rows(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one row a cell and method: means and ends of the intervals, in columns of their own."""
    rows = []
    for cell in record["cells"]:
        row = {name: cell[name] for name in ("snr", "colour", "method", "n")}
        for name in COLUMNS:
            low, high = cell["interval_95"][name]
            row |= {name: cell["mean"][name], f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return rows
