"""Progress where there is no terminal."""

from __future__ import annotations

from contextvars import ContextVar

import pytest

from gumnet import progress as module
from gumnet.progress import progress


def test_a_log_gets_few_lines_with_what_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    monkeypatch.setattr(module, "LOGGED", ContextVar("LOGGED", default=True))
    hours = 10
    with progress("Aligning", hours * 3600) as display:
        for _ in range(hours * 3600):
            now += 1.0
            display.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Aligning: 60 of 36000 particles in 1 min, about 10.0 h left"
    assert lines[1].startswith("Aligning: 180 of")
    assert 10 < len(lines) < 30
    assert all(line.endswith("left") for line in lines)


def test_nothing_is_said_where_there_is_no_terminal_and_nobody_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    monkeypatch.setattr(module, "LOGGED", ContextVar("LOGGED", default=False))
    with progress("Aligning", 100) as display:
        for _ in range(100):
            now += 60.0
            display.advance()
    assert capsys.readouterr().err == ""


def test_what_takes_less_than_a_minute_or_is_not_to_be_shown_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    monkeypatch.setattr(module, "LOGGED", ContextVar("LOGGED", default=True))
    for seconds, shown in ((0.5, None), (60.0, False)):
        with progress("Aligning", 100, shown=shown) as display:
            for _ in range(100):
                now += seconds
                display.advance()
    assert capsys.readouterr().err == ""
