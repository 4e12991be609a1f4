"""Arithmetic and memory traffic of a piece of code, counted operation by operation as torch runs them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class Traffic(TorchDispatchMode):
    """Counts while it is entered.

    Operations of matrix products and convolutions are exact, a Fourier transform of N points counts 5 N log2 N, half of
    that where one side is real; arithmetic element by element counts nothing. Bytes are those of all tensors that an
    operation reads and writes, once each; views move none. What stays in a cache is counted too, so a fraction of the
    memory's peak can exceed 1: it says how near the code is to that bound, not how busy the memory is.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0.0
        self.bytes = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation, and count it."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not func.is_view:
            self.bytes += sum(_bytes(tensor) for tensor in _tensors(args, kwargs, result))
        packet = func.overloadpacket
        if packet in flop_registry:
            self.flops += flop_registry[packet](*args, **kwargs, out_val=result)
        elif "_fft_" in packet.__name__:
            self.flops += _of_transform(args, result)
        return result


def _tensors(*nested: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(nested) if isinstance(leaf, Tensor))


def _bytes(tensor: Tensor) -> int:
    # An expanded tensor is smaller than it looks.
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _of_transform(args: Any, result: Tensor) -> float:
    """Return the operations of a Fourier transform, from its argument, its axes and its result."""
    given, axes = cast(Tensor, args[0]), args[1]
    whole = given if given.numel() > result.numel() else result
    if given.is_complex() and result.is_complex():
        share = 1.0
    else:
        share, whole = 0.5, given if not given.is_complex() else result
    points = math.prod(whole.shape[axis] for axis in axes)
    return share * 5 * whole.numel() * math.log2(max(points, 2))
