"""How many particles to align at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from gumnet.alignment.aligner import AlignerOptions
from gumnet.alignment.growing_bands import stages
from gumnet.alignment.narrowing import CANDIDATES_AT_ONCE
from gumnet.alignment.spectrum import PADDING
from gumnet.errors import InputError

DEFAULT_MEMORY_GIGABYTES = 2.0
"""On a CPU. Enough for boxes of 96, and batches beyond a few particles are no faster there."""
KEPT_GIGABYTES = 4.0
"""What a command that reads particles again and again keeps of them in memory, unless there is a limit."""
_GPU_SHARE = 0.25
_MOST = {"cpu": 16, "cuda": 512}
_PROGRAM_BYTES = 500_000_000
"""The interpreter and its libraries (490 MB, measured by hand, 2026-11-26)."""
_BYTES_A_ROW = 2_000
"""A particle's row in the table, its names and its poses, at the peak of reading (measured by hand: docs/scale.md)."""
_BYTES_A_COEFFICIENT = 400
"""In a step of refinement, for each candidate: eight numbers read, six derivatives, and the copies that they pass
through on the way to the normal equations (measured)."""
_COPIES = 2.5
"""Peak of the memory while a spectrum with its derivatives is made, over what it takes in the end (measured)."""


@dataclass(frozen=True)
class Batching:
    """How particles are aligned in batches.

    Parameters
    ----------
    size
        Of a batch, in particles.
    at_once
        Parts of a batch that a CPU aligns side by side, at most.
    """

    size: int
    at_once: int


