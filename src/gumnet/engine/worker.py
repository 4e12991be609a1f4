"""A worker process: ``python -m gumnet.engine.worker SOCKET DEVICE THREADS``, started by `gumnet.engine.pool`."""

from __future__ import annotations

import contextlib
import ctypes
import json
import pickle
import signal
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection

import torch

from gumnet.engine.work import Runner

_PR_SET_PDEATHSIG = 1


WORK, ROWS = b"W", b"R"
"""What a message begins with: a work as a pickle, which takes the place of the one before, or rows to do."""


def rows_to_bytes(ticket: int, rows: Sequence[int]) -> bytes:
    """Return a batch as bytes: JSON, and a run of rows as its ends."""
    given = [rows[0], rows[-1] + 1] if isinstance(rows, range) and rows.step == 1 else list(rows)
    return ROWS + json.dumps([ticket, isinstance(rows, range) and rows.step == 1, given]).encode()


def rows_from_bytes(data: bytes) -> tuple[int, Sequence[int]]:
    """Return ticket and rows that `rows_to_bytes` wrote."""
    ticket, is_range, given = json.loads(data[len(ROWS) :])
    return ticket, range(*given) if is_range else given


def main() -> None:
    """Do batches, of one work after another, until the other end of the socket is closed."""
    descriptor, device, threads = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    _end_with_parent()
    torch.set_num_threads(int(threads))
    connection = Connection(int(descriptor))
    try:
        runner: Runner | None = None
        while True:
            message = connection.recv_bytes()
            if message.startswith(WORK):
                runner = None  # what it holds goes before there is another
                runner = Runner(pickle.loads(message[len(WORK) :]), torch.device(device))
                continue
            assert runner is not None
            ticket, rows = rows_from_bytes(message)
            connection.send_bytes(runner.answer(ticket, rows).to_bytes())
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass


def _end_with_parent() -> None:
    """Ask Linux to kill this process when the one that started it ends: it might write where another run writes."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
