"""Records for TensorBoard: the numbers of metrics.jsonl, or one line where it is not installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from gumnet.cli.main import main
from gumnet.training.board import FOLDER, board

NAME = "torch.utils.tensorboard"


class Writer:
    """Stands for the writer of TensorBoard."""

    made: list[Writer] = []  # noqa: RUF012

    def __init__(self, folder: str) -> None:
        self.folder, self.seen, self.closed = folder, [], False  # type: ignore[var-annotated]
        self.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.seen.append((name, value, step))

    def close(self) -> None:
        self.closed = True


def test_numbers_go_by_step_or_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(NAME)
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, NAME, module)
    with board(tmp_path, wanted=True) as scalars:
        scalars.add({"epoch": 1, "step": 7, "loss": 0.5})
        scalars.add({"epoch": 1, "train_loss": 0.25, "validation_loss": None})
    (writer,) = Writer.made
    assert writer.folder == str(tmp_path / FOLDER)
    assert writer.seen == [("loss", 0.5, 7), ("train_loss", 0.25, 1)]
    assert writer.closed
    with board(tmp_path, wanted=False) as scalars:
        scalars.add({"step": 1, "loss": 0.5})
    assert len(Writer.made) == 1


@pytest.mark.parametrize("command", [["train", "DATA"], ["tune"]])
def test_without_it_a_run_does_not_begin(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, NAME, None)
    data = str(tmp_path / "data")
    assert main(["simulate", "--out", data, "--particles", "4", "--box", "16", "--phantoms", "1"]) == 0
    capsys.readouterr()
    words = [data if word == "DATA" else word for word in command]
    assert main([*words, "--out", str(tmp_path / "run"), "--tensorboard"]) == 2
    error = capsys.readouterr().err
    assert "TensorBoard is not installed" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()
