"""Output folders are complete or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from gumnet.errors import InputError
from gumnet.report.folder import whole_folder


def test_files_appear_together_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with whole_folder(target) as aside:
        (aside / "a.txt").write_text("a")
        (aside / "deep").mkdir()
        (aside / "deep" / "b.txt").write_text("b")
        assert list(target.iterdir()) == []
        assert aside.parent == target.parent
    assert (target / "a.txt").read_text() == "a"
    assert (target / "deep" / "b.txt").read_text() == "b"
    assert [item.name for item in tmp_path.iterdir()] == ["out"]


def write_half(target: Path) -> None:
    with whole_folder(target, overwrite=True) as aside:
        (aside / "a.txt").write_text("half")
        raise RuntimeError


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        write_half(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "a.txt").write_text("old")
    with pytest.raises(RuntimeError):
        write_half(target)
    assert (target / "a.txt").read_text() == "old"


def test_refuses_before_the_work_begins(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(InputError, match="--overwrite"), whole_folder(tmp_path):
        pytest.fail("the block ran")


def test_overwrite_replaces_ours_and_keeps_the_rest(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "a.txt").write_text("old")
    (target / "notes.txt").write_text("mine")
    with whole_folder(target, overwrite=True) as aside:
        (aside / "a.txt").write_text("new")
    assert (target / "a.txt").read_text() == "new"
    assert (target / "notes.txt").read_text() == "mine"
