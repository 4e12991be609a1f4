"""Training on several processes, as torchrun starts them: each takes its share of every batch.

torchrun --standalone --nproc-per-node 4 --no-python gumnet train store --out run

What is computed is what one process would compute with the same batch, but for rounding: gradients are those of the
mean loss over all pairs of a batch, and batch norms take their statistics over all of it. Only the first writes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gumnet.devices import resolve_device
from gumnet.errors import InputError

_WRONG_INPUT = 2
"""What a process ends with that leaves it to the first one to say what is wrong."""


def is_launched() -> bool:
    """Return whether torchrun started this process."""
    return dist.is_available() and dist.is_torchelastic_launched()


def is_first() -> bool:
    """Return whether this process is the one that speaks and writes: the first, or the only one."""
    return not is_launched() or int(os.environ["RANK"]) == 0


@contextmanager
def one_voice() -> Iterator[None]:
    """Have the first process alone say what is wrong with the input; the others end as it does, without a word."""
    try:
        yield
    except InputError:
        if is_first():
            raise
        raise SystemExit(_WRONG_INPUT) from None


@dataclass(frozen=True)
class Group:
    """The processes that train together.

    Parameters
    ----------
    device
        Of this process.
    rank, size
        Number of this process from 0, and how many there are.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def check_batches(self, pairs: int, batch_size: int) -> None:
        """Raise `InputError` unless every batch of so many pairs has one for each process."""
        if batch_size < self.size:
            cure = f"give --batch-size {self.size} or more, or start fewer processes"
            raise InputError(f"a batch of {batch_size} pairs is too small for {self.size} processes", cure=cure)
        if 0 < pairs % batch_size < self.size:
            cure = f"give --pairs-per-epoch a multiple of {batch_size}"
            left = f"the last batch of an epoch has {pairs % batch_size} pairs for {self.size} processes"
            raise InputError(left, cure=cure)

    def share(self, rows: Tensor) -> Tensor:
        """Return the part of a batch that this process does; parts differ by one at most."""
        return rows.tensor_split(self.size)[self.rank]

    def mean(self, values: Tensor, count: int) -> float:
        """Return the mean of the ``count`` values (n,) of all processes, of which this one has n."""
        if self.size == 1:
            return values.mean().item()
        total = values.sum(dtype=torch.float64)
        dist.all_reduce(total)
        return total.item() / count

    def first(self, work: Callable[[], None]) -> None:
        """Have the first process do something that the others wait for; they end if it raises `InputError`."""
        problem: InputError | None = None
        if self.leads:
            try:
                work()
            except InputError as error:
                problem = error
        if self.size > 1:
            failed = torch.tensor([problem is not None], dtype=torch.int32, device=self.device)
            dist.broadcast(failed, 0)
            if not self.leads and bool(failed):
                raise SystemExit(_WRONG_INPUT)
        if problem is not None:
            raise problem

    def wrapped(self, network: nn.Module) -> nn.Module:
        """Return what computes as ``network``, whose gradients then are means over all processes."""
        if self.size == 1:
            return network
        _share_statistics(network)
        ids = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=ids)


@contextmanager
def joined(device: str) -> Iterator[Group]:
    """Yield the processes that torchrun started, or this one alone.

    Parameters
    ----------
    device
        auto, cpu, cuda or cuda:N; of several processes on GPUs each takes its own.
    """
    if not is_launched():
        yield Group(resolve_device(device))
        return
    local = int(os.environ["LOCAL_RANK"])
    own = resolve_device(device)
    if own.type == "cuda":
        own = resolve_device(f"cuda:{local}")
        torch.cuda.set_device(own)
    dist.init_process_group("nccl" if own.type == "cuda" else "gloo")
    try:
        yield Group(own, dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


class _Total(torch.autograd.Function):
    """The sum of a tensor over all processes, through which gradients flow back to all of them."""

    @staticmethod
    def forward(_ctx: object, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: object, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _total(values: Tensor) -> Tensor:
    apply: Callable[[Tensor], Tensor] = _Total.apply
    return apply(values)


class _SharedBatchNorm(nn.BatchNorm3d):
    """A batch norm over the batches of all processes; torch's own, `torch.nn.SyncBatchNorm`, is for GPUs only."""

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:
            return super().forward(values)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        wide = values.float()
        axes, shape = (0, 2, 3, 4), (1, -1, 1, 1, 1)
        count = torch.full((1,), wide.numel() / wide.shape[1], device=wide.device)
        sums = _total(torch.cat([wide.sum(axes), count]))
        n, mean = sums[-1], sums[:-1] / sums[-1]
        # In two steps: a mean of squares less the square of the mean would lose what is small beside it.
        centred = wide - mean.view(shape)
        variance = _total(centred.square().sum(axes)) / n
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
        out = centred * (variance + self.eps).rsqrt().view(shape)
        scaled: Tensor = out * self.weight.view(shape) + self.bias.view(shape)
        return scaled.to(values.dtype)


def _share_statistics(network: nn.Module) -> None:
    """Make all batch norms of a network take their statistics over the batches of all processes."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            # The same weights and names, so that checkpoints are those of any other network.
            module.__class__ = _SharedBatchNorm
