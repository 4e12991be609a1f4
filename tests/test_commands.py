"""Every command line of gumnet that a user can read is understood: README, pages, help, SECURITY, what the demo says.

Nothing is run here, so data need not be there: commands and options have to exist, and values to be of their kind.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from cyclopts import App, CycloptsError

from gumnet.cli.completion import NAME
from gumnet.cli.main import COMMANDS, build, main
from gumnet.report.demo import NEXT_STEPS

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "SECURITY.md"]
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
OTHERS = {"--flip"}
"""Options of other programs that sentences speak of."""


@pytest.fixture(scope="module")
def app() -> App:
    return build()


def lines(text: str) -> list[str]:
    """Return the lines that begin with gumnet, without indent, each with what goes on after a backslash."""
    joined = text.replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if re.match(r"\s*(\.venv/bin/)?gumnet (-|\w)", line)]


def code(markdown: str) -> str:
    """Return what is in fences or indented by four spaces, where a line is one to type."""
    fenced = re.findall(r"^```\w*[^\n]*\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^ {4}\S.*(?:\n {4,}.*)*", markdown, re.MULTILINE)
    return "\n".join([*fenced, *indented])


def check(app: App, line: str) -> None:
    """Fail unless a command line is understood."""
    arguments = shlex.split(line, comments=True)[1:]
    if "|" in arguments or ">" in arguments:
        arguments = arguments[: min(arguments.index(sign) for sign in ("|", ">") if sign in arguments)]
    try:
        command, _, _ = app.parse_args(arguments)
    except CycloptsError as error:
        pytest.fail(f"{line}\n{error}")
    if arguments[0] in COMMANDS:
        # Of commands that have commands of their own, the second word is the command.
        assert command.__name__ == arguments[0 if app[arguments[0]].default_command else 1]
    else:
        assert arguments[0] in {NAME, "--help", "--version"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_command_lines_of_a_page_are_understood(page: Path, app: App) -> None:
    for line in lines(code(page.read_text(encoding="utf-8"))):
        check(app, line)


@pytest.mark.parametrize("command", [*COMMANDS, NAME])
def test_examples_in_the_help_are_understood(command: str, app: App, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    examples = lines(text.split("Example", 1)[1].split("\n\n", 1)[0])
    assert examples
    for line in examples:
        check(app, line)


def test_what_the_demo_says_to_run_next_is_understood(app: App) -> None:
    for line in NEXT_STEPS:
        check(app, line)


def test_a_line_with_a_wrong_option_is_found(app: App) -> None:
    for wrong in ("gumnet average p.star --out a --iterationes 2", "gumnet nothing p.star", "gumnet info"):
        with pytest.raises(pytest.fail.Exception):
            check(app, wrong)
    assert lines(code("text\n\n    gumnet info \\\n      a.star   # what is it\n\n```sh\ngumnet fsc a b\n```\n")) == [
        "gumnet fsc a b",
        "gumnet info        a.star   # what is it",
    ]


@pytest.fixture(scope="module")
def options(app: App) -> dict[str, set[str]]:
    """All options by command."""
    return {
        command: {"--help"}.union(
            *(a.names for part in _parts(app[command]) for a in part.assemble_argument_collection())
        )
        for command in (*COMMANDS, NAME)
    }


def _parts(command: App) -> list[App]:
    """Return a command, or the commands that it consists of."""
    if command.default_command is not None:
        return [command]
    return [command[name] for name in command if not name.startswith("-")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_options_within_sentences_exist(page: Path, options: dict[str, set[str]]) -> None:
    for words in INLINE.findall(page.read_text(encoding="utf-8")):
        if not re.match(r"(gumnet \w|--\w)", words):
            continue
        command = words.split()[1] if words.startswith("gumnet ") else None
        assert command is None or command in options, f"there is no {words}"
        allowed = options[command] if command else {NAME}.union(OTHERS, *options.values())
        for option in re.findall(r"(?<!\S)--[a-z][\w-]*", words):
            assert option in allowed, f"there is no {option}: {words}"
