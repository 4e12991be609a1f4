"""``gumnet tune``."""

from __future__ import annotations

from pathlib import Path

import pytest

from gumnet.cli.main import main
from gumnet.model.matched_filter import load_filter


def test_trains_a_filter_that_align_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, data = tmp_path / "run", tmp_path / "data"
    assert main(["tune", "--out", str(run), "--steps", "1"]) == 0
    assert str(run / "model.safetensors") in capsys.readouterr().out
    assert load_filter(run / "model.safetensors").config.network
    assert main(["tune", "--out", str(run), "--steps", "1"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    small = ["--box", "16", "--snr", "10", "--phantoms", "1"]
    assert main(["simulate", "--out", str(data), "--pairs", "1", *small]) == 0
    method = ["--method", "matched", "--model", str(run / "model.safetensors")]
    pairs = ["align", str(data), "--pairs", str(data / "pairs.csv"), "--out", str(tmp_path / "poses.star")]
    assert main([*pairs, *method]) == 0
    capsys.readouterr()
    assert main(["info", str(run / "model.safetensors")]) == 0
    assert "weights of a matched filter" in capsys.readouterr().out


def test_volumes_are_refused_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(tmp_path / "data")
    assert main(["simulate", "--out", data, "--particles", "8", "--box", "16", "--phantoms", "1"]) == 0
    capsys.readouterr()
    assert main(["tune", data, "--out", str(tmp_path / "run")]) == 2
    assert "the same noise" in capsys.readouterr().err
    assert main(["tune", data, "--other", data, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "share their noise" in error
    assert error.count("\n") == 1
    assert main(["tune", "--other", data, "--out", str(tmp_path / "run")]) == 2
    assert "--other goes with" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
