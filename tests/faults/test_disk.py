"""Disks that are full or read-only, and particles that are not numbers: one line, and what was done stays."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gumnet.cli.main import main
from gumnet.io.read import read_particles
from gumnet.journal import journal_path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB of its own; only root may make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or mount("-t", "tmpfs", "-o", "size=200k", "none", str(disk)) != 0:
        pytest.skip("only root can mount a small file system, and not in every container")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def mount(*arguments: str) -> int:
    if shutil.which("mount") is None:
        return 1
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    text = capsys.readouterr().err
    assert text.count("\n") == 1, text
    return text


def test_a_disk_that_is_too_small_is_said_before_the_work(
    particles: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pack", str(particles), "--out", str(small_disk / "s"), "--type", "float32"]) == 2
    assert "the store takes 0.0004 GB and more, and 0.0002 GB are free there" in one_line(capsys)
    assert not (small_disk / "s").exists()


# mrcfile leaves a file open whose last bytes do not fit.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_disk_that_fills_up_keeps_what_was_done(
    particles: Path, small_disk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gumnet.io.pack._check_space", lambda *_: None)
    out = small_disk / "s"
    command = ["pack", str(particles), "--out", str(out), "--shard-megabytes", "0.016"]
    assert main(command) == 1
    assert "No space left on device" in one_line(capsys)
    done = sorted(path.name for path in out.glob("volumes-*"))
    assert done
    assert journal_path(out).exists()
    assert mount("-o", "remount,size=4M", str(small_disk)) == 0
    before = [(out / name).stat().st_mtime_ns for name in done]
    assert main([*command, "--resume"]) == 0
    assert [(out / name).stat().st_mtime_ns for name in done] == before, "what was done is not done again"
    assert main(["info", str(out), "--verify"]) == 0


def test_a_journal_that_cannot_grow_ends_the_run_in_one_line(
    particles: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = small_disk / "out.star"
    (small_disk / "filler").write_bytes(bytes(48 * 4096))
    reference = particles / "truth_structures" / "structure_1.mrc"
    command = ["align", str(particles), "--reference", str(reference), "--memory", "0.54", "--out", str(out)]
    assert main(command) == 1
    assert "No space left on device" in one_line(capsys)
    assert not out.exists()
    (small_disk / "filler").unlink()
    assert main([*command, "--resume"]) == 0
    assert len(read_particles(out)) == 24


@pytest.mark.parametrize("command", ["align", "pack", "average", "cluster", "train"])
def test_a_read_only_disk_is_said_before_the_work(
    command: str, particles: Path, few: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mount("-o", "remount,ro", str(small_disk)) == 0
    particles = few if command == "train" else particles
    given = ["--reference", str(particles / "truth_structures" / "structure_1.mrc")] if command == "align" else []
    assert main([command, str(particles), *given, "--out", str(small_disk / "out.star")]) == 2
    line = one_line(capsys)
    assert "cannot be" in line
    assert "choose a folder that you may write to" in line


def test_a_training_whose_files_cannot_grow_goes_on_later(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a full disk, and without one of its own: a checkpoint does not fit, and the one before it stays."""
    given = ["train", str(few), "--preset", "tiny", "--config", str(few.parent / "train.toml"), "--device", "cpu"]
    out, whole = tmp_path / "out", tmp_path / "whole"
    assert main([*given, "--epochs", "1", "--out", str(out)]) == 0
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before["checkpoint.safetensors"]) // 2, hard))
    try:
        assert main([*given, "--epochs", "2", "--resume", "--out", str(out)]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large" in one_line(capsys)
    assert (out / "checkpoint.safetensors").read_bytes() == before["checkpoint.safetensors"]
    assert {file.name for file in out.iterdir()} == set(before)
    assert main([*given, "--epochs", "2", "--resume", "--out", str(out)]) == 0
    assert main([*given, "--epochs", "2", "--out", str(whole)]) == 0
    for file in ("model.safetensors", "checkpoint.safetensors"):
        assert (out / file).read_bytes() == (whole / file).read_bytes()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_particles_that_are_not_numbers_are_named_or_left_out(
    value: float, particles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bad"
    shutil.copytree(particles, folder)
    with (folder / "volumes.mrcs").open("r+b") as file:
        file.seek(1024 + (5 * 16**3 + 77) * 4)
        file.write(np.float32(value).tobytes())
    out = tmp_path / "store"
    assert main(["pack", str(folder), "--out", str(out)]) == 2
    assert "particle 6 holds 1 values that are NaN or infinite" in one_line(capsys)
    assert main(["pack", str(folder), "--out", str(out), "--skip-bad"]) == 0
    assert len(read_particles(out)) == 23
    assert (tmp_path / "store_bad_particles.txt").read_text().splitlines()[1].startswith("6\t")
