"""``--method auto`` says in a line what it chose and why, and what is kept of a run names that method."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gumnet.alignment.auto import PAIRS, TO_MAP
from gumnet.cli.main import main
from gumnet.journal import Journal, journal_path
from gumnet.particles import Particles, Poses


def test_align_says_what_it_chose_for_pairs_and_for_a_map(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def of_pairs(a: torch.Tensor, *_: object, method: str, **__: Any) -> Poses:
        asked.append(method)
        return Poses.identity(len(a))

    def to_map(particles: Particles, _: object, config: Any, **__: Any) -> tuple[Particles, tuple[()]]:
        asked.append(config.method)
        return particles, ()

    monkeypatch.setattr("gumnet.alignment.pairs.align_pairs", of_pairs)
    monkeypatch.setattr("gumnet.alignment.to_reference.align_tolerantly", to_map)
    reference = str(pairs / "truth_structures" / "structure_1.mrc")
    capsys.readouterr()
    for given, task in ((["--pairs", str(pairs / "pairs.csv")], PAIRS), (["--reference", reference], TO_MAP)):
        out = tmp_path / f"{task.method}.star"
        assert main(["align", str(pairs), *given, "--method", "auto", "--out", str(out)]) == 0
        assert capsys.readouterr().out.splitlines()[0] == task.words()
        assert main(["align", str(pairs), *given, "--out", str(out), "--overwrite"]) == 0
        assert "auto" not in capsys.readouterr().out, "nothing is chosen unless asked for"
        assert main(["align", str(pairs), *given, "--method", "auto", "--out", str(out), "--overwrite", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["method"] == task.method, "and no line beside it"
    assert asked == ["matched", "exhaustive", "matched", "exhaustive", "exhaustive", "exhaustive"]


@pytest.mark.parametrize(
    ("command", "run", "tasks", "other", "kept"),
    [
        (["cluster"], "gumnet.clustering.run.cluster", [PAIRS], "exhaustive", "matched"),
        (["average"], "gumnet.averaging.joint.average", [TO_MAP], "ht", "exhaustive"),
        (
            ["average", "--start", "pairs"],
            "gumnet.averaging.joint.average",
            [TO_MAP, PAIRS],
            "exhaustive",
            "exhaustive, matched for pairs",
        ),
        (["average", "--iterations", "0"], "gumnet.averaging.joint.average", [], "ht", "exhaustive"),
    ],
    ids=["cluster", "average", "average-pairs", "average-0"],
)
def test_a_run_that_goes_on_does_so_with_the_method_that_was_chosen(
    command: list[str],
    run: str,
    tasks: list[Any],
    other: str,
    kept: str,
    particles: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(*_: object, journal: Journal, **__: object) -> None:
        if 0 not in journal:
            journal.add(0, b"something that was finished")
        raise KeyboardInterrupt

    monkeypatch.setattr(run, stop)
    out = tmp_path / "out"
    call = [*command, str(particles), "--out", str(out), "--method"]
    capsys.readouterr()
    assert main([*call, "auto"]) == 130
    assert [line for line in capsys.readouterr().out.splitlines() if "auto" in line] == [t.words() for t in tasks]
    assert journal_path(out).exists()
    assert main([*call, other, "--resume"]) == 2
    assert f"the run began with --method {kept}, now it is {other}" in capsys.readouterr().err
    assert main([*call, "auto", "--resume"]) == 130


def test_a_model_is_refused_in_one_line(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["align", str(pairs), "--pairs", str(pairs / "pairs.csv"), "--out", str(tmp_path / "out.star")]
    capsys.readouterr()
    assert main([*call, "--method", "auto", "--model", "m.safetensors"]) == 2
    error = capsys.readouterr().err
    assert "--method auto uses no --model" in error
    assert error.count("\n") == 1
