"""``gumnet average`` stopped and gone on with, and its options about classes, symmetry and masks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from gumnet.averaging.config import AverageConfig
from gumnet.averaging.start_config import Phase, StartConfig
from gumnet.cli.main import main
from gumnet.io.mrc import read_map
from gumnet.io.read import read_particles
from gumnet.journal import journal_path

SAME = ("map.mrc", "half1.mrc", "half2.mrc", "fsc.star", "particles.star")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "particles"
    small = ["--box", "12", "--voxel-size", "24", "--max-shift", "1", "--snr", "5", "--phantoms", "1"]
    assert main(["simulate", "--out", str(folder), "--particles", "12", *small]) == 0
    return folder


@pytest.fixture(autouse=True)
def short_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    phases = (Phase(2, 1, 1.0, 0.7), Phase(3, 1, 0.5, 0.7))
    monkeypatch.setattr("gumnet.averaging.first_search.SCHEDULE", phases)


def stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_stopped_run_goes_on_to_the_same_bytes_and_only_as_it_began(
    simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["average", str(simulated), "--iterations", "2", "--max-shift", "1", "--no-refine"]
    out, whole = tmp_path / "out", tmp_path / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gumnet.cli.average._Told.iteration", stop)
        assert main([*given, "--out", str(out)]) == 130
    assert journal_path(out).exists()
    assert not out.exists()
    killed = tmp_path / ".out.abcd1234.tmp"  # what kill -9 would have left
    killed.mkdir()
    other = tmp_path / ".out.b.abcd1234.tmp"  # of a run of another name
    other.mkdir()
    capsys.readouterr()
    volumes = simulated / "volumes.mrcs"
    times = volumes.stat().st_atime_ns, volumes.stat().st_mtime_ns
    for more, words in (
        ([], "was not finished; add --resume"),
        (["--resume", "--seed", "1"], "the run began with --seed 0, now it is 1"),
        (["--resume", "--classes", "2"], "the run began with --classes 1, now it is 2"),
        (["--resume", "--mask", "auto"], "the run began with --mask not given, now it is auto"),
    ):
        assert main([*given, "--out", str(out), *more]) == 2
        line = capsys.readouterr().err
        assert words in line
        assert line.count("\n") == 1
    os.utime(volumes, ns=(times[0], times[1] + 10**9))
    assert main([*given, "--out", str(out), "--resume"]) == 2
    assert "the particles changed since the run began" in capsys.readouterr().err
    os.utime(volumes, ns=times)
    assert main([*given, "--out", str(out), "--resume"]) == 0
    text = capsys.readouterr().out
    assert "going on with what was finished before" in text
    assert "iteration 1" not in text
    assert "iteration 2" in text
    assert main([*given, "--out", str(whole), "--resume"]) == 0, "nothing to go on with is no error"
    text = capsys.readouterr().out
    assert f"first maps of half 1: {2 * StartConfig().starts} steps, shells up to 3, evidence" in text
    assert "going on" not in text
    for name in SAME:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "out", "whole"]
    assert main([*given, "--out", str(out), "--resume"]) == 2, "it is there"
    confidences = read_particles(out / "particles.star").poses.confidences
    assert confidences is not None
    assert bool(((confidences >= 0) & (confidences <= 1)).all())


def test_an_automatic_mask_is_said_and_written(
    simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    given = ["average", str(simulated / "truth.star"), "--iterations", "0", "--out", str(out)]
    assert main([*given, "--mask", "auto"]) == 0
    assert "Automatic mask: " in capsys.readouterr().out
    mask, size = read_map(out / "mask.mrc")
    assert size == 24.0
    assert 0 <= float(mask.min()) < float(mask.max()) <= 1
    assert main([*given, "--overwrite", "--symmetry", "c2"]) == 0
    made = read_map(out / "map.mrc")[0]
    # Even boxes: the first plane has no partner.
    turned = made[:, 1:, 1:].flip(1, 2)
    torch.testing.assert_close(made[:, 1:, 1:], turned, atol=0.02 * float(made.max()), rtol=0)


def test_classes_are_in_the_table(simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    given = ["--classes", "2", "--iterations", "1", "--max-shift", "1", "--no-refine"]
    assert main(["average", str(simulated), "--out", str(out), *given]) == 0
    text = capsys.readouterr().out
    assert "first maps of all particles" in text
    # All are of one structure, so one of the classes may be left with too few for two halves.
    assert "class 1, iteration 1: aligned to" in text or "class 2, iteration 1: aligned to" in text
    assert set(read_particles(out / "particles.star").classes.tolist()) <= {1, 2}


def test_wrong_options_are_refused_in_a_line(
    simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, words in (
        (["--symmetry", "X7"], "there is no point group 'X7'"),
        (["--classes", "0"], "0 classes"),
        (["--start", "nowhere"], "--start"),
        (["--classes", "2", "--start", "blob"], "one map cannot start several classes"),
        (["--mask", "none.mrc"], "none.mrc"),
    ):
        assert main(["average", str(simulated), "--out", str(tmp_path / "out"), *more]) == 2
        line = capsys.readouterr().err
        assert words in line
        assert line.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_help_tells_the_default_of_iterations(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["average", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"[default: {AverageConfig().iterations}]" in text
