"""``gumnet benchmark``: its files, what it says of what it cannot do, how it goes on, and what it refuses."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gumnet.benchmark import speed, structures
from gumnet.benchmark.record import read_record
from gumnet.cli import benchmark_accuracy, benchmark_averaging
from gumnet.cli.main import main
from gumnet.geometry.fourier import resize
from gumnet.io.mrc import write_map
from gumnet.io.relion_write import write_particles
from gumnet.journal import journal_path
from gumnet.simulation.dataset import SimulationConfig, simulate
from gumnet.simulation.phantom import phantoms

SMALL = ["--quick", "--noise", "white", "--snr", "100", "--pairs", "2", "--methods", "exhaustive"]


@pytest.fixture(autouse=True, scope="module")
def made_once() -> Iterator[torch.Tensor]:
    """Make the phantom once for all calls."""
    made = phantoms(1, 32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structures, "phantoms", lambda count, box, size: made.expand(count, -1, -1, -1))
        patch.setattr(speed, "phantom", lambda seed, box: resize(made, box)[0])
        yield made


def test_accuracy_writes_its_files_and_says_what_did_not_run(
    made_once: torch.Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "sim" / "particles.star"
    made = simulate(made_once, particles=6, config=SimulationConfig(snr=20.0, max_shift=2.0))
    write_particles(table, made.particles.with_poses(made.truth))
    out = tmp_path / "out"
    call = ["benchmark", "accuracy", "--out", str(out), *SMALL, "gumnet-mp", "bound"]
    assert main([*call, "--real-particles", str(table), "--real-pairs", "2", "--allow-outside"]) == 0
    assert {path.name for path in out.iterdir()} == {f"accuracy.{s}" for s in ("json", "csv", "md", "png", "svg")}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".", "out."))] == []
    said = capsys.readouterr().out
    assert "not run: gumnet-mp: no weights of this network were given" in said
    assert "left" in said, "how long the rest takes"
    record = read_record(out / "accuracy.json")
    assert record["commit"]
    assert record["command"].startswith("gumnet benchmark accuracy --out out")
    assert str(tmp_path) not in json.dumps(record), "no folders of this machine"
    assert list(record["not_run"]) == ["gumnet-mp"]
    assert [cell["method"] for cell in record["cells"]] == ["exhaustive", "bound"]
    assert all(cell["mean"]["degrees"] < 1 for cell in record["cells"])
    assert len(record["cells"][0]["pairs"]["frobenius"]) == 2
    assert record["real"]["table"] == "particles.star"
    assert record["real"]["rows"]["exhaustive"]["pairs_within"]["share"] == 1
    with (out / "accuracy.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[1]["frobenius"]) == pytest.approx(record["cells"][1]["mean"]["frobenius"])
    text = (out / "accuracy.md").read_text()
    assert "phantom 0" in text
    assert "not the paper's complexes" in text
    assert "## Real particles: particles.star" in text
    assert (out / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert main(call) == 2
    assert "not empty" in capsys.readouterr().err


def test_accuracy_that_was_stopped_goes_on_as_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    call = ["benchmark", "accuracy", "--out", str(out), *SMALL, "bound"]

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(benchmark_accuracy, "_say_cell", stop)
        assert main(call) == 130
    assert journal_path(out).exists()
    assert not out.exists()
    capsys.readouterr()
    assert main(call) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*call, "--resume", "--seed", "1"]) == 2
    assert "the run began with --seed 0, now it is 1" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr("gumnet.benchmark.found.aligned", stop)  # the search is in the journal
        assert main([*call, "--resume"]) == 0
    assert (out / "accuracy.json").exists()
    assert not journal_path(out).exists()


def test_averaging_that_was_stopped_goes_on_as_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    call = ["benchmark", "averaging", "--out", str(out), "--quick", "--particles", "4", "--methods", "true"]

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(benchmark_averaging, "_say_cell", stop)
        assert main(call) == 130
    assert journal_path(out).exists()
    assert not out.exists()
    capsys.readouterr()
    assert main([*call, "--resume", "--seed", "1"]) == 2
    assert "the run began with --seed 0, now it is 1" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr("gumnet.benchmark.averaging._averaged", stop)  # the average is in the journal
        assert main([*call, "--resume"]) == 0
    assert [cell["method"] for cell in read_record(out / "averaging.json")["cells"]] == ["true"]
    assert not journal_path(out).exists()


@pytest.mark.parametrize("what", ["accuracy", "averaging", "speed"])
def test_help_begins_with_an_example(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", what, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.index("Example") < text.index(f"gumnet benchmark {what} --out {what}") < text.index("Parameters")


def test_averaging_and_speed_write_their_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "averaging"
    call = ["benchmark", "averaging", "--out", str(out), "--quick", "--particles", "4", "--max-shift", "1"]
    assert main([*call, "--methods", "true", "exhaustive", "--iterations", "1"]) == 0
    assert {path.name for path in out.iterdir()} == {"averaging.json", "averaging.csv", "averaging.md"}
    cells = read_record(out / "averaging.json")["cells"]
    assert [cell["method"] for cell in cells] == ["true", "exhaustive"]
    assert cells[0]["resolution_truth"] < 80
    assert "| true poses |" in (out / "averaging.md").read_text()
    out = tmp_path / "speed"
    call = ["benchmark", "speed", "--out", str(out), "--quick", "--pairs", "2", "--methods", "exhaustive"]
    assert main([*call, "--boxes", "16", "20", "--particles", "2", "3", "--device", "cpu"]) == 0
    assert {path.name for path in out.iterdir()} == {"speed.json", "speed.md"}
    (device,) = read_record(out / "speed.json")["devices"]
    assert device["peak_flops"] > 1e9
    method = device["methods"]["exhaustive"]
    assert 0 < method["of_peak_flops"] < 1
    assert method["bytes_a_pair"] > 32**3 * 4 * 2, "at least what it reads"
    assert list(device["boxes"]["exhaustive"]["seconds"]) == ["16", "20"]
    assert list(device["sets"]["aligned to one map"]["seconds"]) == ["2", "3"]
    assert "GFLOP/s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["accuracy", "--methods", "magic"], "--methods knows no 'magic'"),
        (["accuracy", "--snr", "0"], "--snr 0"),
        (["accuracy", "--pairs", "9"], "give 10 or more, 2 for each of 5 structures"),
        (["accuracy", "--noise", "pink"], "coloured"),
        (["accuracy", "--structures", "none.mrc"], "none.mrc"),
        (["accuracy", "--structures", "plain.mrc"], "--map-voxel-size"),
        (["accuracy", "--model", "none.safetensors"], "none.safetensors"),
        (["accuracy", "--methods", "gumnet-mp"], "no row can run"),
        (["accuracy", "--real-pairs", "0"], "--real-pairs 0"),
        (["accuracy", "--quick", "--real-particles", "none.star"], "none.star"),
        (["averaging", "--particles", "3"], "--particles 3"),
        (["averaging", "--iterations", "0"], "--iterations 0"),
        (["averaging", "--methods", "joint-mixed"], "knows no 'joint-mixed'"),
        (["averaging", "--max-shift", "16"], "max_shift"),
        (["speed", "--boxes", "8", "32"], "--boxes 8"),
        (["speed", "--pairs", "1"], "--pairs 1"),
        (["speed", "--methods", "gumnet-mp"], "no method can run"),
        (["nonsense"], "nonsense"),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_nothing(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_map(tmp_path / "plain.mrc", torch.rand(8, 8, 8), 1.0)
    assert main(["benchmark", *arguments, "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("gumnet: error: ")
    assert error.count("\n") == 1
    assert words in error
    assert [path.name for path in tmp_path.iterdir()] == ["plain.mrc"]
