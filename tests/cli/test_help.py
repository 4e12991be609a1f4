"""Help fills the terminal: paragraphs are not broken where the docstring is, examples are kept as they are."""

from __future__ import annotations

from itertools import pairwise

import pytest

from gumnet.cli.help import flowing
from gumnet.cli.main import COMMANDS, main


def test_paragraphs_become_one_line_and_what_is_indented_stays() -> None:
    text = "One\ntwo.\n\nExample\n    a \\\n      b\n\n\nThree\nfour.\n"
    assert flowing(text) == "One two.\n\nExample\n    a \\\n      b\n\n\nThree four.\n"
    assert flowing(flowing(text)) == flowing(text)


@pytest.mark.parametrize("columns", [60, 80, 132])
@pytest.mark.parametrize("command", COMMANDS)
def test_no_line_of_the_help_ends_where_its_next_word_had_fitted(
    command: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    # What stands between the usage line and the first panel, without examples.
    for paragraph in text.split("╭", 1)[0].split("\n\n")[1:]:
        lines = paragraph.rstrip("\n").split("\n")
        if any(line.startswith(" ") for line in lines):
            continue
        for line, following in pairwise(lines):
            assert len(line.rstrip()) + 1 + len(following.split()[0]) > columns - 1, line
