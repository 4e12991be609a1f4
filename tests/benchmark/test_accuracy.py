"""The run of the accuracy table: which tasks there are, that each is done once, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gumnet.benchmark import accuracy
from gumnet.benchmark.accuracy import AccuracyPlan, Cell, measure
from gumnet.benchmark.accuracy_record import accuracy_figures, csv_rows
from gumnet.benchmark.accuracy_report import accuracy_markdown
from gumnet.benchmark.aligning import Timing
from gumnet.benchmark.eta import Eta
from gumnet.benchmark.found import Found, Run
from gumnet.benchmark.level import Level
from gumnet.benchmark.part import Part
from gumnet.benchmark.seconds import Seconds
from gumnet.benchmark.structures import Structures
from gumnet.errors import InputError
from gumnet.evaluation.metrics import PairErrors
from gumnet.journal import Journal

LEVELS = (Level.of(100.0, "white"), Level.of(0.1, "white"))
TWO = Structures(torch.rand(2, 32, 32, 32, generator=torch.Generator().manual_seed(0)), ("one", "two"), False)


class Counted:
    """A row that is off by a fixed error, and counts what it is asked."""

    def __init__(self, error: float) -> None:
        self.error = error
        self.asked: list[int] = []

    def __call__(self, part: Part) -> Found:
        self.asked.append(len(part))
        errors = torch.full((len(part),), self.error, dtype=torch.float64)
        errors += 0.01 * torch.arange(len(part))
        return Found(PairErrors(errors, 40 * errors, errors, errors.round()), (Timing(len(part), Seconds(2.0, 1.0)),))


def plan(*rows: str, pairs: int = 11, **more: object) -> AccuracyPlan:
    return AccuracyPlan(TWO, LEVELS, rows, pairs, **more)  # type: ignore[arg-type]


def test_pairs_are_dealt_to_structures_as_evenly_as_can_be() -> None:
    assert [plan("ht").count(number) for number in range(2)] == [6, 5]
    with pytest.raises(InputError, match="4 or more"):
        plan("ht", pairs=3)


def test_a_row_can_leave_out_noisy_levels_and_one_takes_all_structures_at_once() -> None:
    tasks = plan("ht", "joint", "joint-mixed", left_out={"joint": 1.0}).tasks
    said = [(task.level.snr, task.row, task.part) for task in tasks]
    assert said[:4] == [(100, "ht", 0), (100, "ht", 1), (100, "joint", 0), (100, "joint", 1)]
    assert said[4:] == [(100, "joint-mixed", None), (0.1, "ht", 0), (0.1, "ht", 1), (0.1, "joint-mixed", None)]
    assert [task.number for task in tasks] == list(range(8))


def test_a_run_that_was_stopped_does_the_rest_alone_and_ends_the_same(tmp_path: Path) -> None:
    rows: dict[str, Run] = {"ht": Counted(0.5), "fa": Counted(0.2)}
    whole = measure(plan("ht", "fa", pairs=5), rows)

    class Stopping(Counted):
        def __call__(self, part: Part) -> Found:
            if len(self.asked) == 3:
                raise KeyboardInterrupt
            return super().__call__(part)

    stopping, going_on = Stopping(0.2), Counted(0.2)
    path = tmp_path / "out.journal"
    with (
        pytest.raises(KeyboardInterrupt),
        Journal.open(path, settings={}, inputs={}, resume=False, overwrite=False) as journal,
    ):
        measure(plan("ht", "fa", pairs=5), {"ht": Counted(0.5), "fa": stopping}, journal=journal)
    told: list[tuple[float, str]] = []
    with Journal.open(path, settings={}, inputs={}, resume=True, overwrite=False) as journal:
        again = measure(
            plan("ht", "fa", pairs=5),
            {"ht": Counted(0.5), "fa": going_on},
            journal=journal,
            tell=lambda cell, eta: told.append((cell.level.snr, cell.row)),
        )
    assert going_on.asked == [2, 3, 2], "two pairs to warm up; the clean level was done"
    assert told == [(100, "ht"), (100, "fa"), (0.1, "ht"), (0.1, "fa")]
    assert [(cell.level, cell.row) for cell in again] == [(cell.level, cell.row) for cell in whole]
    for one, other in zip(again, whole, strict=True):
        torch.testing.assert_close(one.found.errors.frobenius, other.found.errors.frobenius)
        assert len(one.found.errors) == 5


def test_what_is_left_is_guessed_from_what_rows_took() -> None:
    eta = Eta({"ht": 100, "joint": 100}, {"joint": 6.0})
    assert eta.seconds() == pytest.approx(100 * 1.0 + 100 * 6.0)
    eta.done("ht", 50, 10.0)
    assert eta.seconds() == pytest.approx(50 * 0.2 + 600)
    eta.done("joint", 10, 100.0)
    assert eta.words() == "about 15 min left"


@pytest.fixture
def record() -> dict[str, object]:
    """Return the record of three rows at two levels."""
    cells = []
    for level in LEVELS:
        for row, error in (("ht", 1.0), ("joint", 0.3), ("bound", 0.2)):
            errors = error + 0.1 * torch.rand(40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
            found = Found(PairErrors(errors, errors, errors, errors), (Timing(20, Seconds(4.0, 2.0)),) * 2)
            cells.append(Cell(level, row, found))
    return {
        "date": "2026-01-02T03:04:05+00:00",
        "commit": "abc1234",
        "hardware": {"cpu": "Some CPU", "cores": 2, "threads": 1, "load": 0.5},
        "command": "gumnet benchmark accuracy --out x",
        "options": {"pairs": 40, "seed": 0, "quick": False},
        "structures": TWO.words(),
        "not_run": {"gumnet": "no weights were given"},
        **accuracy_figures(cells),
    }


def test_record_orders_methods_and_leaves_out_the_bound(record: dict[str, object]) -> None:
    order = record["orders"][0]  # type: ignore[index]
    assert order["chain"] == "joint < ht"
    assert order["joint_over_bound"] == pytest.approx((0.3 + 0.05) / (0.2 + 0.05), rel=0.05)
    rows = csv_rows(record)
    assert [row["method"] for row in rows] == ["ht", "joint", "bound"] * 2
    assert rows[0]["frobenius_low"] < rows[0]["frobenius"] < rows[0]["frobenius_high"]
    assert rows[0]["seconds"] == pytest.approx(0.2)
    assert rows[0]["cpu_seconds"] == pytest.approx(0.1)
    assert rows[0]["failure_rate"] == pytest.approx(1.0, abs=0.05)


def test_report_says_what_did_not_run_and_marks_the_figures_of_the_paper(record: dict[str, object]) -> None:
    text = accuracy_markdown(record)
    assert "Not run: Gum-Net: no weights were given." in text
    assert "Some CPU" in text
    assert "abc1234" in text
    assert "joint alignment < H-T align" in text
    rows = [line for line in text.splitlines() if line.startswith("| H-T align")]
    # The summary, and a table for each level; the paper's own figure is in the last column of these alone.
    assert [line.split("|")[-2].strip() for line in rows[1:]] == ["0.30, 1.82", "1.22, 4.76"]
    assert "0.30" not in rows[0]
    for line in text.splitlines():
        if "0.30, 1.82" in line:
            header = text[: text.index(line)].rsplit("|  | pairs", 1)[1].splitlines()[0]
            assert header.rstrip(" |").endswith("the paper's own")


def test_only_two_pairs_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Counted(0.1)
    measure(plan("ht", pairs=8), {"ht": row})
    assert row.asked == [accuracy.LEAST_PAIRS, 4, 4, 4, 4]
