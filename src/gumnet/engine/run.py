"""Batches, handed out to wherever they run; what fails is tried again, then particle by particle, then reported."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from gumnet.engine.backend import Backend
from gumnet.engine.place import Place
from gumnet.engine.work import Answer, Failure, Result, Work, pack, unpack
from gumnet.errors import InputError, RunError
from gumnet.journal import Batches

Tolerate = Literal["nothing", "faults", "all"]
"""Which failures a run goes on after: none, all but those that the input is to blame for, or all."""
_HOPELESS = 3
"""Batches that failed whole before any particle was done: then it is not the particles' fault, and the run stops."""


@dataclass(frozen=True)
class Done:
    """A batch that is finished.

    Parameters
    ----------
    number
        Of the batch.
    rows
        Particles in the result, in order: all of the batch, but for those that failed.
    result
        None if all of them failed.
    failures
        The particles that failed.
    """

    number: int
    rows: Sequence[int]
    result: Result | None
    failures: tuple[Failure, ...] = ()


def batches_of(count: int, size: int) -> dict[int, range]:
    """Return all rows up to ``count`` in batches of ``size``, by number."""
    return {i: range(start, min(start + size, count)) for i, start in enumerate(range(0, count, size))}


def run(
    work: Work,
    batches: Mapping[int, Sequence[int]],
    place: Place | None = None,
    *,
    journal: Batches | None = None,
    tolerate: Tolerate = "nothing",
) -> Iterator[Done]:
    """Do all batches and yield each when it is finished, in any order; what they hold does not depend on the place.

    Parameters
    ----------
    work
        What to do.
    batches
        Rows of each batch, by number. Numbers and rows are all that goes out.
    place
        Where; in this process unless given.
    journal
        Batches in it are not done again, and those that are finished go into it, unless particles of theirs failed.
    tolerate
        Which failures do not end the run. A batch that fails by a fault is tried once more; one that fails by its input
        (`InputError`) is not. Then the particles of a batch whose failure is tolerated are tried one by one, and those
        that fail again are reported.

    Raises
    ------
    InputError, RunError
        The first failure that is not tolerated; or if batch after batch fails whole and none was ever done.
    """
    place = Place(workers=1) if place is None else place
    todo = dict(batches)
    for number in [n for n in todo if journal is not None and n in journal]:
        assert journal is not None
        yield Done(number, todo.pop(number), unpack(journal.read(number)))
    if not todo:
        return
    with place.open(work, len(todo)) as backend:
        for done in _Drive(work, backend, tolerate).all(todo):
            if journal is not None and done.result is not None and not done.failures:
                journal.add(done.number, pack(done.result))
            yield done


@dataclass
class _Part:
    """A batch, or a particle of one, that was handed out."""

    number: int
    rows: Sequence[int]
    tries: int = 1
    single: bool = False


@dataclass
class _Broken:
    """A batch that is done particle by particle."""

    rows: Sequence[int]
    results: dict[int, Result] = field(default_factory=dict)
    failures: dict[int, Failure] = field(default_factory=dict)

    def is_done(self) -> bool:
        return len(self.results) + len(self.failures) == len(self.rows)


class _Drive:
    """Keeps a backend busy, and decides what becomes of the answers."""

    def __init__(self, work: Work, backend: Backend, tolerate: Tolerate) -> None:
        self._work, self._backend, self._tolerate = work, backend, tolerate
        self._out: dict[int, _Part] = {}
        self._broken: dict[int, _Broken] = {}
        self._tickets = 0
        self._succeeded = False
        self._hopeless = 0
        self._noted = False

    def all(self, todo: Mapping[int, Sequence[int]]) -> Iterator[Done]:
        waiting = iter(todo.items())
        while True:
            while len(self._out) < self._backend.slots and (following := next(waiting, None)) is not None:
                self._hand_out(_Part(*following))
            if not self._out:
                return
            answer = self._backend.next()
            done = self._take(self._out.pop(answer.ticket), answer)
            if done is not None:
                yield done

    def _hand_out(self, part: _Part) -> None:
        self._tickets += 1
        self._out[self._tickets] = part
        self._backend.submit(self._tickets, part.rows)

    def _take(self, part: _Part, answer: Answer) -> Done | None:
        """Return the batch if the answer finishes it."""
        if answer.note and not self._noted:
            self._noted = True
            sys.stderr.write(f"gumnet: {answer.note}\n")
        if answer.result is not None:
            self._succeeded = True
            if not part.single:
                return Done(part.number, part.rows, answer.result)
            self._broken[part.number].results[part.rows[0]] = answer.result
            return self._finish(part.number)
        if part.tries == 1 and not answer.by_input:
            self._hand_out(_Part(part.number, part.rows, 2, part.single))
            return None
        if self._tolerate == "nothing" or (answer.by_input and self._tolerate == "faults"):
            if answer.by_input:
                raise InputError(answer.reason, cure=answer.cure)
            raise RunError(answer.reason, trace=answer.trace)
        if part.single or len(part.rows) == 1:
            broken = self._broken.setdefault(part.number, _Broken(part.rows))
            broken.failures[part.rows[0]] = Failure(part.rows[0], answer.reason, answer.by_input, answer.trace)
            return self._finish(part.number)
        self._broken[part.number] = _Broken(part.rows)
        for row in part.rows:
            self._hand_out(_Part(part.number, [row], tries=2, single=True))
        return None

    def _finish(self, number: int) -> Done | None:
        broken = self._broken[number]
        if not broken.is_done():
            return None
        del self._broken[number]
        rows = [row for row in broken.rows if row in broken.results]
        failures = tuple(broken.failures[row] for row in broken.rows if row in broken.failures)
        if not rows and not self._succeeded:
            self._hopeless += 1
            if self._hopeless >= _HOPELESS:
                raise failures[0].error()
        result = self._work.join([broken.results[row] for row in rows]) if rows else None
        return Done(number, rows, result, failures)
