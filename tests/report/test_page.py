"""The report is one file, hides no markup in names, and says the same in words as in its drawings."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from gumnet.errors import InputError
from gumnet.report.page import Section, Table, page, write_report
from gumnet.report.plots import fsc_figure, histogram_figure, line_figure, resolution_text
from gumnet.report.slices import central_slices, slices_figure

HOSTILE = "<script>alert(1)</script>\" onload='x' &amp; $x^2$"


class Tags(HTMLParser):
    """Collects the tags and attributes of a page, and checks that tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in {"meta", "br", "img", "link", "input"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parse(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    return tags


@pytest.fixture(scope="module")
def figures() -> list:
    curve = torch.linspace(1, 0, 17)
    volume = torch.randn(16, 16, 16, generator=torch.Generator().manual_seed(1))
    thresholds = {HOSTILE: (0.143, 31.25)}
    return [
        fsc_figure({HOSTILE: curve}, voxel_size_angstrom=10.0, box=32, thresholds=thresholds, caption=HOSTILE),
        histogram_figure(curve * 20, limit=10, xlabel="error", marks={"mean": 9.87}, caption=HOSTILE),
        line_figure([0, 1], {"a": [1.0, 2.0]}, xlabel="iteration", ylabel="y", caption=HOSTILE),
        slices_figure({HOSTILE: volume}, 10.0, caption=HOSTILE),
    ]


@pytest.fixture(scope="module")
def html(figures: list) -> str:
    tables = (
        Table(HOSTILE, (HOSTILE, "b"), ((HOSTILE, HOSTILE),)),
        Table(HOSTILE, ("a", "b"), (("1", "2"),), folded=True),
    )
    section = Section(HOSTILE, (HOSTILE,), tuple(figures), tables, (HOSTILE,))
    return page(HOSTILE, HOSTILE, [(HOSTILE, HOSTILE)], [section])


def test_what_is_given_is_text_and_never_markup(html: str) -> None:
    tags = parse(html)
    assert not [name for name, _ in tags.seen if name == "script"]
    assert not [attributes for _, attributes in tags.seen if "onload" in attributes]


def test_nothing_is_fetched(html: str) -> None:
    for name, attributes in parse(html).seen:
        assert name not in {"link", "iframe", "object", "embed"}
        for key, value in attributes.items():
            if key in {"src", "href", "xlink:href", "srcset", "action"}:
                assert (value or "").startswith(("#", "data:")), (name, key, value)
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_every_table_scrolls_by_itself(html: str) -> None:
    seen = parse(html).seen
    before = [seen[i - 1] for i, (name, _) in enumerate(seen) if name == "table"]
    assert len(before) == 2
    for name, attributes in before:
        assert (name, attributes["class"], attributes["tabindex"]) == ("div", "wide", "0")
    assert re.search(r"\.wide {[^}]*overflow-x: auto", html)


def test_commands_that_scroll_are_reached_with_the_keyboard(html: str) -> None:
    (commands,) = [attributes for name, attributes in parse(html).seen if name == "pre"]
    assert (commands["tabindex"], commands["aria-label"]) == ("0", "Commands")
    assert re.search(r"\npre {[^}]*overflow-x: auto", html)


def test_headers_of_words_stand_over_their_words(html: str) -> None:
    assert re.search(r"table\.words th, table\.words td { text-align: left; }", html)


def test_every_drawing_has_words_for_those_who_do_not_see_it(html: str) -> None:
    drawings = [attributes for name, attributes in parse(html).seen if name == "svg"]
    assert len(drawings) == 4
    for attributes in drawings:
        assert attributes["role"] == "img"
        assert len(attributes["aria-label"] or "") > 10


def test_ids_of_different_drawings_do_not_meet(html: str) -> None:
    ids = [attributes["id"] for _, attributes in parse(html).seen if "id" in attributes]
    assert len(ids) == len(set(ids))
    for target in re.findall(r'(?:href="|url\()#([^")]+)', html):
        assert target in ids


def test_text_of_drawings_takes_the_colour_of_the_page(figures: list) -> None:
    for figure in figures:
        assert "#010203" not in figure.svg
        assert "currentColor" in figure.svg
        assert "<text" in figure.svg


def test_drawing_and_words_say_the_same_resolution(figures: list) -> None:
    assert "31.2 Å" in figures[0].svg
    assert "31.2 Å at FSC 0.143" in figures[0].alt
    assert "9.87" in figures[1].svg
    assert "mean 9.87" in figures[1].alt


def test_histogram_counts_every_value_once_and_says_what_is_beyond() -> None:
    values = torch.tensor([0.5, 0.6, 3.5, 40.0, 50.0])
    figure = histogram_figure(values, limit=4.0, bins=4, xlabel="error", marks={"median": 3.5}, caption="")
    assert "5 values" in figure.alt
    assert "2 beyond 4" in figure.alt
    assert "2 beyond" in figure.svg


def test_resolution_that_is_never_reached_is_said_in_words() -> None:
    assert resolution_text(float("inf")) == resolution_text(float("nan")) == "no resolution"
    assert resolution_text(33.333) == "33.3 Å"


def test_slices_go_through_the_centre_voxel() -> None:
    volume = torch.zeros(8, 8, 8)
    volume[4, 2, 6] = 1.0
    across_z, across_y, across_x = central_slices(volume)
    assert across_z[2, 6] == 1
    assert across_y.sum() == across_x.sum() == 0


def test_refuses_to_replace_a_report(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    content = {"title": "t", "lead": "l", "key_figures": [], "sections": []}
    write_report(path, **content)
    with pytest.raises(InputError, match="exists"):
        write_report(path, **content)
    write_report(path, **content, overwrite=True)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
