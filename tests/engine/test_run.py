from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from gumnet.engine.place import Place
from gumnet.engine.run import Done, batches_of, run
from gumnet.errors import InputError, RunError
from gumnet.journal import Journal
from tests.oracles.works import Square

HERE, POOL = Place(device="cpu"), Place(device="cpu", workers=2, threads=1)


def squares(done: list[Done]) -> dict[int, float]:
    found: dict[int, float] = {}
    for each in done:
        if each.result is not None:
            found |= dict(zip(each.rows, each.result["square"].tolist(), strict=True))
    return found


def test_batches_cover_all_rows_once() -> None:
    assert batches_of(7, 3) == {0: range(3), 1: range(3, 6), 2: range(6, 7)}
    assert batches_of(0, 3) == {}


def test_processes_give_what_this_process_gives_and_outlive_deaths(tmp_path: Path) -> None:
    here = list(run(Square(), batches_of(10, 3), HERE))
    assert squares(here) == {row: row**2 for row in range(10)}
    assert [done.number for done in here] == [0, 1, 2, 3]
    always = frozenset({7} if "GUMNET_FAULTS" in os.environ else ())  # each death costs seconds
    work = Square(marks=tmp_path, kill_once=frozenset({4}), kill=always)
    there = list(run(work, batches_of(10, 3), POOL, tolerate="faults"))
    assert (tmp_path / "row-4").exists(), "the worker was killed"
    assert squares(there) == {row: row**2 for row in range(10) if row not in always}
    failures = [failure for each in there for failure in each.failures]
    assert {(failure.row, failure.by_input) for failure in failures} == {(row, False) for row in always}
    assert all("the worker died (exit code -9)" in failure.reason for failure in failures)
    workers = {int(pid) for done in there if done.result is not None for pid in done.result["process"]}
    ours = {int(pid) for done in here if done.result is not None for pid in done.result["process"]}
    assert len(ours) == 1
    assert len(workers) >= 2
    assert not workers & ours


def test_what_fails_twice_is_found_particle_by_particle() -> None:
    work = Square(fail=frozenset({1}), refuse=frozenset({3, 9}))
    done = sorted(run(work, batches_of(10, 2), HERE, tolerate="all"), key=lambda each: each.number)
    assert squares(done) == {row: row**2 for row in (0, 2, 4, 5, 6, 7, 8)}
    assert [list(each.rows) for each in done] == [[0], [2], [4, 5], [6, 7], [8]]
    failures = [failure for each in done for failure in each.failures]
    assert [(failure.row, failure.by_input) for failure in failures] == [(1, False), (3, True), (9, True)]
    assert failures[0].reason == "ValueError: row 1 cannot be done"
    assert failures[1].reason == "particle 3 holds NaN"


def test_the_first_failure_stops_a_run_that_wants_all() -> None:
    with pytest.raises(InputError, match="particle 3 holds NaN"):
        list(run(Square(refuse=frozenset({3})), batches_of(10, 2), HERE))
    with pytest.raises(RunError, match="row 3 cannot be done") as failed:
        list(run(Square(fail=frozenset({3})), batches_of(10, 2), HERE))
    assert "in _run\n" in failed.value.trace, "where it failed is known, for --verbose"
    with pytest.raises(InputError, match="particle 3 holds NaN"):
        list(run(Square(refuse=frozenset({3})), batches_of(10, 2), HERE, tolerate="faults"))
    assert len(squares(list(run(Square(fail=frozenset({3})), batches_of(10, 2), HERE, tolerate="faults")))) == 9


def test_a_run_in_which_nothing_works_ends_early() -> None:
    work, batches = Square(fail=frozenset(range(1000))), batches_of(1000, 2)
    with pytest.raises(RunError, match="row 4 cannot be done"):
        list(run(work, batches, HERE, tolerate="all"))


def test_out_of_memory_halves_the_batch_and_says_so_once(capsys: pytest.CaptureFixture[str]) -> None:
    done = list(run(Square(most=3), batches_of(32, 16), HERE))
    assert squares(done) == {row: row**2 for row in range(32)}
    assert capsys.readouterr().err == "gumnet: cpu has too little memory for batches of 16: they are done in parts\n"
    with pytest.raises(RunError, match="out of memory"):
        list(run(Square(most=0), batches_of(4, 4), HERE))


def test_what_the_journal_holds_is_not_done_again(tmp_path: Path) -> None:
    def journal(resume: bool) -> Journal:
        return Journal.open(tmp_path / "j", settings={}, inputs={}, resume=resume)

    with journal(resume=False) as first:
        work = Square(fail=frozenset({5}))
        done = list(run(work, batches_of(10, 2), HERE, journal=first, tolerate="all"))
        assert len(squares(done)) == 9
    with journal(resume=True) as second:
        assert list(second.finished()) == [0, 1, 3, 4], "a batch with a failure is tried again"
        again = list(run(Square(refuse=frozenset({0})), batches_of(10, 2), HERE, journal=second))
        assert squares(again) == {row: row**2 for row in range(10)}
        assert list(second.finished()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arguments", "message"), [({"workers": 0}, "0 workers"), ({"workers": 2, "cluster": "x"}, "not both")]
)
def test_impossible_places_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Place(**arguments)


def test_one_process_works_unless_more_are_asked_for() -> None:
    assert Place(device="cpu").count() == 1
    assert Place(device="cpu", workers=3).count() == 3


def test_workers_that_are_kept_do_one_work_after_another() -> None:
    with POOL.keeping() as place:
        made = [list(run(Square(), batches_of(count, 2), place)) for count in (4, 10)]
        workers = [{int(pid) for done in each if done.result for pid in done.result["process"]} for each in made]
        assert workers[0] == workers[1], "the same processes"
        os.kill(min(workers[0]), signal.SIGKILL)
        if "GUMNET_FAULTS" in os.environ:  # workers take seconds to start
            # A run that fails leaves batches behind: its workers go with it, and there are others for the next one.
            with pytest.raises(InputError, match="particle 3 holds NaN"):
                list(run(Square(refuse=frozenset({3})), batches_of(10, 2), place))
        last = list(run(Square(), batches_of(6, 2), place))
    assert [squares(each) for each in (*made, last)] == [{row: row**2 for row in range(n)} for n in (4, 10, 6)]
    assert place.kept is not None
    assert place.kept.pool is not None
    assert not place.kept.pool._workers, "they end with the block"
