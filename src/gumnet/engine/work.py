"""Work that is done in batches: what it is, how a batch is run, and how its result travels."""

from __future__ import annotations

import json
import struct
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from safetensors.torch import load, save
from torch import Tensor

from gumnet.errors import InputError, RunError

Result = dict[str, Tensor]
"""What a batch gives: a few small tensors by name."""
Run = Callable[[Sequence[int]], Result]
"""Does the particles at some indices."""


class Work(Protocol):
    """Something to do with each particle of a set, or with each group of them.

    Workers on other machines get it as a pickle, once; so it holds lazy sources, which know where their files are, and
    no volumes.
    """

    def start(self, device: torch.device) -> Run:
        """Return what does a batch on a device; called once a worker."""

    def join(self, parts: Sequence[Result]) -> Result:
        """Return the result of a batch from those of its parts, in their order."""


def join_rows(parts: Sequence[Result]) -> Result:
    """Return parts joined along the first axis: the `Work.join` of work with a row for each particle."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


@dataclass(frozen=True)
class Failure:
    """A particle that could not be done.

    Parameters
    ----------
    row
        Its index.
    reason
        What went wrong, in one line.
    by_input
        Whether the input is to blame (`InputError`).
    trace
        The traceback of another error.
    """

    row: int
    reason: str
    by_input: bool = False
    trace: str = ""

    def error(self) -> InputError | RunError:
        """Return what to raise where it ends the run."""
        return InputError(self.reason) if self.by_input else RunError(self.reason, trace=self.trace)


@dataclass(frozen=True)
class Answer:
    """What a worker says of a batch: its result, or why there is none.

    Parameters
    ----------
    ticket
        Number that the batch was handed out with.
    result
        None if it failed.
    reason
        One line, empty if it did not fail.
    cure
        What the user can do about it, if that is known.
    by_input
        Whether it failed with an `InputError`: trying again would not help.
    note
        Something to tell the user once; empty for nothing.
    trace
        The traceback of an error that is no `InputError`.
    """

    ticket: int
    result: Result | None
    reason: str = ""
    cure: str = ""
    by_input: bool = False
    note: str = ""
    trace: str = ""

    def to_bytes(self) -> bytes:
        """Return it as bytes: a head in JSON, the tensors as safetensors. Nothing in it can be run."""
        head = json.dumps({name: value for name, value in vars(self).items() if name != "result"}).encode()
        return struct.pack("<I", len(head)) + head + (b"" if self.result is None else pack(self.result))

    @classmethod
    def from_bytes(cls, data: bytes) -> Answer:
        """Return what `to_bytes` wrote."""
        (length,) = struct.unpack_from("<I", data)
        head, body = json.loads(data[4 : 4 + length]), data[4 + length :]
        return cls(result=unpack(body) if body else None, **head)


def pack(result: Result) -> bytes:
    """Return a result as bytes; the same result gives the same bytes."""
    # Copies: safetensors refuses tensors that share memory.
    return save(
        {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in result.items()}
    )


def unpack(data: bytes) -> Result:
    """Return what `pack` wrote."""
    return dict(load(data))


@dataclass
class Runner:
    """Runs batches on one device; a batch that does not fit its memory is halved, and so are those after it."""

    work: Work
    device: torch.device
    _run: Run | None = None
    _most: int | None = None
    _note: str = field(default="", init=False)

    def answer(self, ticket: int, rows: Sequence[int]) -> Answer:
        """Return the result of a batch, or why there is none; only what ends the process is raised."""
        try:
            if self._run is None:
                self._run = self.work.start(self.device)
            result = self._halving(self._run, rows)
        except InputError as error:
            return Answer(ticket, None, error.without_cure(), error.cure, by_input=True)
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            return Answer(ticket, None, reason, trace=traceback.format_exc())
        note, self._note = self._note, ""
        return Answer(ticket, result, note=note)

    def _halving(self, run: Run, rows: Sequence[int]) -> Result:
        while True:
            size = len(rows) if self._most is None else min(self._most, len(rows))
            try:
                parts = [run(rows[start : start + size]) for start in range(0, len(rows), size)]
                return parts[0] if len(parts) == 1 else self.work.join(parts)
            except (MemoryError, RuntimeError) as error:
                if size <= 1 or not _is_out_of_memory(error):
                    raise
            # Beyond the except block, whose traceback would keep the tensors of the batch.
            self._most = size // 2
            if not self._note:
                self._note = f"{self.device} has too little memory for batches of {len(rows)}: they are done in parts"
            if self.device.type == "cuda":
                torch.cuda.empty_cache()


def _is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out, on a GPU or, where torch says so in words, on the CPU."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
