"""Inputs that change while they are read, and clocks and locales that are odd."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gumnet.cli.main import main
from gumnet.journal import Journal
from tests.oracles.programs import QUICK

VOLUMES, FAR_AHEAD = "volumes.mrcs", 4.0e9
COMMANDS = {
    "align": "--no-refine --memory 0.6 --reference {folder}/truth_structures/structure_1.mrc",
    "pack": "--shard-megabytes 0.03",
    "average": "--iterations 1 --max-shift 1 --no-refine",
    "cluster": "--k 2 --no-refine --max-shift 1 --low-pass 100",
}


@pytest.fixture
def own(few: Path, tmp_path: Path) -> Path:
    """A copy of twelve particles that may be changed."""
    folder = tmp_path / "own"
    shutil.copytree(few, folder)
    for table in ("particles.star", "truth.star"):
        (folder / table).write_text((folder / table).read_text().replace(str(few), str(folder)))
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in QUICK.items():
        monkeypatch.setattr(name, value)


def overwrite_one(path: Path) -> None:
    """Change a voxel of the last volume, as a program does that extracts anew."""
    with path.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(np.float32(3).tobytes())
    os.utime(path, (FAR_AHEAD, FAR_AHEAD))  # that its time is in the future does not hide it


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1000)


def change_after_the_first_batch(monkeypatch: pytest.MonkeyPatch, change: Callable[[], None]) -> None:
    add, done = Journal.add, []

    def following(journal: Journal, number: int, payload: bytes) -> None:
        add(journal, number, payload)
        if number < 2**63 and not done:
            done.append(number)
            change()

    monkeypatch.setattr(Journal, "add", following)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("command", COMMANDS)
def test_an_input_that_changes_is_named_and_nothing_is_written(
    command: str, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    change_after_the_first_batch(monkeypatch, lambda: overwrite_one(own / VOLUMES))
    out = tmp_path / "out.star"
    given = [command, str(own), "--out", str(out), "--threads", "1", *COMMANDS[command].format(folder=own).split()]
    assert main(given) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{VOLUMES}: the file changed while it was read; start anew with --overwrite" in said
    assert not (out / "store.json").exists()
    assert not out.is_file()
    assert not (out / "particles.star").exists()
    assert main([*given, "--resume"]) == 2
    assert "the particles changed since the run began" in capsys.readouterr().err


@pytest.mark.parametrize("packed", [False, True])
def test_an_input_that_is_cut_off_is_named(
    packed: bool, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    particles, volumes = own, own / VOLUMES
    if packed:
        particles, volumes = tmp_path / "store", tmp_path / "store" / "volumes-00000.mrcs"
        assert main(["pack", str(own), "--out", str(particles)]) == 0
    change_after_the_first_batch(monkeypatch, lambda: cut_off(volumes))
    given = COMMANDS["align"].format(folder=own).split()
    assert main(["align", str(particles), "--out", str(tmp_path / "out.star"), "--threads", "1", *given]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert volumes.name in said
    assert "the shard is damaged" in said if packed else "the file was cut off" in said
    assert not (tmp_path / "out.star").exists()


PROGRAM = """
import sys, time
time.time = lambda: -5e8
from gumnet.cli.main import main
sys.exit(max(main(line.split("|")) for line in sys.argv[1:]))
"""


def test_neither_clock_nor_locale_matter(own: Path, tmp_path: Path) -> None:
    """In ASCII, in a time zone of its own, in 1954, with files of 1970 and of 2096, in a folder of an odd name."""
    odd = tmp_path / "Gefäß Å µ"
    shutil.move(own, odd)
    for table in ("particles.star", "truth.star"):
        (odd / table).write_text((odd / table).read_text().replace(f"{own}/", ""))
    for i, file in enumerate(sorted(odd.iterdir())):
        os.utime(file, (FAR_AHEAD, FAR_AHEAD) if i % 2 else (0, 0))
    given = ["pack", str(odd), "--threads", "1", "--out"]
    lines = ["|".join([*given, str(odd / "there")]), "|".join(["info", str(odd / "there"), "--verify"])]
    settings = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "TZ": "<+1345>-13:45"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, *lines],
        env={**os.environ, **settings, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert b"Gef\\xe4\\xdf" in done.stdout, "what a terminal cannot show is said in another way"
    assert main([*given, str(odd / "here")]) == 0
    for file in (odd / "here").iterdir():
        assert (odd / "there" / file.name).read_bytes() == file.read_bytes(), file.name
