"""What a joint alignment has finished, kept in a journal, so that it goes on where it was stopped.

Only what cannot be made again at once is kept: poses and not sums, which come out the same from the same poses, and the
state of the random numbers, so that what follows is what would have followed. Poses are kept as each batch of particles
is aligned, and those of an iteration again when it is finished.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gumnet.alignment.work import poses_of, result_of
from gumnet.engine.work import pack, unpack
from gumnet.journal import Batches, Journal
from gumnet.particles import Poses

_FACTS = "facts"
"""Name of the tensor of bytes that holds what is no tensor, as JSON."""
_NAME_BYTES = 7
"""Bytes of a name's SHA-256 that make the number of its record: journals know records by numbers."""


@dataclass(frozen=True)
class Kept:
    """What was kept under one name: tensors, and facts that JSON holds."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    def poses(self, prefix: str) -> Poses:
        """Return poses that `tensors_of` named with a prefix."""
        columns = {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}
        return poses_of(columns)


@dataclass(frozen=True)
class Checkpoint:
    """Named results of a run that may be stopped; without a journal nothing is kept, and nothing found.

    Parameters
    ----------
    journal
        Where they are kept.
    name
        What all of them are about; see `within`.
    """

    journal: Journal | None = None
    name: str = ""

    def within(self, name: str) -> Checkpoint:
        """Return the results that are about one part of the run."""
        return Checkpoint(self.journal, f"{self.name}{name}: ")

    def find(self, name: str) -> Kept | None:
        """Return what was kept under a name, None if nothing was."""
        number = self.number(name)
        if self.journal is None or number not in self.journal:
            return None
        tensors = unpack(self.journal.read(number))
        facts = tensors.pop(_FACTS)
        return Kept(tensors, json.loads(facts.numpy().tobytes()))

    def keep(self, name: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Keep a result under a name: numbers in JSON come back to the last bit."""
        if self.journal is None:
            return
        text = torch.frombuffer(bytearray(json.dumps(dict(facts)).encode()), dtype=torch.uint8)
        self.journal.add(self.number(name), pack({**tensors, _FACTS: text}))

    def batches(self, name: str) -> Batches | None:
        """Return where the batches of one piece of work are kept, as they are finished; None without a journal."""
        return None if self.journal is None else _KeptBatches(self.within(name), self.journal)

    def number(self, name: str) -> int:
        """Return the number that the journal knows a name by."""
        return int.from_bytes(hashlib.sha256(f"{self.name}{name}".encode()).digest()[:_NAME_BYTES], "little")


@dataclass(frozen=True)
class _KeptBatches:
    """Batches among the named results of a run: implements `gumnet.journal.Batches`."""

    kept: Checkpoint
    journal: Journal

    def __contains__(self, number: int) -> bool:
        return self._number(number) in self.journal

    def read(self, number: int) -> bytes:
        """Return what was kept of a batch."""
        return self.journal.read(self._number(number))

    def add(self, number: int, payload: bytes) -> None:
        """Keep the result of a finished batch."""
        self.journal.add(self._number(number), payload)

    def agree(self, plan: Mapping[str, int]) -> dict[str, int]:
        """Return how the work is cut into batches: as it began, or as ``plan`` says where it begins now."""
        before = self.kept.find("plan")
        if before is not None:
            return before.facts
        self.kept.keep("plan", {}, plan)
        return dict(plan)

    def _number(self, number: int) -> int:
        return self.kept.number(f"batch {number}")


def tensors_of(poses: Poses, prefix: str) -> dict[str, Tensor]:
    """Return the columns of poses by name, each after a prefix."""
    return {f"{prefix}{name}": column for name, column in result_of(poses).items()}
