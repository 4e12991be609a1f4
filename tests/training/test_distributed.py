"""Training on two processes is training on one with the same batches, and only the first of them writes and speaks."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from gumnet.cli.main import main
from gumnet.errors import InputError
from gumnet.model.weights import load_model
from gumnet.training.distributed import Group
from tests.oracles.programs import start

# Batches of 5, 5 and 4 pairs: the shares of two processes differ.
TOML = "pairs_per_epoch = 14\nbatch_size = 5\nvalidation_pairs = 7\n"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "particles"
    small = ["--box", "18", "--voxel-size", "20", "--snr", "2", "--phantoms", "1"]
    assert main(["simulate", "--out", str(folder), "--particles", "12", *small]) == 0
    (folder / "train.toml").write_text(TOML)
    return folder


def training(simulated: Path, out: Path) -> list[str]:
    config = str(simulated / "train.toml")
    return ["train", str(simulated), "--out", str(out), "--preset", "tiny", "--device", "cpu", "--config", config]


def on_two(arguments: list[str], log: Path) -> list[int | None]:
    """Run gumnet as torchrun would, in two processes of this machine, and return their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "test"}
    processes = [start(arguments, log, {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


def losses(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_learn_what_one_learns(simulated: Path, tmp_path: Path) -> None:
    one, two, log = tmp_path / "one", tmp_path / "two", tmp_path / "log"
    assert main([*training(simulated, one), "--epochs", "2"]) == 0
    given = training(simulated, two)
    assert on_two([*given, "--epochs", "1"], log) == [0, 0]
    assert on_two([*given, "--epochs", "2", "--resume"], log) == [0, 0]
    assert log.read_text().count("the best weights are in") == 2, "said once a run, by the first"
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
    expected, found = losses(one), losses(two)
    assert [record.keys() for record in found] == [record.keys() for record in expected]
    for name in ("loss", "train_loss", "validation_loss"):
        values = [record[name] for record in expected if name in record]
        assert values
        assert [record[name] for record in found if name in record] == pytest.approx(values, abs=2e-4)
    assert found[0]["loss"] == pytest.approx(expected[0]["loss"], abs=1e-6), "nothing was learned yet"
    weights, others = (load_model(folder / "model.safetensors").state_dict() for folder in (one, two))
    for name, tensor in weights.items():
        # Adam moves a weight by up to a thousandth a step whatever its gradient, so rounding may turn small ones.
        torch.testing.assert_close(others[name], tensor, atol=2e-3, rtol=2e-3)
    # Two processes with statistics of their own would differ by a tenth.
    name = next(name for name in weights if name.endswith("running_var"))
    torch.testing.assert_close(others[name], weights[name], rtol=1e-4, atol=1e-6)


def test_what_is_wrong_is_said_once(simulated: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    assert on_two(training(simulated, tmp_path / "taken"), log) == [2, 2]
    assert log.read_text().count("the folder is not empty") == 1
    assert "Traceback" not in log.read_text()


def test_shares_are_even_and_whole() -> None:
    pairs = torch.arange(22).view(11, 2)
    groups = [Group(torch.device("cpu"), rank, 3) for rank in range(3)]
    shares = [group.share(pairs) for group in groups]
    assert torch.equal(torch.cat(shares), pairs)
    assert [len(share) for share in shares] == [4, 4, 3]
    for pairs_an_epoch, batch, words in (
        (12, 2, "a batch of 2 pairs is too small"),
        (14, 6, "the last batch .* has 2"),
    ):
        with pytest.raises(InputError, match=words):
            groups[0].check_batches(pairs_an_epoch, batch)
    groups[0].check_batches(12, 6)
    Group(torch.device("cpu")).check_batches(13, 12)
