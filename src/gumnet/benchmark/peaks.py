"""What the machine can do at best, measured: matrix products and copies of memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from gumnet.benchmark.seconds import Seconds

_REPEATS = 5


@dataclass(frozen=True)
class Peaks:
    """The fastest of a few tries.

    Parameters
    ----------
    flops
        Floating-point operations a second of a product of two large float32 matrices.
    bytes
        Bytes a second that a copy of a large tensor reads and writes.
    """

    flops: float
    bytes: float


def measure_peaks(device: torch.device) -> Peaks:
    """Return the peaks of a device, with the threads that are set."""
    on_gpu = device.type == "cuda"
    size, length = (8192, 1 << 28) if on_gpu else (1024, 1 << 24)
    a, b = (torch.rand(size, size, device=device) for _ in range(2))
    source = torch.rand(length, device=device)
    target = torch.empty_like(source)
    product = fastest(lambda: torch.mm(a, b), device)
    copy = fastest(lambda: target.copy_(source), device)
    return Peaks(2 * size**3 / product, 2 * source.numel() * source.element_size() / copy)


def fastest(work: Callable[[], object], device: torch.device, repeats: int = _REPEATS) -> float:
    """Return the least seconds that ``work`` keeps a device busy, of so many tries after one that warms up."""
    work()
    best = float("inf")
    for _ in range(repeats):
        finish(device)
        start = Seconds.now()
        work()
        finish(device)
        best = min(best, busy(Seconds.now() - start, device))
    return best


def busy(seconds: Seconds, device: torch.device) -> float:
    """Return how long a device was at work: on a CPU by the clock of its threads, which other work makes no longer."""
    return seconds.wall if device.type == "cuda" else max(seconds.cpu / torch.get_num_threads(), 1e-9)


def finish(device: torch.device) -> None:
    """Wait until a GPU has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
