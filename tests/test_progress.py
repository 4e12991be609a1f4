"""Progress where there is no terminal."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

import pytest

from gumnet import progress as module
from gumnet.progress import progress


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return what is said of steps of some seconds each, logged or not."""

    def run(
        steps: int, seconds: float, *, logged: bool = True, shown: bool | None = None, note: str | None = None
    ) -> str:
        now = 0.0
        monkeypatch.setattr(module, "monotonic", lambda: now)
        monkeypatch.setattr(module, "LOGGED", ContextVar("LOGGED", default=logged))
        with progress("Aligning", steps, shown=shown) as display:
            for _ in range(steps):
                now += seconds
                display.advance(note=note)
        return capsys.readouterr().err

    return run


def test_a_log_gets_few_lines_with_what_is_left(said: Callable[..., str]) -> None:
    lines = said(36000, 1.0).splitlines()
    assert lines[0] == "Aligning: 60 of 36000 particles in 1 min, about 10.0 h left"
    assert lines[1].startswith("Aligning: 180 of")
    assert 10 < len(lines) < 30
    assert all(line.endswith("left") for line in lines)


def test_a_log_says_what_the_bar_would(said: Callable[..., str]) -> None:
    assert said(100, 30.0, note="loss 0.5").splitlines()[0] == (
        "Aligning: 2 of 100 particles in 1 min, about 49 min left; loss 0.5"
    )


def test_nothing_is_said_where_there_is_no_terminal_and_nobody_asked(said: Callable[..., str]) -> None:
    assert said(100, 60.0, logged=False) == ""


def test_what_takes_less_than_a_minute_or_is_not_to_be_shown_says_nothing(said: Callable[..., str]) -> None:
    assert said(100, 0.5) == ""
    assert said(100, 60.0, shown=False) == ""
