"""What memory a run will take, said before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gumnet.errors import InputError

if TYPE_CHECKING:
    import torch

    from gumnet.particles import Particles


def average_memory_in_words(particles: Particles, device: torch.device, memory: float | None) -> str:
    """Return the peak of ``gumnet average`` from first maps in one process, or how much it needs if that is more.

    Parameters
    ----------
    memory
        Limit in GB, as for ``gumnet average --memory``.
    """
    from gumnet.averaging.memory import average_bytes

    try:
        gigabytes = f"{average_bytes(particles, memory, device) / 1e9:.1f} GB"
    except InputError as error:
        return f"more than {memory:g} GB: {error.cure}"
    return f"{gigabytes} beside the GPU" if device.type == "cuda" else gigabytes


def memory_in_words(particles: Particles, device: torch.device, memory: float | None) -> str:
    """Return the peak of ``gumnet align`` against one reference, and the batches that keep it there.

    Parameters
    ----------
    memory
        Limit in GB, as for ``gumnet align --memory``; what that uses by itself unless given.
    """
    from gumnet.alignment.aligner import AlignerOptions
    from gumnet.alignment.batch import batching_for, peak_bytes, table_bytes

    options, box, count = AlignerOptions(), particles.box, len(particles)
    batching = batching_for(options, box, device, shared_reference=True, memory_gigabytes=memory, particles=count)
    peak, size = peak_bytes(options, box, batching, shared_reference=True), batching.size
    if device.type != "cuda":
        return f"{(peak + table_bytes(count)) / 1e9:.1f} GB, {size} particles at a time"
    return (
        f"{peak / 1e9:.1f} GB on the GPU, {size} particles at a time, and {table_bytes(count) / 1e9:.1f} GB beside it"
    )
