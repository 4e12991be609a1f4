from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch

from gumnet.errors import InputError
from gumnet.report.chimerax import VIEW, View, contour_level, quoted, write_markers, write_view

MAPS = [View("map.mrc", 0.5), View("half1.mrc", 0.25, shown=False), View("half2.mrc", 0.25, shown=False)]


def test_the_map_is_shown_and_its_halves_are_hidden(tmp_path: Path) -> None:
    path = write_view(tmp_path, MAPS)
    assert path == tmp_path / VIEW
    lines = path.read_text().splitlines()
    assert lines[0].startswith("#")
    opened = [line for line in lines if line.startswith("open")]
    assert opened == ['open "map.mrc"', 'open "half1.mrc"', 'open "half2.mrc"']
    # Numbers count models in the order in which they are opened.
    assert lines.index('open "half1.mrc"') < lines.index("hide #2,3 models")
    levels = [
        re.fullmatch(r"volume #(\d) style surface step 1 level (\S+) color (#[0-9a-f]{6})", line) for line in lines
    ]
    found = [match.groups() for match in levels if match]
    assert [(number, level) for number, level, _ in found] == [("1", "0.5"), ("2", "0.25"), ("3", "0.25")]
    assert len({colour for _, _, colour in found}) == 1
    assert lines[-1] == "view"


def test_classes_have_colours_of_their_own(tmp_path: Path) -> None:
    text = write_view(tmp_path, [View("class1.mrc", 1.0), View("class2.mrc", 1.0)]).read_text()
    assert len(set(re.findall(r"color (\S+)", text))) == 2
    assert "hide" not in text


def test_markers_are_opened_after_the_maps_and_hidden(tmp_path: Path) -> None:
    lines = write_view(tmp_path, MAPS, markers="particles.cmm").read_text().splitlines()
    opened = [line for line in lines if line.startswith("open")]
    assert opened[-1] == 'open "particles.cmm"'
    assert "hide #2,3,4 models" in lines


@pytest.mark.parametrize("name", ["map.mrc", "a map; close session.mrc", "class 1/map.mrc", "Größe_µ.mrc", "a#b,c.mrc"])
def test_names_stay_one_argument(name: str) -> None:
    # ChimeraX ends a quoted argument at a quote before a space or the end of the line.
    match = re.fullmatch(r'"((?:.|\\")*?)"(\s|$)', quoted(name))
    assert match
    assert match[1] == name


@pytest.mark.parametrize(
    "name",
    ["", 'a" ; close session ; "b.mrc', "a\nclose.mrc", "a\\n.mrc", "$HOME/a.mrc", "~/a.mrc", "/abs/a.mrc", " a.mrc"],
)
def test_names_that_chimerax_would_take_for_more_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be used in a ChimeraX script"):
        write_view(tmp_path, [View(name, 1.0)])
    assert not (tmp_path / VIEW).exists()


def test_what_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no maps"):
        write_view(tmp_path, [])
    with pytest.raises(InputError, match="level of nan"):
        write_view(tmp_path, [View("map.mrc", float("nan"))])
    write_view(tmp_path, MAPS)
    with pytest.raises(InputError, match="exists already"):
        write_view(tmp_path, MAPS)
    write_view(tmp_path, MAPS, overwrite=True)


def test_the_level_encloses_a_fixed_share_whatever_the_scale(generator: torch.Generator) -> None:
    volume = torch.randn(20, 20, 20, generator=generator)
    level = contour_level(volume)
    assert float((volume > level).float().mean()) == pytest.approx(0.03, abs=0.001)
    assert contour_level(5 * volume - 2) == pytest.approx(5 * level - 2, rel=1e-5)


def test_markers_are_valid_and_coloured_by_value(tmp_path: Path) -> None:
    path = tmp_path / "particles.cmm"
    places = torch.tensor([[1.0, 2, 3], [10, 20, 30], [100, 200, 300.5], [0, 0, 0]])
    values = torch.tensor([0.1, 0.5, 0.9, float("nan")])
    write_markers(path, places, values=values, notes=['<a & "b">', "two", "three\x01", "four"], radius_angstrom=40)
    root = ET.parse(path).getroot()
    assert (root.tag, root.attrib["name"]) == ("marker_set", "particles")
    markers = [marker.attrib for marker in root]
    assert [[float(m[axis]) for axis in "xyz"] for m in markers] == places.tolist()
    assert [m["note"] for m in markers] == ['<a & "b">', "two", "three", "four"]
    assert {m["radius"] for m in markers} == {"40"}
    colours = [[float(m[c]) for c in "rgb"] for m in markers]
    assert colours == [[0, 0, 1], [1, 1, 1], [1, 0, 0], [0.6, 0.6, 0.6]]
    assert [int(m["id"]) for m in markers] == [1, 2, 3, 4]


def test_markers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 values for 3 markers"):
        write_markers(tmp_path / "p.cmm", torch.zeros(3, 3), values=torch.zeros(2))
    with pytest.raises(InputError, match="markers need positions"):
        write_markers(tmp_path / "p.cmm", torch.zeros(0, 3))
    with pytest.raises(InputError, match="markers need positions"):
        write_markers(tmp_path / "p.cmm", torch.full((1, 3), torch.nan))
    assert not (tmp_path / "p.cmm").exists()
