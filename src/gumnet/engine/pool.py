"""Batches in several processes of this machine, one a device or a few on the CPU.

Each worker is a program of its own, `gumnet.engine.worker`, at the other end of a socket pair that only the two of them
hold. Forking would copy a process with threads and a GPU, and `multiprocessing` would run the caller's script again.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Self

import torch

from gumnet.engine.work import Answer, Work
from gumnet.engine.worker import WORK, rows_to_bytes
from gumnet.errors import RunError

_DEATHS_AT_START = 3
"""Workers in a row that end before their first answer, before the run is given up."""
_PATIENCE_SECONDS = 5.0


@dataclass
class _Worker:
    """A process and the batches that it was given: the first is being done."""

    process: subprocess.Popen[bytes]
    connection: Connection
    device: str
    given: deque[tuple[int, Sequence[int]]] = field(default_factory=deque)

    def end(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.wait(_PATIENCE_SECONDS)


class Pool:
    """Worker processes of this machine.

    Parameters
    ----------
    work
        Sent to each of them, once.
    devices
        One a worker.
    threads
        CPU threads of each.
    stays
        Whether workers that have nothing left to do stay for another `give`, when the context ends.
    """

    def __init__(self, work: Work, devices: Sequence[torch.device], threads: int, *, stays: bool = False) -> None:
        # To a child of this process, through a pair of sockets that nobody else has: see SECURITY.md.
        self._work = WORK + pickle.dumps(work)
        self._threads, self._stays = threads, stays
        self._waiting: deque[tuple[int, Sequence[int]]] = deque()
        self._lost: deque[Answer] = deque()
        self._deaths = 0
        self._workers: list[_Worker] = []
        self._start_all(devices)

    def _start_all(self, devices: Sequence[torch.device]) -> None:
        """Start a worker for each device that has none yet."""
        try:
            for device in devices[len(self._workers) :]:
                self._workers.append(self._start(str(device)))
        except BaseException:
            self.close()
            raise

    def give(self, work: Work, devices: Sequence[torch.device]) -> None:
        """Give other work to workers that stayed, and start as many more as there are more devices."""
        self._work, self._deaths = WORK + pickle.dumps(work), 0
        for place, worker in enumerate(self._workers):
            try:
                worker.connection.send_bytes(self._work)
            except OSError:  # it died since
                worker.end()
                self._workers[place] = self._start(worker.device)
        self._start_all(devices)

    @property
    def slots(self) -> int:
        """Two batches a worker: one that is done, one that waits with it."""
        return 2 * len(self._workers)

    def submit(self, ticket: int, rows: Sequence[int]) -> None:
        """Give a batch to the worker with the fewest."""
        self._waiting.append((ticket, rows))
        self._hand_out()

    def next(self) -> Answer:
        """Wait for an answer; a worker that ended without one is replaced."""
        while not self._lost:
            ready = wait([worker.connection for worker in self._workers])
            worker = next(w for w in self._workers if w.connection in ready)
            try:
                answer = Answer.from_bytes(worker.connection.recv_bytes())
            except (EOFError, OSError):
                self._replace(worker)
                continue
            self._deaths = 0
            worker.given.popleft()
            self._hand_out()
            return answer
        return self._lost.popleft()

    def close(self) -> None:
        """End the workers, whatever they do."""
        for worker in self._workers:
            worker.end()
        self._workers = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        busy = self._waiting or self._lost or any(worker.given for worker in self._workers)
        if busy or not self._stays:
            self.close()
            self._waiting.clear()
            self._lost.clear()

    def _hand_out(self) -> None:
        while self._waiting:
            worker = min(self._workers, key=lambda w: len(w.given))
            if len(worker.given) >= 2:
                return
            batch = self._waiting.popleft()
            worker.given.append(batch)
            try:
                worker.connection.send_bytes(rows_to_bytes(*batch))
            except OSError:
                return  # it died; `next` will see that

    def _replace(self, worker: _Worker) -> None:
        """Start another worker in the place of one that died; of its batches only the one being done has failed."""
        worker.end()
        self._deaths += 1
        if self._deaths > max(_DEATHS_AT_START, len(self._workers)) and not worker.given:
            raise RunError(f"worker processes end as soon as they start (exit code {worker.process.returncode})")
        self._workers[self._workers.index(worker)] = self._start(worker.device)
        if worker.given:
            ticket, _ = worker.given.popleft()
            self._lost.append(Answer(ticket, None, f"the worker died (exit code {worker.process.returncode})"))
        self._waiting.extendleft(reversed(worker.given))
        self._hand_out()

    def _start(self, device: str) -> _Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            environment = {
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
                "OMP_NUM_THREADS": str(self._threads),
                "MKL_NUM_THREADS": str(self._threads),
            }
            command = [sys.executable, "-m", "gumnet.engine.worker", str(theirs.fileno()), device, str(self._threads)]
            none = subprocess.DEVNULL
            process = subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()], stdin=none, stdout=none)
        worker = _Worker(process, Connection(ours.detach()), device)
        with contextlib.suppress(OSError):  # if it died already, `next` will see that
            worker.connection.send_bytes(self._work)
        return worker
