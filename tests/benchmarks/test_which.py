"""Orders of methods follow from the tests that records keep, and --method auto from the orders."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gumnet.alignment.auto import PAIRS

NOISY = 1.0
"""SNR up to which pairs count as noisy."""


@pytest.fixture(scope="module")
def which(benchmarks: Path) -> ModuleType:
    return importlib.import_module("which")


def record(p: dict[tuple[str, str], float]) -> dict[str, Any]:
    level = {"snr": 0.1, "noise": "white"}
    means = {"exhaustive": 0.3, "matched": 0.2, "ht": 1.5, "narrow": 0.1}
    cells = [
        {
            **level,
            "method": name,
            "n": 4,
            "mean": {"frobenius": mean},
            "pairs": {"frobenius": [mean - 0.05, mean + 0.05] * 2},
        }
        for name, mean in means.items()
    ]
    tests = [
        {**level, "first": a, "second": b, "frobenius": {"mean": 0.1, "low": 0.0, "high": 0.2, "p": value, "n": 4}}
        for (a, b), value in p.items()
    ]
    return {"cells": cells, "paired_differences": tests}


def test_tests_are_adjusted_for_their_number_and_parts_of_methods_are_left_out(which: ModuleType) -> None:
    tests = {("exhaustive", "matched"): 0.03, ("ht", "exhaustive"): 0.001, ("ht", "matched"): 0.001}
    (found,) = which.ranked(record(tests))
    assert found.words() == "0.1 white"
    assert found.chain() == "matched 0.200 < exhaustive 0.300 < ht 1.500"
    assert found.order.adjusted["matched", "exhaustive"] == pytest.approx(0.03)
    assert found.order.adjusted["matched", "ht"] == pytest.approx(0.003)
    (found,) = which.ranked(record({**tests, ("exhaustive", "matched"): 0.06}))
    assert found.chain().startswith("matched 0.200 ~ exhaustive")
    assert found.order.tied_with_best() == ("exhaustive",)


def test_a_test_that_was_not_kept_is_made_but_for_a_baseline(which: ModuleType) -> None:
    (found,) = which.ranked(record({("ht", "exhaustive"): 0.001}))
    assert found.order.names == ("matched", "exhaustive"), "that of ht and matched is not there"
    # All four differences are 0.1: of 16 ways to sign them two are as extreme.
    assert found.order.adjusted["matched", "exhaustive"] == pytest.approx(2 / 16, abs=0.02)


def test_auto_takes_for_noisy_pairs_what_nothing_is_significantly_better_than(which: ModuleType) -> None:
    """Of every record on the page that has both methods; where pairs are clean it loses by less than half a degree."""
    tables = importlib.import_module("tables")
    page = tables.PAGES[0].read_text(encoding="utf-8")
    names = {
        name for found in tables.MARKED.finditer(page) if found["kind"] == "which" for name in found["files"].split()
    }
    levels = [
        level
        for name in names
        for level in which.ranked(json.loads((tables.RESULTS / name).read_text()))
        if PAIRS.method in level.means
    ]
    noisy = [level for level in levels if level.snr <= NOISY]
    assert len(noisy) >= 10
    for level in noisy:
        best = level.order.names[0]
        assert PAIRS.method in (best, *level.order.tied_with_best()), level.words()
    for level in levels:
        assert level.means[PAIRS.method] < min(level.means.values()) + 0.012, level.words()
