"""``gumnet align``: several processes, runs that go on, and particles that fail."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gumnet.alignment.exhaustive import ExhaustiveAligner
from gumnet.cli.main import main
from gumnet.io.read import read_particles
from gumnet.journal import journal_path
from gumnet.particles import Poses

ONE_THREAD = ["--threads", "1"]
BOX = 16


@pytest.fixture(autouse=True)
def two_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gumnet.alignment.batch._MOST", {"cpu": 2, "cuda": 2})


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "six"
    made = ["--particles", "6", "--box", str(BOX), "--voxel-size", "20", "--snr", "10", "--phantoms", "1"]
    assert main(["simulate", "--out", str(folder), *made, "--max-shift", "2"]) == 0
    return folder


def command(folder: Path, out: Path, *more: str) -> list[str]:
    reference = folder / "truth_structures" / "structure_1.mrc"
    return ["align", str(folder), "--reference", str(reference), "--out", str(out), *more]


@pytest.fixture
def aligned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the size of each batch that is aligned, quickly: every pose is the identity.

    Particles whose first voxel is 1000 make the aligner fail.
    """
    sizes: list[int] = []

    def stand_in(_: Any, reference: torch.Tensor, particles: torch.Tensor, *rest: Any) -> Poses:
        if bool((particles[:, 0, 0, 0] == 1000).any()):
            raise RuntimeError("the search has lost its way")
        sizes.append(len(particles))
        count = sum(sizes)
        scores = torch.arange(count - len(particles), count, dtype=torch.float64) / 10
        return Poses.of(torch.eye(3).double().expand(len(particles), 3, 3), torch.zeros(len(particles), 3), scores)

    monkeypatch.setattr(ExhaustiveAligner, "align", stand_in)
    return sizes


def put(folder: Path, rows: Sequence[int], value: float) -> None:
    """Set the first voxel of some particles."""
    with (folder / "volumes.mrcs").open("r+b") as file:
        for row in rows:
            file.seek(1024 + row * BOX**3 * 4)
            file.write(np.float32(value).tobytes())


def scores_in(table: Path) -> torch.Tensor:
    return read_particles(table).poses.scores


def test_processes_give_the_bytes_of_one(simulated: Path, tmp_path: Path) -> None:
    assert main(command(simulated, tmp_path / "a.star", *ONE_THREAD)) == 0
    shared = [*ONE_THREAD, "--workers", "2"]
    assert main(command(simulated, tmp_path / "b.star", *shared)) == 0
    assert (tmp_path / "a.star").read_bytes() == (tmp_path / "b.star").read_bytes()


def test_a_particle_that_fails_is_left_out_listed_and_tried_again(
    simulated: Path,
    tmp_path: Path,
    aligned: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, out = tmp_path / "six", tmp_path / "out.star"
    shutil.copytree(simulated, folder)
    put(folder, [3], 1000)
    assert main(command(folder, out, *ONE_THREAD)) == 1
    error = capsys.readouterr().err
    listed = tmp_path / "out_failed_particles.txt"
    assert f"1 of 6 particles failed and are not in {out}; they are listed in {listed}" in error
    assert error.count("\n") == 1
    assert listed.read_text().splitlines()[1] == "4\tparticle_4\tRuntimeError: the search has lost its way"
    assert aligned == [2, 1, 2], "the particle beside it was aligned on its own"
    assert len(read_particles(out)) == 5
    assert main(command(folder, out, *ONE_THREAD, "--resume", "--verbose")) == 1
    assert "in stand_in\n" in capsys.readouterr().err
    # The cause is gone, as after an update of a driver: the input is the same, and only what failed is done.
    monkeypatch.setattr(ExhaustiveAligner, "align", lambda *_: Poses.identity(2))
    assert main(command(folder, out, *ONE_THREAD, "--resume")) == 0
    assert torch.isnan(scores_in(out)).tolist() == [False, False, True, True, False, False]
    assert not listed.exists()


def test_a_bad_particle_late_in_a_run_loses_nothing(
    simulated: Path, tmp_path: Path, aligned: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "six", tmp_path / "out.star"
    shutil.copytree(simulated, folder)
    put(folder, [5], float("nan"))
    assert main(command(folder, out, *ONE_THREAD)) == 2
    assert "particle 6 holds 1 values that are NaN" in capsys.readouterr().err
    assert aligned == [2, 2]
    assert not out.exists()
    assert main(command(folder, out, *ONE_THREAD, "--skip-bad")) == 2
    assert "was not finished; add --resume" in capsys.readouterr().err
    assert main(command(folder, out, *ONE_THREAD, "--skip-bad", "--resume")) == 0
    assert aligned == [2, 2, 1], "what was done is not done again"
    assert len(read_particles(out)) == 5
    assert (tmp_path / "out_bad_particles.txt").read_text().splitlines()[1].startswith("6\t")
    assert not journal_path(out).exists()
    assert scores_in(out).tolist() == [0, 0.1, 0.2, 0.3, 0.4]


def test_only_the_same_run_goes_on(
    simulated: Path, tmp_path: Path, aligned: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "six", tmp_path / "out.star"
    shutil.copytree(simulated, folder)
    put(folder, [5], float("nan"))
    assert main(command(folder, out, *ONE_THREAD)) == 2
    capsys.readouterr()
    assert main(command(folder, out, *ONE_THREAD, "--resume", "--symmetry", "C2")) == 2
    assert "the run began with --symmetry C1, now it is C2; give what it began with" in capsys.readouterr().err
    put(folder, [5], 0.5)
    assert main(command(folder, out, *ONE_THREAD, "--resume")) == 2
    assert "the particles changed since the run began" in capsys.readouterr().err
    assert main(command(folder, out, *ONE_THREAD, "--overwrite")) == 0
    assert len(read_particles(out)) == 6


def test_a_finished_run_is_not_overwritten_by_resume(
    simulated: Path, tmp_path: Path, aligned: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.star"
    assert main(command(simulated, out, "--resume")) == 0, "where nothing is there, it begins"
    assert main(command(simulated, out, "--resume")) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--resume"], ["--workers", "2"], ["--cluster", "local:2"]])
def test_pairs_know_no_such_option(option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["align", "x.star", "--pairs", "x.csv", "--out", str(tmp_path / "o.star"), *option]
    assert main(given) == 2
    assert f"{option[0]} does not go with --pairs" in capsys.readouterr().err
