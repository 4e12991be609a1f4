"""kill -9 in the middle, then --resume: the same bytes as a run that was left alone.

GUMNET_FAULTS=100 tries that many moments of each command instead of one, every other one of pack with two workers.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gumnet.averaging.start_config import Phase
from gumnet.cli.main import main
from gumnet.journal import journal_path

MOMENTS = int(os.environ.get("GUMNET_FAULTS", "1"))
RESULT = {"pack": "store.json", "average": "map.mrc"}
"""What is in a finished output that is a folder."""
SCHEDULE = (Phase(2, 1, 1.0, 0.7), Phase(3, 1, 0.5, 0.7))
"""First maps of an average in a second."""


@pytest.fixture(autouse=True)
def short_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gumnet.averaging.begin.SCHEDULE", SCHEDULE)


def kill_after(arguments: list[str], out: Path, batches: int) -> bool:
    """Run gumnet until its journal holds so many batches, kill it, and return whether that was in time."""
    code = (
        "import sys; from gumnet.averaging import begin; from gumnet.averaging.start_config import Phase\n"
        f"begin.SCHEDULE = {SCHEDULE!r}\n"
        f"from gumnet.cli.main import main; sys.exit(main({arguments!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    journal = journal_path(out)
    while process.poll() is None:
        # The first two records say what the run is and, but of an average, how it was cut.
        if journal.exists() and journal.read_bytes().count(b"GNJ1") >= 2 + batches:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.001)
    return False


def contents(out: Path) -> dict[str, bytes]:
    files = sorted(path for path in out.rglob("*") if path.is_file()) if out.is_dir() else [out]
    # A report says how long it took, and its figures may say when.
    data = [file for file in files if file.is_file() and file.suffix not in (".html", ".svg", ".png", ".pdf")]
    return {file.name.replace(out.stem, "out"): file.read_bytes() for file in data}


@pytest.mark.parametrize("command", ["align", "pack", "average"])
@pytest.mark.parametrize("moment", range(MOMENTS))
def test_a_killed_run_goes_on_to_the_same_bytes(
    command: str, moment: int, particles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if command == "align":
        reference = particles / "truth_structures" / "structure_1.mrc"
        # As much memory as holds two particles at a time.
        given = ["align", str(particles), "--reference", str(reference), "--memory", "0.54", "--threads", "1"]
        given += ["--no-refine"] if moment == 0 else []  # quick
        whole, out, more = tmp_path / "whole.star", tmp_path / "out.star", []
    elif command == "average":
        given = ["average", str(particles), "--iterations", "2", "--max-shift", "1", "--no-refine", "--threads", "1"]
        whole, out, more = tmp_path / "whole", tmp_path / "out", []
    else:
        given = ["pack", str(particles), "--shard-megabytes", "0.016", "--threads", "1"]
        whole, out, more = tmp_path / "whole", tmp_path / "out", ["--workers", "2"] if moment % 2 else []
    batches = random.Random(moment).randrange(1, 6)
    assert kill_after([*given, *more, "--out", str(out)], out, batches), "it was done before it was killed"
    assert not (out / RESULT[command] if command in RESULT else out).exists()
    assert main([*given, "--out", str(out)]) == 2
    assert "was not finished; add --resume to go on with it, or --overwrite to start anew" in capsys.readouterr().err
    assert main([*given, *more, "--out", str(out), "--resume"]) == 0
    assert not journal_path(out).exists()
    if command == "average":
        assert [path.name for path in tmp_path.iterdir()] == [out.name], "nothing is left of the killed run"
    assert main([*given, "--out", str(whole)]) == 0
    assert contents(out) == contents(whole)
