from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from gumnet.errors import InputError
from gumnet.io.star import write_star
from gumnet.io.tomogram_files import tomogram_files


def made(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.touch()
    return paths


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("TS_1", "rec_TS_1_bin4.mrc"),
        ("TS_10", "TS_10.rec"),
        ("TS_10.mrc", "TS_10.rec"),
        ("TS_2.tomostar", "TS_2_8.00Apx.mrc"),
        ("tomograms/TS_10.rec", "TS_10.rec"),
    ],
)
def test_names_find_their_files(tmp_path: Path, name: str, file: str) -> None:
    files = tomogram_files(made(tmp_path, "rec_TS_1_bin4.mrc", "TS_10.rec", "TS_2_8.00Apx.mrc"))
    assert files.find(name).name == file


def test_a_folder_gives_all_its_tomograms(tmp_path: Path) -> None:
    made(tmp_path, "a.mrc", "b.rec", "notes.txt")
    (tmp_path / "c.zarr").mkdir()
    made(tmp_path / "c.zarr", ".zgroup")
    assert [path.name for path in tomogram_files([tmp_path]).files] == ["a.mrc", "b.rec", "c.zarr"]


def test_what_is_missing_or_ambiguous_is_named(tmp_path: Path) -> None:
    files = tomogram_files(made(tmp_path, "TS_1_even.mrc", "TS_1_odd.mrc"))
    with pytest.raises(InputError, match=r"several files may be the tomogram TS_1: TS_1_even.mrc, TS_1_odd.mrc"):
        files.find("TS_1")
    with pytest.raises(InputError, match=r"no file for the tomogram TS_2, only for TS_1_even.mrc, TS_1_odd.mrc"):
        files.find("TS_2")
    with pytest.raises(InputError, match="name no tomogram, and there are 2"):
        files.find(None)
    with pytest.raises(InputError, match="no such file"):
        tomogram_files([tmp_path / "none.mrc"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="the folder holds no tomograms"):
        tomogram_files([tmp_path / "empty"])


def test_one_tomogram_needs_no_name(tmp_path: Path) -> None:
    (path,) = made(tmp_path, "t.mrc")
    assert tomogram_files([path]).find(None) == path


def test_a_table_of_tomograms_names_reconstructions(tmp_path: Path) -> None:
    (tmp_path / "Tomograms/job6").mkdir(parents=True)
    made(tmp_path / "Tomograms/job6", "rec_one.mrc", "rec_two.mrc")
    table = pd.DataFrame(
        {
            "rlnTomoName": ["TS_01", "TS_02"],
            "rlnTomoReconstructedTomogram": [f"Tomograms/job6/rec_{n}.mrc" for n in ("one", "two")],
        }
    )
    star = tmp_path / "Tomograms/tomograms.star"
    write_star(star, {"global": table})
    assert tomogram_files([star]).find("TS_02") == tmp_path / "Tomograms/job6/rec_two.mrc"
    table["rlnTomoReconstructedTomogram"] = "gone.mrc"
    write_star(star, {"global": table}, overwrite=True)
    with pytest.raises(InputError, match=r"no such file: rlnTomoReconstructedTomogram gone.mrc"):
        tomogram_files([star])
    write_star(star, {"global": table[["rlnTomoName"]]}, overwrite=True)
    with pytest.raises(InputError, match="names no reconstructed tomograms"):
        tomogram_files([star])
