"""Independent parts of a computation on the CPU threads of this process, side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(work: Callable[[T], R], parts: Iterable[T], most: int) -> list[R]:
    """Return what ``work`` makes of each part, in their order, on as many threads as torch may use.

    These are shared out among the parts. Torch shares out each of its own calls, which are small here, and what it does
    not share out, such as sums at many places (`gumnet.averaging.lattice`), leaves all threads but one waiting. Parts
    that need nothing of each other do not wait (docs/scale.md has times). What a part gives does not depend on which
    others run beside it.

    Parameters
    ----------
    work
        Done on threads that are not the caller's; what it raises is raised here, once those begun have ended.
    parts
        Read one by one, as workers come free.
    most
        Of the parts at once.
    """
    threads = torch.get_num_threads()
    workers = min(threads, most)
    if workers < 2:
        return [work(part) for part in parts]
    waiting: deque[Future[R]] = deque()
    made: list[R] = []
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,)) as pool:
            for part in parts:
                if len(waiting) == workers:
                    made.append(waiting.popleft().result())
                waiting.append(pool.submit(work, part))
            return made + [future.result() for future in waiting]
    finally:
        # Torch keeps the number by thread, and that which was set last for threads that are yet to come.
        torch.set_num_threads(threads)
