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


def rows_to_bytes(ticket: int, rows: Sequence[int]) -> bytes:
    """Return a batch as bytes: JSON, and a run of rows as its ends."""
    given = [rows[0], rows[-1] + 1] if isinstance(rows, range) and rows.step == 1 else list(rows)
    return json.dumps([ticket, isinstance(rows, range) and rows.step == 1, given]).encode()


def rows_from_bytes(data: bytes) -> tuple[int, Sequence[int]]:
    """Return ticket and rows that `rows_to_bytes` wrote."""
    ticket, is_range, given = json.loads(data)
    return ticket, range(*given) if is_range else given


def main() -> None:
    """Do batches until the other end of the socket is closed."""
    descriptor, device, threads = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    _end_with_parent()
    torch.set_num_threads(int(threads))
    connection = Connection(int(descriptor))
    try:
        runner = Runner(pickle.loads(connection.recv_bytes()), torch.device(device))
        while True:
            ticket, rows = rows_from_bytes(connection.recv_bytes())
            connection.send_bytes(runner.answer(ticket, rows).to_bytes())
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass


def _end_with_parent() -> None:
    """Ask Linux to kill this process when the one that started it ends: it might write where another run writes."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
