"""What a run records, for TensorBoard too: metrics.jsonl is always written, this only where it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gumnet.errors import InputError

FOLDER = "tensorboard"


class Board:
    """Takes records of a run; this one drops them."""

    def add(self, record: Mapping[str, Any]) -> None:
        """Take the numbers of a record of metrics.jsonl, by its step, or by its epoch where it has no step."""

    def close(self) -> None:
        """Write what is left."""


class _TensorBoard(Board):
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def add(self, record: Mapping[str, Any]) -> None:
        place = record.get("step", record.get("epoch"))
        for name, value in record.items():
            if name not in ("step", "epoch") and isinstance(value, int | float):
                self._writer.add_scalar(name, value, place)

    def close(self) -> None:
        self._writer.close()


def check_board(wanted: bool) -> None:
    """Raise `InputError` if TensorBoard is asked for and not there, before a run begins."""
    if wanted:
        _writers()


@contextmanager
def board(folder: Path, *, wanted: bool) -> Iterator[Board]:
    """Yield what takes the records of a run in ``folder``: event files in its subfolder `FOLDER`, or nothing.

    Raises
    ------
    InputError
        If TensorBoard is not installed.
    """
    opened = _TensorBoard(_writers().SummaryWriter(str(folder / FOLDER))) if wanted else Board()
    try:
        yield opened
    finally:
        opened.close()


def _writers() -> Any:
    try:
        return importlib.import_module("torch.utils.tensorboard")
    except ImportError:
        raise InputError(
            "TensorBoard is not installed",
            cure="install it (pip install tensorboard), or leave --tensorboard out: metrics.jsonl has the same numbers",
        ) from None
