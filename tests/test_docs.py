"""The pages of docs/ run as they stand: commands and Python of each, in order, in one folder, on fewer particles.

A fence with a title is not run: those that need data, a minute, or your home folder are commands of gumnet, which have
to be understood at least; the others are those of other programs, or tested elsewhere on made-up data.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from gumnet.cli.main import build, main

DOCS = Path(__file__).parents[1] / "docs"
FENCE = re.compile(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
NOT_RUN = {"needs data", "needs a minute", "writes to your home folder"}
OTHERS = {"RELION", "WarpTools", "MTools", "napari", "wget", "EMPIAR-10045"}
QUICK = {
    "--particles 60 --snr 0.3": "--particles 4 --snr 10 --box 16 --voxel-size 20 --max-shift 1",
    "--iterations 4": "--iterations 1",
}


def fences(page: Path) -> list[tuple[str, str, str]]:
    """Return language, title and text of all fences of a page."""
    return [(language, title, text) for language, title, text in FENCE.findall(page.read_text(encoding="utf-8"))]


def commands(text: str) -> list[list[str]]:
    """Return the commands of a fence, one a line, where a line does not go on after a backslash."""
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.strip()]


PAGES = sorted(DOCS.glob("*.md"))


@pytest.mark.parametrize(
    "page", [p for p in PAGES if any(not title for _, title, _ in fences(p))], ids=lambda p: p.stem
)
def test_what_a_page_says_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for language, title, text in fences(page):
        if title:
            continue
        if language == "python":
            exec(text, names)
            continue
        assert language == "sh", f"a fence of {language} is neither run nor has a title"
        for long, short in QUICK.items():
            text = text.replace(long, short)
        for program, *arguments in commands(text):
            assert program == "gumnet"
            assert main(arguments) == 0, arguments


@pytest.mark.parametrize("page", [p for p in PAGES if any(title for _, title, _ in fences(p))], ids=lambda p: p.stem)
def test_commands_that_need_data_are_understood(page: Path) -> None:
    for language, title, text in fences(page):
        assert title in {"", *NOT_RUN, *OTHERS}
        if language == "python":
            compile(text, page.name, "exec")
        elif title in NOT_RUN:
            for program, *arguments in commands(text):
                assert program == "gumnet"
                command, _, _ = build().parse_args(arguments)
                assert command.__name__ == arguments[0].removeprefix("--").replace("-", "_")


def test_there_is_something_to_run() -> None:
    run = [text for page in PAGES for language, title, text in fences(page) if language == "sh" and not title]
    assert sum(len(commands(text)) for text in run) >= 6


def test_every_page_is_in_the_navigation_once() -> None:
    listed = re.findall(r"(\w+\.md)$", (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == [page.name for page in PAGES]


def test_files_that_the_readme_links_to_are_there() -> None:
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (DOCS.parent / link).is_file()] == []
