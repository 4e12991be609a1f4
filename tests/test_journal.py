from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gumnet.errors import InputError, RunError
from gumnet.journal import Journal, check_start, journal_path

SETTINGS, INPUTS = {"--symmetry": "C1", "--cone": None}, {"particles.star": "abc"}


def begin(path: Path, **changes: object) -> Journal:
    return Journal.open(path, **{"settings": SETTINGS, "inputs": INPUTS, **changes})  # type: ignore[arg-type]


def test_what_was_added_is_there_when_the_run_goes_on(tmp_path: Path) -> None:
    path = journal_path(tmp_path / "out.star")
    assert path == tmp_path / "out.star.journal"
    with begin(path) as journal:
        journal.add(3, b"three")
        journal.add(0, b"")
        assert journal.agree({"size": 16}) == {"size": 16}
    with begin(path, resume=True) as journal:
        assert list(journal.finished()) == [0, 3]
        assert (journal.read(3), journal.read(0)) == (b"three", b"")
        assert 1 not in journal
        assert journal.agree({"size": 4}) == {"size": 16}, "as the run began"
        journal.add(1, b"one")
    with begin(path, resume=True) as journal:
        assert list(journal.finished()) == [0, 1, 3]
        journal.remove()
    assert not path.exists()


def test_a_record_cut_anywhere_is_left_out_and_those_before_it_stay(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with begin(path) as journal:
        journal.add(0, b"first")
        whole = path.stat().st_size
        journal.add(1, b"second")
    data = path.read_bytes()
    for length in range(whole, len(data)):
        path.write_bytes(data[:length])
        with begin(path, resume=True) as journal:
            assert list(journal.finished()) == [0]
            assert journal.read(0) == b"first"
            journal.add(1, b"again")
        with begin(path, resume=True) as journal:
            assert journal.read(1) == b"again"


def test_a_flipped_bit_takes_its_record_and_those_after_it(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with begin(path) as journal:
        for number in range(3):
            journal.add(number, b"payload")
    data = bytearray(path.read_bytes())
    data[data.rfind(b"GNJ1") - 1] ^= 1  # the last byte of the record before the last
    path.write_bytes(data)
    with begin(path, resume=True) as journal:
        assert list(journal.finished()) == [0]
    data[0] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="no journal of gumnet"):
        begin(path, resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {"--symmetry": "C7", "--cone": None}}, "began with --symmetry C1, now it is C7"),
        ({"settings": {"--symmetry": "C1", "--cone": 30.0}}, "began with --cone not given, now it is 30.0"),
        ({"inputs": {"particles.star": "abd"}}, "particles.star changed since the run began"),
    ],
)
def test_another_run_is_refused_in_one_line(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with begin(tmp_path / "j") as journal:
        journal.add(0, b"kept")
    with pytest.raises(InputError, match=message):
        begin(tmp_path / "j", resume=True, **changes)
    with begin(tmp_path / "j", resume=True) as journal:
        assert journal.read(0) == b"kept", "what was there is not harmed"
    with begin(tmp_path / "j", overwrite=True, **changes) as journal:
        assert list(journal.finished()) == []
        journal.add(0, b"new")


def test_two_processes_do_not_write_one_journal(tmp_path: Path) -> None:
    with begin(tmp_path / "j") as journal:
        for changes in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(InputError, match="another gumnet is at work"):
                begin(tmp_path / "j", **changes)
        journal.add(0, b"kept")
    with begin(tmp_path / "j", resume=True) as journal:
        assert 0 in journal


def test_an_unfinished_run_is_neither_forgotten_nor_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "out.star"
    check_start(out, resume=False, overwrite=False)
    check_start(out, resume=True, overwrite=False)
    begin(journal_path(out)).close()
    with pytest.raises(InputError, match=r"out\.star: a run that makes this was not finished; add --resume"):
        check_start(out, resume=False, overwrite=False)
    with pytest.raises(InputError, match=r"out\.star: a run that makes this was not finished; add --resume"):
        begin(journal_path(out))
    check_start(out, resume=False, overwrite=True)
    out.touch()
    check_start(out, resume=True, overwrite=False)
    journal_path(out).unlink()
    with pytest.raises(InputError, match="exists already"):
        check_start(out, resume=True, overwrite=False)


def test_a_killed_writer_leaves_whole_records(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from gumnet.journal import Journal\n"
        f"j = Journal.open(Path({str(tmp_path / 'j')!r}), settings={SETTINGS!r}, inputs={INPUTS!r})\n"
        "n = 0\n"
        "while True:\n"
        "    j.add(n, bytes([n % 251]) * 5000); n += 1\n"
        "    if n == 50: print('go', flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        process.stdout.readline()
        os.kill(process.pid, 9)
        process.wait()
    with begin(tmp_path / "j", resume=True) as journal:
        numbers = list(journal.finished())
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= 50
        assert all(journal.read(n) == bytes([n % 251]) * 5000 for n in numbers)


def test_an_empty_journal_is_kept_only_after_a_fault(tmp_path: Path) -> None:
    for error, kept in ((InputError("wrong"), False), (RunError("failed"), True)):
        with pytest.raises(type(error)), begin(tmp_path / "j"):
            raise error
        assert (tmp_path / "j").exists() == kept