def batching_for(
    options: AlignerOptions,
    box: int,
    device: torch.device,
    *,
    shared_reference: bool,
    wanted: int | None = None,
    memory_gigabytes: float | None = None,
    particles: int = 0,
    workers: int = 1,
    threads: int | None = None,
) -> Batching:
    """Return how many particles a batch holds so that refinement, the hungriest step, stays within memory.

    Parameters
    ----------
    shared_reference
        Whether all particles share one reference; otherwise each brings a spectrum of its own.
    wanted
        Particles a batch that the caller asked for, which goes first.
    memory_gigabytes
        Limit; 2 on a CPU and a quarter of what is free on a GPU unless given.
    particles
        How many there are in all: their table takes a share of the memory of a CPU.
    workers
        How many processes share the limit, where one is given; each of them has the interpreter and its libraries.
    threads
        CPU threads of each; those that torch uses here unless given.

    Raises
    ------
    InputError
        If the limit does not hold one particle.
    """
    if wanted is not None and wanted < 1:
        raise InputError(f"a batch_size of {wanted} is not possible", cure="give 1 or more, or None")
    reserved = 0.0
    if memory_gigabytes is not None:
        if not 0 < memory_gigabytes < math.inf:
            raise InputError(f"a limit of {memory_gigabytes:g} GB of memory is not possible", cure="give one above 0")
        if device.type != "cuda":
            reserved = table_bytes(particles) + (_PROGRAM_BYTES if workers > 1 else 0)
        budget = (memory_gigabytes * 1e9 - reserved) / workers
    elif device.type == "cuda":
        budget = _GPU_SHARE * torch.cuda.mem_get_info(device)[0]
    else:
        budget = DEFAULT_MEMORY_GIGABYTES * 1e9
    needs = _Needs.of(options, box, shared_reference, device.type)
    if wanted is None and memory_gigabytes is not None and needs.peak(1, 1) > budget:
        raise _too_little(memory_gigabytes, reserved + workers * needs.peak(1, 1), box)
    threads = 1 if device.type != "cpu" else torch.get_num_threads() if threads is None else threads
    at_once = int(max(1, min(threads, (budget - _PROGRAM_BYTES) // (needs.shared + needs.one))))
    if wanted is not None:
        return Batching(wanted, min(at_once, wanted))
    held = (budget - _PROGRAM_BYTES - at_once * needs.shared) // needs.each
    return Batching(int(max(1, min(_MOST[device.type] * at_once, held))), at_once)


def _too_little(gigabytes: float, needed_bytes: float, box: int) -> InputError:
    problem = f"{gigabytes:g} GB of memory do not hold one particle of box {box}"
    return InputError(problem, cure=f"allow {math.ceil(needed_bytes / 1e8) / 10:g} GB, or use a lower resolution limit")


@dataclass(frozen=True)
class Shares:
    """How a limit of memory is shared out.

    Parameters
    ----------
    kept_gigabytes
        For particles that stay in the memory of a process once they were read, in each that keeps some.
    alignment_gigabytes
        What is left for alignment, with the program and the table; None without a limit.
    """

    kept_gigabytes: float
    alignment_gigabytes: float | None


def shares_of(
    memory_gigabytes: float | None,
    options: AlignerOptions,
    box: int,
    device: torch.device,
    *,
    particles: int,
    workers: int = 1,
    keepers: int = 1,
    besides: float = 0.0,
    before: float = 0.0,
) -> Shares:
    """Return how a limit is shared out: half of what one particle at a time leaves is for particles that are kept.

    Parameters
    ----------
    memory_gigabytes, options, box, device, particles, workers
        As for `batching_for`. A limit of a GPU says nothing of the memory beside it.
    keepers
        Processes that keep particles.
    besides
        Bytes that something else takes.
    before
        Bytes that something takes before alignment, which has them then.

    Raises
    ------
    InputError
        If the limit does not hold one particle.
    """
    if memory_gigabytes is None or device.type == "cuda":
        return Shares(KEPT_GIGABYTES if keepers else 0.0, memory_gigabytes)
    one = _Needs.of(options, box, True, device.type).peak(1, 1)
    needed = table_bytes(particles) + (_PROGRAM_BYTES if workers > 1 else 0) + workers * one + besides + before
    left = memory_gigabytes * 1e9 - needed
    if left < 0:
        raise _too_little(memory_gigabytes, needed, box)
    kept = min(KEPT_GIGABYTES, left / 2e9 / keepers) if keepers else 0.0
    return Shares(kept, memory_gigabytes - keepers * kept - besides / 1e9)


def peak_bytes(options: AlignerOptions, box: int, batching: Batching | None, *, shared_reference: bool) -> float:
    """Return what alignment in batches takes on a CPU, in bytes, the program included; without particles for None."""
    needs = _Needs.of(options, box, shared_reference, "cpu")
    return needs.peak(0, 1) if batching is None else needs.peak(batching.size, batching.at_once)


def table_bytes(particles: int) -> float:
    """Return what the table of so many particles takes in memory, in bytes, beside their volumes."""
    return _BYTES_A_ROW * particles


@dataclass(frozen=True)
class _Needs:
    """Bytes that alignment takes beside the program: for a shared reference in each part, a particle, and one alone.

    Stages of many candidates take their bytes once a part on a CPU, which refines a particle at a time there.
    """

    shared: float
    each: float
    one: float

    @classmethod
    def of(cls, options: AlignerOptions, box: int, shared_reference: bool, device: str) -> _Needs:
        shells = options.max_shell(box)
        # Of particles that share another one as reference this is a little too much.
        plan = stages(shells, options.min_shell(box), to_map=shared_reference)
        coefficients = [stage.candidates * 2 / 3 * math.pi * (stage.shells + 1) ** 3 for stage in plan]
        at_once = [
            c
            for c, stage in zip(coefficients, plan, strict=True)
            if device != "cpu" or stage.candidates < CANDIDATES_AT_ONCE
        ]
        # Eight real channels on a grid twice as fine.
        spectrum = _COPIES * 8 * 4 * min(2 * PADDING * (shells + 1) + 1, PADDING * box + 1) ** 3
        others = 10 * 4 * box**3 + (0 if shared_reference else spectrum)
        each = max(at_once) * _BYTES_A_COEFFICIENT + others
        one = max(coefficients) * _BYTES_A_COEFFICIENT + others
        return cls(spectrum if shared_reference else 0.0, each, one)

    def peak(self, size: int, at_once: int) -> float:
        """Return the peak, the program included, for batches of ``size`` particles in parts side by side."""
        particles = max(min(at_once, size) * self.one, size * self.each)
        return _PROGRAM_BYTES + at_once * self.shared + particles
