"""``gumnet train``: where settings come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gumnet.cli.main import main
from gumnet.cli.train import run_config
from gumnet.errors import InputError
from gumnet.io.read import read_particles
from gumnet.model.gumnet import PRESETS


def toml(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text)
    return path


def test_command_line_goes_before_the_file_and_the_file_before_the_defaults(tmp_path: Path) -> None:
    path = toml(tmp_path, 'preset = "tiny"\nepochs = 40\nlearning_rate = 1\n[network]\nhead = "euler"\n')
    config = run_config(path, {"epochs": 3})
    assert config.epochs == 3
    assert config.learning_rate == 1.0
    assert config.batch_size == run_config(None, {}).batch_size
    assert config.network.head == "euler"
    assert config.network.channels == PRESETS["tiny"].channels
    assert run_config(path, {"preset": "small"}).network.channels == PRESETS["small"].channels


def test_lists_become_tuples(tmp_path: Path) -> None:
    path = toml(tmp_path, "[network]\nchannels = [2, 4, 4, 8, 8]\n")
    assert run_config(path, {}).network.channels == (2, 4, 4, 8, 8)
    bands = run_config(toml(tmp_path, "bands = [0.25, 0.5, 1]\n"), {}).bands
    assert bands == (0.25, 0.5, 1.0)
    assert all(type(band) is float for band in bands)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch = 3\n", "unknown key epoch; known are epochs"),
        ("[network]\nheads = 3\n", "unknown key network.heads"),
        ("network = 3\n", "network is not a table"),
        ('bands = [0.5, "all"]\n', "bands is [0.5, 'all']"),
        ('epochs = "many"\n', "epochs is 'many'"),
        ("epochs = 2.5\n", "epochs is 2.5"),
        ("epochs = true\n", "epochs is True"),
        ("epochs = 0\n", "epochs is 0; give 1 or more"),
        ('preset = "huge"\n', "unknown preset 'huge'"),
        ("epochs 3\n", "is not TOML"),
    ],
)
def test_a_wrong_config_names_the_file_the_key_and_the_cure(tmp_path: Path, text: str, words: str) -> None:
    path = toml(tmp_path, text)
    with pytest.raises(InputError) as caught:
        run_config(path, {})
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_trains_resumes_and_aligns_with_the_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run, out = str(tmp_path / "data"), tmp_path / "run", tmp_path / "aligned.star"
    small = ["--box", "20", "--snr", "10", "--phantoms", "1"]
    assert main(["simulate", "--out", data, "--particles", "5", *small]) == 0
    train = ["train", data, "--out", str(run), "--preset", "tiny", "--pairs-per-epoch", "2", "--batch-size", "2"]
    assert main([*train, "--epochs", "1"]) == 0
    assert str(run / "model.safetensors") in capsys.readouterr().out
    assert main([*train, "--epochs", "1"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*train, "--epochs", "2", "--resume"]) == 0
    assert main([*train, "--epochs", "2", "--resume", "--bands", "0.5", "1", "--consistency", "0.1"]) == 2
    assert "with bands [1.0], not [0.5, 1.0]" in capsys.readouterr().err
    epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in epochs if "validation_loss" in entry] == [0, 1]
    reference = str(tmp_path / "data" / "truth_structures" / "structure_1.mrc")
    model = ["--method", "gumnet", "--model", str(run / "model.safetensors")]
    assert main(["align", data, "--reference", reference, "--out", str(out), *model]) == 0
    assert len(read_particles(out)) == 5
    assert main(["simulate", reference, "--out", str(tmp_path / "big"), "--particles", "2", "--box", "24"]) == 0
    capsys.readouterr()
    arguments = ["average", str(tmp_path / "big"), "--out", str(tmp_path / "average"), *model]
    assert main(arguments) == 2, "a model for another box"
    assert "20" in capsys.readouterr().err


def test_a_missing_config_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["train", "p.star", "--out", str(tmp_path / "o"), "--config", str(tmp_path / "no.toml")])
    assert code == 2
    assert "no.toml: cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_init_and_preset_contradict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "p.star", "--out", str(tmp_path), "--init", "m.safetensors", "--preset", "tiny"]) == 2
    assert "leave --preset out" in capsys.readouterr().err
