"""Batches on a Dask cluster: on this machine, at a scheduler that runs, or in the jobs of a queue such as SLURM's.

Dask sends Python objects as pickles, so whoever reaches a scheduler can run programs as its user. A local cluster
listens on the loopback interface alone; others get a warning unless they speak TLS (SECURITY.md, docs/scale.md).
"""

from __future__ import annotations

import pickle
import re
import sys
import time
import tomllib
from asyncio import CancelledError
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

import torch

from gumnet.devices import resolve_device
from gumnet.engine.allocator import reuse_freed_memory
from gumnet.engine.work import Answer, Runner, Work
from gumnet.errors import InputError

if TYPE_CHECKING:
    from distributed import Client, Future

_EXTRA = "install it with: pip install 'gumnet[cluster]'"
_FORMS = "give local:N, the address of a scheduler such as tcp://10.0.0.1:8786, or a TOML file"
_SLOTS_BEFORE_WORKERS_COME = 64
_COUNT_AGAIN_SECONDS = 5.0
"""Counting the workers asks the scheduler about all of them, which is too much for each batch."""
_LOOPBACK = re.compile(r"^(tcp|tls|inproc)://(127\.|localhost[:/]|\[::1\])")
_RUNNERS: dict[str, Runner] = {}
"""In a worker: what does the batches of the run it works for."""
_ONE_AT_A_TIME = Lock()
"""A worker with several threads would run several batches on one device."""
_HELD: list[str] = []
"""In a worker: the keys of its answers, until they are fetched."""
_HELD_AT_MOST = 1
"""Answers are lost with the worker that holds them. One may be on its way while the next batch is done, so that what a
dead worker costs is less than two batches."""
_LOOK_AGAIN_SECONDS = 0.002


