"""Records say where figures come from, and are read back only if they do."""

from __future__ import annotations

import csv
import math
import subprocess
from pathlib import Path

import pytest

from gumnet.benchmark import record
from gumnet.benchmark.markdown import number, share_with_interval, table, with_interval
from gumnet.benchmark.record import commit, provenance, provenance_words, read_record, write_csv, write_record
from gumnet.errors import InputError


def test_a_record_comes_back_with_its_provenance(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_record(path, {**provenance("gumnet benchmark speed"), "value": math.inf, "pairs": (1.5, math.nan)})
    found = read_record(path)
    assert found["value"] is None
    assert found["pairs"] == [1.5, None]
    assert set(found["hardware"]) >= {"cpu", "cores", "gpu", "threads", "load", "torch", "python"}
    assert "`gumnet benchmark speed`" in provenance_words(found)


def test_old_records_without_a_command_say_so() -> None:
    assert "command not recorded" in provenance_words({"date": "2026-01-02", "commit": "abc", "hardware": {}})


@pytest.mark.parametrize("text", ["", "[1]", '{"cells": []}'])
def test_what_is_no_record_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"a\.json"):
        read_record(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_record(tmp_path / "none.json")


def test_commit_is_that_of_this_tree_and_of_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(record.__file__).resolve()
    top = here.parents[3]
    if (top / ".git").exists():
        head = subprocess.run(["git", "-C", str(top), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        found = commit()
        assert found is not None
        assert head.stdout.startswith(found.removesuffix("-dirty"))
    # As a package that was installed into the tree of another project.
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setattr(record, "__file__", str(tmp_path / "venv" / "gumnet" / "benchmark" / "record.py"))
    (tmp_path / "venv" / "gumnet" / "benchmark").mkdir(parents=True)
    assert commit() is None


def test_csv_has_the_columns_of_all_rows(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [{"x": 1}, {"x": 2, "y": "a,b"}])
    with (tmp_path / "a.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"x": "1", "y": ""}, {"x": "2", "y": "a,b"}]


def test_cells_of_tables() -> None:
    assert table(["a", "b"], [["1", "x|y"]]).splitlines() == ["| a | b |", "| --- | --- |", "| 1 | x\\|y |"]
    assert number(None, 2) == number(math.nan, 2) == "-"
    assert with_interval(0.1234, [0.1, 0.2], 2) == "0.12 (0.10 to 0.20)"
    assert with_interval(0.1234, [None, None], 2) == "0.12"
    assert share_with_interval(0.5, [0.25, 0.75]) == "50.0 % (25.0 to 75.0)"
