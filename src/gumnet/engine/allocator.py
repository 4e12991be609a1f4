"""How the C library gives memory back, in processes that Dask starts."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES, _MAPPED_BYTES = 64 << 20, 32 << 20
"""What glibc comes to by itself where nobody sets it, once it has seen large blocks: see mallopt(3)."""


def reuse_freed_memory() -> bool:
    """Let freed blocks of up to 32 MB be used again without going back to the system; return whether that was possible.

    Dask starts its workers with MALLOC_TRIM_THRESHOLD_ = 65536, which also keeps glibc from learning that large blocks
    come again and again: each tensor of more than 128 KB is then mapped, touched page by page, and unmapped. A search
    took twice the time for it.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library, such as musl
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES) and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))
