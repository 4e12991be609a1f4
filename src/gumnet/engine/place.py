"""Where to run: what the user asked for, and the backend that it comes to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from gumnet.devices import resolve_device
from gumnet.engine.backend import Backend, InProcess
from gumnet.engine.work import Work
from gumnet.errors import InputError

if TYPE_CHECKING:
    from gumnet.engine.cluster import DaskCluster
    from gumnet.engine.pool import Pool


@dataclass
class Kept:
    """Workers that stay from one run to the next, once there are any."""

    pool: Pool | None = None
    cluster: DaskCluster | None = None

    def close(self) -> None:
        """End them."""
        if self.pool is not None:
            self.pool.close()
        if self.cluster is not None:
            self.cluster.close()


@dataclass(frozen=True)
class Place:
    """Where batches run.

    Parameters
    ----------
    device
        auto, cpu, cuda or cuda:N, of each worker. auto is all GPUs of this machine where there are several.
    workers
        Processes of this machine; one a GPU if ``device`` is auto and there are several, else this process alone,
        unless given.
    cluster
        A Dask cluster in their place: ``local:N``, the address of a scheduler, or a TOML file; see
        `gumnet.engine.cluster`.
    threads
        CPU threads of each worker; what this process has, shared among them, unless given.
    kept
        Workers that stay from one run to the next; see `keeping`.
    """

    device: str = "auto"
    workers: int | None = None
    cluster: str | None = None
    threads: int | None = None
    kept: Kept | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise InputError(f"{self.workers} workers are not possible", cure="give 1 or more")
        if self.workers is not None and self.cluster is not None:
            raise InputError(
                "workers are of this machine, a cluster has its own", cure="give --workers or --cluster, not both"
            )

    def count(self) -> int:
        """Return how many processes of this machine work, without a cluster."""
        if self.workers is not None:
            return self.workers
        gpus = torch.cuda.device_count() if self.device == "auto" and torch.cuda.is_available() else 0
        return max(1, gpus)

    def open(self, work: Work, batches: int) -> Backend:
        """Return the backend for some work of so many batches; no more workers are started than there are batches."""
        if self.cluster is not None:
            from gumnet.engine.cluster import DaskBackend, DaskCluster

            if self.kept is None:
                return DaskBackend(work, DaskCluster(self.cluster), self.device, self.threads)
            if self.kept.cluster is None or not self.kept.cluster.is_open:
                self.kept.cluster = DaskCluster(self.cluster)
            return DaskBackend(work, self.kept.cluster, self.device, self.threads, stays=True)
        count = min(self.count(), batches)
        device = resolve_device(self.device)
        if count == 1:
            return InProcess(work, device)
        from gumnet.engine.pool import Pool

        devices = _devices(self.device, device, count)
        threads = self.threads or max(1, torch.get_num_threads() // count)
        if self.kept is None:
            return Pool(work, devices, threads)
        if self.kept.pool is None:
            self.kept.pool = Pool(work, devices, threads, stays=True)
        else:
            self.kept.pool.give(work, devices)
        return self.kept.pool

    @contextmanager
    def keeping(self) -> Iterator[Place]:
        """Yield the same place, whose workers stay from one run to the next until the block ends.

        To start one takes two seconds or, in a queue, as long as the queue is: too long for each step of an average.
        """
        if self.kept is not None:
            yield self
            return
        kept = Kept()
        try:
            yield replace(self, kept=kept)
        finally:
            kept.close()


def _devices(name: str, first: torch.device, count: int) -> list[torch.device]:
    """Return a device for each of ``count`` workers: GPUs in turn where any will do, else the one that was named."""
    if name in ("auto", "cuda") and first.type == "cuda":
        return [torch.device("cuda", i % torch.cuda.device_count()) for i in range(count)]
    return [first] * count
