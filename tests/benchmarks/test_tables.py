"""The tables of the pages are those of the results files that they name, and of nothing else."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

from gumnet.errors import InputError

RECORD = {
    "date": "2026-01-02T03:04:05+00:00",
    "commit": "abc1234",
    "hardware": {"cpu": "Some CPU", "cores": 2, "threads": 1, "load": 0.25},
    "command": "python benchmarks/box_size.py",
    "cells": [{"box": 32, "what": "pairs", "n": 8, "seconds": {"cpu": 0.12345}, "peak_mebibytes": 760.2}],
}
PAGE = "Before.\n\n<!-- table box-size a.json -->\n| typed | by hand |\n<!-- end -->\n\nAfter.\n"


@pytest.fixture(scope="module")
def tables(benchmarks: Path) -> ModuleType:
    return importlib.import_module("tables")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "a.json").write_text(json.dumps(RECORD))
    return tmp_path


def test_what_is_typed_by_hand_is_replaced_and_the_rest_stays(tables: ModuleType, results: Path) -> None:
    page = tables.filled(PAGE, results)
    assert "typed" not in page
    assert "| 32 | pairs | 8 | 0.123 | 760 MiB |" in page
    for words in ("`results/a.json`", "2026-01-02", "Some CPU", "abc1234", "`python benchmarks/box_size.py`"):
        assert words in page
    assert page.startswith("Before.")
    assert page.endswith("After.\n")
    assert tables.filled(page, results) == page, "a second time changes nothing"


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (PAGE.replace("box-size", "nonsense"), "no such kind of table: nonsense"),
        (PAGE.replace("a.json", "b.json"), "b.json"),
        (PAGE.replace("box-size", "temper"), "holds no 'levels'"),
        (PAGE.replace("<!-- end -->\n", ""), "has no end"),
    ],
)
def test_markers_that_cannot_be_filled_are_refused(tables: ModuleType, results: Path, page: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        tables.filled(page, results)
    assert words in str(caught.value)


def test_the_pages_say_what_the_files_say(tables: ModuleType) -> None:
    for path in tables.PAGES:
        page = path.read_text(encoding="utf-8")
        assert tables.filled(page, path=path) == page, "run python benchmarks/tables.py"
    assert tables.MARKED.search(tables.PAGES[0].read_text(encoding="utf-8"))
