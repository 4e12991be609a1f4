from __future__ import annotations

from pathlib import Path

import pytest

from gumnet.errors import InputError
from gumnet.io.atomic import claim_folder, remove_leftovers, write_whole


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "map.mrc"
    with write_whole(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        assert temporary.parent == target.parent
        assert temporary.suffix == ".mrc"
    assert target.read_text() == "half"
    assert list(target.parent.iterdir()) == [target]


def test_a_failed_write_leaves_nothing_and_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "map.mrc"
    target.write_text("old")

    def fail() -> None:
        with write_whole(target, overwrite=True) as temporary:
            temporary.write_text("new")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_existing_file_is_replaced_only_on_demand(tmp_path: Path) -> None:
    target = tmp_path / "map.mrc"
    target.write_text("old")
    with pytest.raises(InputError, match=r"map\.mrc: exists already; .*--overwrite"), write_whole(target):
        pass
    with write_whole(target, overwrite=True) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"


def test_a_folder_is_claimed_only_if_empty(tmp_path: Path) -> None:
    folder = claim_folder(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert claim_folder(folder) == folder
    (folder / "x").touch()
    with pytest.raises(InputError, match="not empty"):
        claim_folder(folder)
    assert claim_folder(folder, overwrite=True) == folder
    with pytest.raises(InputError, match="is a file"):
        claim_folder(folder / "x", overwrite=True)
    with pytest.raises(InputError, match="is a folder"), write_whole(folder, overwrite=True):
        pass


def test_a_folder_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(InputError, match="cannot be made"), write_whole(tmp_path / "x" / "y" / "z.mrc"):
        pass


def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out [1].star"
    kept = [tmp_path / name for name in ("out [1].star", ".out [1].star", "other.star", ".other.ab12.tmp.star")]
    left = [tmp_path / ".out [1].ab12.tmp.star", tmp_path / ".out [1].cd34.tmp.star"]
    for path in (*kept, *left):
        path.touch()
    remove_leftovers(out)
    assert set(tmp_path.iterdir()) == set(kept)
