"""kill -9 in the middle, then --resume: the same bytes as a run that was left alone.

GUMNET_FAULTS=20 tries that many moments of each command instead of one: every other one at a random time from start to
end and not by what the journal holds, and every third one with two workers.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from gumnet.cli.main import main
from gumnet.journal import journal_path
from tests.oracles.programs import QUICK, start

MOMENTS = int(os.environ.get("GUMNET_FAULTS", "1"))


@dataclass(frozen=True)
class Command:
    """A command that is killed.

    Parameters
    ----------
    arguments
        Its command line for a folder of particles, without output.
    result
        What is in a finished output that is a folder; empty where it is a file.
    shared
        Whether it takes workers.
    """

    arguments: Callable[[Path], list[str]]
    result: str = ""
    shared: bool = True


_CLUSTER = "--no-refine --k 2 --max-shift 1 --low-pass 100"
COMMANDS = {
    # As much memory as holds four particles at a time.
    "align": Command(
        lambda folder: [
            "align", str(folder), "--reference", str(folder / "truth_structures" / "structure_1.mrc"),
            "--memory", "0.534", "--no-refine",
        ]
    ),
    "pack": Command(lambda folder: ["pack", str(folder), "--shard-megabytes", "0.016"], "store.json"),
    "average": Command(
        lambda folder: ["average", str(folder), "--iterations", "2", "--max-shift", "1", "--no-refine"], "map.mrc"
    ),
    "cluster": Command(
        lambda folder: ["cluster", str(folder), *_CLUSTER.split()], "distances.npz", False
    ),
    "train": Command(
        lambda folder: [
            "train", str(folder), "--preset", "tiny", "--config", str(folder.parent / "train.toml"), "--epochs", "6",
        ],
        "model.safetensors",
        False,
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in QUICK.items():
        monkeypatch.setattr(name, value)


@dataclass(frozen=True)
class Whole:
    """A run that was left alone: its files, and the seconds that it took."""

    contents: dict[str, bytes]
    seconds: float


@pytest.fixture(scope="module")
def wholes(particles: Path, few: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Whole]:
    """Return what runs each command once."""
    made: dict[str, Whole] = {}

    def whole(name: str) -> Whole:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            out = folder / "whole.star"
            began = time.monotonic()
            process = start([*given(name, particles, few), "--out", str(out)], folder / "log")
            process.join(300)
            assert process.exitcode == 0, (folder / "log").read_text()
            made[name] = Whole(contents(out), time.monotonic() - began)
        return made[name]

    return whole


def given(name: str, particles: Path, few: Path) -> list[str]:
    return [*COMMANDS[name].arguments(particles if name in ("align", "pack") else few), "--threads", "1"]


def finished_batches(name: str, out: Path) -> int:
    """Return how much a run has kept: batches, iterations or epochs."""
    if name == "train":
        metrics = out / "metrics.jsonl"
        return metrics.read_bytes().count(b"train_loss") if metrics.exists() else 0
    journal = journal_path(out)
    # The first two records say what the run is and, but of an average, how it was cut.
    return journal.read_bytes().count(b"GNJ1") - 2 if journal.exists() else 0


def kill(arguments: list[str], log: Path, ready: Callable[[], bool]) -> bool:
    """Run gumnet until it is ready to be killed, kill it, and return whether that was in time."""
    process = start(arguments, log)
    while process.is_alive():
        if ready():
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            return process.exitcode == -signal.SIGKILL
        time.sleep(0.001)
    return False


def contents(out: Path) -> dict[str, bytes]:
    files = sorted(path for path in out.rglob("*") if path.is_file()) if out.is_dir() else [out]
    # A report says how long it took, and its figures may say when.
    data = [file for file in files if file.is_file() and file.suffix not in (".html", ".svg", ".png", ".pdf")]
    return {file.name.replace(out.stem, "out"): timeless(file) for file in data}


def timeless(file: Path) -> bytes:
    """Return the bytes of a file, but for the speed of a training."""
    if file.name != "metrics.jsonl":
        return file.read_bytes()
    records = [json.loads(line) for line in file.read_text().splitlines()]
    return json.dumps([{k: v for k, v in record.items() if k != "pairs_per_second"} for record in records]).encode()


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("moment", range(MOMENTS))
def test_a_killed_run_goes_on_to_the_same_bytes(
    name: str,
    moment: int,
    particles: Path,
    few: Path,
    wholes: Callable[[str], Whole],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command, out, log = COMMANDS[name], tmp_path / "out.star", tmp_path.parent / f"{tmp_path.name}.log"
    arguments = [*given(name, particles, few), "--out", str(out)]
    more = ["--workers", "2"] if command.shared and moment % 3 == 1 else []
    if more and name == "align":
        arguments[arguments.index("0.534")] = "1.57"  # as much as holds four at a time in each of them
    chance = random.Random(moment)
    by_time = moment % 2 == 1
    if by_time:
        end = time.monotonic() + chance.random() * wholes(name).seconds
        in_time = kill([*arguments, *more], log, lambda: time.monotonic() > end)
    else:
        batches = chance.randrange(1, 6)
        in_time = kill([*arguments, *more], log, lambda: finished_batches(name, out) >= batches)
        assert in_time, f"it was done before it was killed: {log.read_text()}"
    result = out / command.result
    resumed = ["--resume"]
    if name == "train":
        if not (out / "run.json").exists():
            assert by_time
            resumed = []
    elif result.exists():
        assert by_time, "nothing is there before all is done"
        if not journal_path(out).exists():
            resumed = ["--overwrite"] if in_time else []
    elif in_time and journal_path(out).exists():
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert "was not finished; add --resume to go on with it, or --overwrite to start anew" in said
    if result.exists() and name != "train":
        assert contents(out) == wholes(name).contents, "what is there is whole"
    if in_time:
        assert main([*arguments, *more, *resumed]) == 0
    assert not journal_path(out).exists()
    if name != "pack":  # which leaves a lock file of nothing
        assert [path.name for path in tmp_path.iterdir()] == [out.name], "nothing is left of the killed run"
    assert contents(out) == wholes(name).contents