class DaskCluster:
    """A cluster that was started here, or one that runs.

    Parameters
    ----------
    where
        ``local:N``, a scheduler's address, or the path of a TOML file whose one table is named for a cluster of
        dask-jobqueue, such as ``[slurm]``, with its settings and ``jobs``.
    """

    def __init__(self, where: str) -> None:
        try:
            from distributed import Client
        except ImportError:
            raise InputError("--cluster needs dask.distributed", cure=_EXTRA) from None
        self._cluster = _cluster(where)
        try:
            self.client: Client = Client(where if self._cluster is None else self._cluster, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise InputError(f"no scheduler answers at {where} ({error})", cure=_FORMS) from None
        _warn_if_open(self.client.scheduler.address)
        self.is_open = True

    def close(self) -> None:
        """Let the workers go, and end a cluster that was started here."""
        if not self.is_open:
            return
        self.is_open = False
        self.client.close()
        if self._cluster is not None:
            self._cluster.close()


class DaskBackend:
    """Workers of a Dask cluster.

    Parameters
    ----------
    work
        Sent to each worker, once.
    cluster
        Where they are.
    device
        auto, cpu, cuda or cuda:N, of each worker.
    threads
        CPU threads of each worker; one unless given, or what Dask is configured to.
    stays
        Whether the cluster stays when the context ends.
    """

    def __init__(
        self, work: Work, cluster: DaskCluster, device: str, threads: int | None = None, *, stays: bool = False
    ) -> None:
        self._cluster, self._client, self._stays = cluster, cluster.client, stays
        self._device, self._threads = device, threads
        self._workers, self._count_again = 0, 0.0
        self._token = uuid4().hex
        # A task, not scattered data: what is lost with a worker is made again from it.
        self._work = self._client.submit(bytes, pickle.dumps(work), key=f"gumnet-work-{self._token}", pure=False)
        self._out: set[int] = set()
        # With its future each: until that goes, the worker holds the answer too, and waits before it does much more.
        self._fetched: SimpleQueue[tuple[Answer, Future]] = SimpleQueue()

    @property
    def slots(self) -> int:
        """Three batches a worker: they are far away."""
        if time.monotonic() > self._count_again:
            self._workers = len(self._client.scheduler_info(n_workers=-1)["workers"])
            self._count_again = time.monotonic() + _COUNT_AGAIN_SECONDS
        return max(3 * self._workers, _SLOTS_BEFORE_WORKERS_COME)

    def submit(self, ticket: int, rows: Sequence[int]) -> None:
        """Send a batch."""
        key = _key(self._token, ticket)
        settings = (self._token, self._work, self._device, self._threads)
        future = self._client.submit(_answer, *settings, ticket, rows, key=key, pure=False, priority=-ticket)
        self._out.add(ticket)
        self._client.loop.add_callback(self._fetch, ticket, future)

    async def _fetch(self, ticket: int, future: Future) -> None:
        """Fetch an answer when it is there; one that is lost on the way, and made again, keeps no other waiting."""
        try:
            answer = Answer.from_bytes(await self._client.gather(future, asynchronous=True))
        except (Exception, CancelledError) as error:
            answer = Answer(ticket, None, f"{type(error).__name__}: {' '.join(str(error).split())}")
        self._fetched.put((answer, future))

    def next(self) -> Answer:
        """Wait for an answer. Dask itself tries a batch again whose worker died, and says so if that fails."""
        answer, _ = self._fetched.get()
        self._out.remove(answer.ticket)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        # Batches that nobody waits for any more would be done first.
        if self._out or not self._stays:
            self._cluster.close()


def _answer(token: str, work: bytes, device: str, threads: int | None, ticket: int, rows: Sequence[int]) -> bytes:
    """Do a batch, in a worker; the first of a run makes ready for the others."""
    with _ONE_AT_A_TIME:
        _wait_until_fetched(_key(token, ticket))
        if token not in _RUNNERS:
            _RUNNERS.clear()
            reuse_freed_memory()
            if threads is not None:
                torch.set_num_threads(threads)
            _RUNNERS[token] = Runner(pickle.loads(work), resolve_device(device))
        return _RUNNERS[token].answer(ticket, rows).to_bytes()


def _key(token: str, ticket: int) -> str:
    """Return what Dask calls a batch."""
    return f"gumnet-{token}-{ticket}"


def _wait_until_fetched(following: str) -> None:
    """Wait, in a worker, until it holds few enough answers to go on with another batch.

    Dask forgets a task when its result was fetched and nobody wants it any more; until then the worker that did it is
    the only one that has it.
    """
    from distributed import Status, get_worker

    worker = get_worker()
    while worker.status in (Status.running, Status.paused):
        _HELD[:] = [key for key in _HELD if key in worker.state.tasks and key != following]
        if len(_HELD) <= _HELD_AT_MOST:
            break
        time.sleep(_LOOK_AGAIN_SECONDS)
    _HELD.append(following)


def _cluster(where: str) -> Any | None:
    """Return the cluster to start, or None where ``where`` is the address of a scheduler that runs."""
    if where.startswith("local:"):
        count = where.removeprefix("local:")
        if not count.isdecimal() or int(count) < 1:
            raise InputError(f"--cluster {where} has no number of workers", cure="give 1 or more, as in local:4")
        from distributed import LocalCluster

        return LocalCluster(
            n_workers=int(count), threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=50
        )
    if "://" in where:
        return None
    path = Path(where)
    if path.suffix != ".toml" or not path.is_file():
        raise InputError(f"--cluster {where} is neither an address nor a TOML file that is there", cure=_FORMS)
    return _queue(path)


def _queue(path: Path) -> Any:
    """Return a cluster of dask-jobqueue as a TOML file says; it keeps as many jobs as are asked for."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"is no TOML file ({error})", cure="see docs/scale.md", path=path) from None
    if len(tables) != 1 or not isinstance(next(iter(tables.values())), dict):
        raise InputError("one table is wanted, such as [slurm]", cure="see docs/scale.md", path=path)
    name, settings = next(iter(tables.items()))
    jobs = settings.pop("jobs", None)
    if not isinstance(jobs, int) or jobs < 1:
        raise InputError(f"jobs = N is missing in [{name}]", cure="say how many jobs to keep", path=path)
    try:
        queues = import_module("dask_jobqueue")
    except ImportError:
        raise InputError("a queue needs dask-jobqueue", cure=_EXTRA, path=path) from None
    known = {kind.removesuffix("Cluster").lower(): kind for kind in dir(queues) if kind.endswith("Cluster")}
    if name not in known:
        raise InputError(f"no queue is called [{name}]", cure=f"use one of: {', '.join(sorted(known))}", path=path)
    try:
        cluster = getattr(queues, known[name])(**settings)
    except (TypeError, ValueError) as error:
        raise InputError(f"[{name}]: {error}", cure="use the settings of dask-jobqueue", path=path) from None
    # Both ends the same: a job that ends early, or is taken down by the queue, is sent again.
    cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)
    return cluster


def _warn_if_open(address: str) -> None:
    if not _LOOPBACK.match(address) and not address.startswith("tls://"):
        sys.stderr.write(
            f"gumnet: warning: the scheduler at {address} runs what anyone who reaches it sends; keep it on a network "
            "that only you use, or use TLS\n"
        )
