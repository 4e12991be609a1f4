"""What Python writes of an average is what the command writes, all of it or nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import gumnet
from gumnet.errors import InputError
from gumnet.io.mrc import read_map


def test_the_folder_holds_map_halves_table_view_and_figures(written: tuple[gumnet.Average, Path]) -> None:
    made, folder = written
    names = {path.name for path in folder.iterdir()}
    assert {
        "map.mrc",
        "half1.mrc",
        "half2.mrc",
        "fsc.star",
        "particles.star",
        "view.cxc",
        "figures",
        "class_002",
    } <= names
    volume, size = read_map(folder / "map.mrc")
    assert torch.equal(volume, made.map.float())
    assert size == made.particles.voxel_size_angstrom
    assert {path.suffix for path in (folder / "figures").iterdir()} == {".png", ".svg"}
    assert len(gumnet.read_particles(folder)) == len(made.particles)


def test_the_report_says_who_wrote_it_and_claims_no_command_and_no_time(written: tuple[gumnet.Average, Path]) -> None:
    html = (written[1] / "report.html").read_text(encoding="utf-8")
    assert "Thirty-six &lt;phantoms&gt;." in html
    made = html[html.index("How it was made") :]
    assert "Written from Python." in made
    assert "<pre" not in made
    assert not re.search(r"<caption>Time", made)


def test_a_folder_that_holds_something_is_refused_and_stays(
    written: tuple[gumnet.Average, Path], tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        gumnet.write_average(tmp_path, written[0])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
