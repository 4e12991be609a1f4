"""Journals: what a long command has finished, batch by batch, so that it goes on where it was killed.

A journal is one file that is only ever appended to. Each record is

    "GNJ1", number of the batch (u64), length of the payload (u64), SHA-256 of both numbers and the payload, payload

with numbers little-endian. The first record says what the run is: its settings and inputs. A record is written by one
call, so a killed process leaves whole records and perhaps part of one at the end, which is cut off when it goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from gumnet.errors import InputError, RunError
from gumnet.io.atomic import check_free, write_whole

SUFFIX = ".journal"
_MAGIC = b"GNJ1"
_HEAD = struct.Struct("<4sQQ32s")
_ABOUT, _PLAN = 2**64 - 1, 2**64 - 2
"""Numbers of the records that are no batches: what the run is, and how it was cut into batches."""
_SYNC_SECONDS = 5.0
"""A crash of the machine, not of the program, loses at most what was finished in this time."""


def journal_path(out: str | Path) -> Path:
    """Return where the journal of a run that makes the file or folder ``out`` lies: beside it."""
    out = Path(out)
    return out.with_name(f"{out.name}{SUFFIX}")


def check_start(out: str | Path, *, resume: bool, overwrite: bool, check: Callable[..., None] = check_free) -> None:
    """Raise `InputError` unless a run that makes the file ``out`` may begin, or go on: before any work.

    A run that goes on may replace ``out``: its beginning was allowed to.

    Parameters
    ----------
    check
        What is asked where it begins; `gumnet.io.atomic.check_free_folder` for a folder.
    """
    unfinished = journal_path(out).exists()
    if unfinished and not (resume or overwrite):
        raise _unfinished(Path(out))
    if not (resume and unfinished):
        check(out, overwrite=overwrite)


def _unfinished(out: Path) -> InputError:
    cure = "add --resume to go on with it, or --overwrite to start anew"
    return InputError("a run that makes this was not finished", cure=cure, path=out)


class Batches(Protocol):
    """Keeps the finished batches of one piece of work, by number: a journal, or a part of one."""

    def __contains__(self, number: int) -> bool: ...

    def read(self, number: int) -> bytes:
        """Return what was kept of a batch."""

    def add(self, number: int, payload: bytes) -> None:
        """Keep the result of a finished batch."""

    def agree(self, plan: Mapping[str, int]) -> dict[str, int]:
        """Return how the work is cut into batches: as it began, or as ``plan`` says where it begins now."""


class Journal:
    """The journal of one run, open for appending; at most one process has it open.

    Use `Journal.open`. As a context manager it closes the file, which stays for a later run; but if nothing was
    finished, and not by a fault (`RunError`), it goes. `remove` it when the result is written.

    Parameters
    ----------
    path
        The file, which exists and begins with a whole record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
        self._synced = time.monotonic()
        self._places: dict[int, tuple[int, int]] = {}
        try:
            _lock(self._descriptor, path)
            self._end = self._scan()
            # What follows the last whole record is of a write that was cut short, or was damaged: it is done again.
            os.ftruncate(self._descriptor, self._end)
        except BaseException:
            os.close(self._descriptor)
            raise

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        settings: Mapping[str, Any],
        inputs: Mapping[str, str],
        resume: bool = False,
        overwrite: bool = False,
    ) -> Journal:
        """Return the journal of a run: a new one, or with ``resume`` the one that is there, if there is one.

        Parameters
        ----------
        path
            The file; see `journal_path`.
        settings
            All that the result depends on besides the inputs, by the names that a user knows; anything JSON holds.
        inputs
            Fingerprint of each input, by its name; see `gumnet.fingerprint`.
        resume
            Whether to go on with what is there.
        overwrite
            Whether a journal that is there may be thrown away.

        Raises
        ------
        InputError
            If there is a journal and neither is allowed, if it is of another run, or if another process writes it.
        """
        path = Path(path)
        from gumnet import __version__

        about = {"program": f"gumnet {__version__}", "settings": dict(settings), "inputs": dict(inputs)}
        text = json.dumps(about, sort_keys=True, default=str)
        if path.exists() and resume:
            journal = cls(path)
            try:
                _check_same(json.loads(journal.read(_ABOUT)), json.loads(text), path)
            except BaseException:
                journal.close()
                raise
            return journal
        if path.exists() and not overwrite:
            raise _unfinished(path.with_name(path.name.removesuffix(SUFFIX)))
        if path.exists():
            _check_unlocked(path)
        with write_whole(path, overwrite=True) as temporary:
            temporary.write_bytes(_record(_ABOUT, text.encode()))
        return cls(path)

    def __contains__(self, number: int) -> bool:
        return number in self._places

    @property
    def planned(self) -> bool:
        """Whether the run was cut into batches already; see `agree`."""
        return _PLAN in self._places

    def finished(self) -> Iterator[int]:
        """Return the numbers of the batches that are finished, from small to large."""
        return iter(sorted(n for n in self._places if n < _PLAN))

    def read(self, number: int) -> bytes:
        """Return what was kept of a batch."""
        start, length = self._places[number]
        return os.pread(self._descriptor, length, start)

    def add(self, number: int, payload: bytes) -> None:
        """Keep the result of a finished batch.

        Raises
        ------
        OSError
            If it cannot be written, as on a full disk; what was kept before stays.
        """
        record = _record(number, payload)
        written = 0
        while written < len(record):
            written += os.write(self._descriptor, record[written:])
        self._places[number] = (self._end + _HEAD.size, len(payload))
        self._end += len(record)
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            os.fsync(self._descriptor)
            self._synced = time.monotonic()

    def agree(self, plan: Mapping[str, int]) -> dict[str, int]:
        """Return how the run is cut into batches: as it began, or as ``plan`` says where it begins now.

        A batch is known by its number, so a run must go on with the batches that it began with, whatever memory is free
        today.
        """
        if not self.planned:
            self.add(_PLAN, json.dumps(dict(plan)).encode())
        agreed: dict[str, int] = json.loads(self.read(_PLAN))
        return agreed

    def close(self) -> None:
        """Write what the system still holds back, and close the file."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def remove(self) -> None:
        """Close and delete it: the result is written."""
        self.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        fault = kind is not None and issubclass(kind, RunError)
        if self._descriptor >= 0 and next(self.finished(), None) is None and not fault:
            self.remove()
        self.close()

    def _scan(self) -> int:
        """Find the whole records, and return where they end."""
        size, position = os.fstat(self._descriptor).st_size, 0
        while position + _HEAD.size <= size:
            magic, number, length, digest = _HEAD.unpack(os.pread(self._descriptor, _HEAD.size, position))
            start = position + _HEAD.size
            if magic != _MAGIC or start + length > size:
                break
            if _digest(number, os.pread(self._descriptor, length, start)) != digest:
                break
            self._places[number] = (start, length)
            position = start + length
        if _ABOUT not in self._places:
            raise InputError("this is no journal of gumnet, or it is damaged", cure="start anew", path=self.path)
        return position


def _record(number: int, payload: bytes) -> bytes:
    return _HEAD.pack(_MAGIC, number, len(payload), _digest(number, payload)) + payload


def _digest(number: int, payload: bytes) -> bytes:
    return hashlib.sha256(struct.pack("<QQ", number, len(payload)) + payload).digest()


def _lock(descriptor: int, path: Path) -> None:
    """Take the lock of the file, where the system and the file system have locks."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        cure = "wait for it, or stop it"
        raise InputError("another gumnet is at work on this", cure=cure, path=path) from None
    except OSError:
        pass  # some network file systems have no locks


def _check_unlocked(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _lock(descriptor, path)
    finally:
        os.close(descriptor)


def _check_same(began: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """Raise `InputError` naming the first difference between the run that began and this one."""
    cure = "give what it began with, or --overwrite to start anew"
    if began["program"] != now["program"]:
        raise InputError(f"the run began with {began['program']}, this is {now['program']}", cure=cure, path=path)
    for what, words in (("settings", "the run began with {name} {old}, now it is {new}"), ("inputs", "{name} changed")):
        for name in sorted({*began[what], *now[what]}):
            old, new = began[what].get(name), now[what].get(name)
            if old != new:
                problem = words.format(name=name, old=_said(old), new=_said(new))
                raise InputError(f"{problem}{' since the run began' * (what == 'inputs')}", cure=cure, path=path)


def _said(value: Any) -> str:
    return "not given" if value is None else str(value)
