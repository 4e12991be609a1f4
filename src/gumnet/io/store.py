"""Stores: particles packed for quick reading, in files that other programs read too.

A store is a folder. ``particles.star`` is a RELION table; its images are in shards, ``volumes-00000.mrcs`` and so on,
MRC stacks of float16 (mode 12) or float32 volumes in the form of `gumnet.types`. Each distinct set of Fourier weights
is in ``weights-00000.mrcs`` and so on once, as its square root in half layout, which is what RELION 3.1 squares.
``store.json`` lists the files with their SHA-256; it is written last, so a folder that has it is whole. Anything that
reads the table reads the store; gumnet maps the shards into memory instead of opening them.

float16 holds 11 bits, and magnitudes from 6e-8 to 65504. A volume whose largest magnitude is not between 1/16 and 32768
is multiplied by a power of two that puts it between 4096 and 8192; ``exponents.npy`` has one exponent a volume if any
has one but 0, and the others are in the shards as they are. Rounding changes a value by at most 1/2048 of itself or,
where that is less than half a millionth of the largest, by that.
"""

from __future__ import annotations

import json
import math
import mmap
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.fingerprint import of_file
from gumnet.io.check import existing_file
from gumnet.io.mrc import Entry
from gumnet.io.mrc_header import read_header
from gumnet.particles import InMemory
from gumnet.types import Volumes, Weights

INDEX, EXPONENTS = "store.json", "exponents.npy"
SCHEMA = 1
_DAMAGED = "pack it again, or copy it again from where it was packed"
_MAPPED_BYTES = 64_000_000
"""What is mapped counts as memory of the process, all that was ever read unless it is let go now and then."""


@dataclass(frozen=True)
class ShardInfo:
    """One file of a store, as the index has it.

    Parameters
    ----------
    file
        Its name in the folder.
    count
        Volumes, or sets of weights, in it.
    size
        In bytes.
    sha256
        Of its bytes, in hexadecimal.
    """

    file: str
    count: int
    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path, count: int) -> ShardInfo:
        """Return what the index says of a file that is written."""
        return cls(path.name, count, path.stat().st_size, of_file(path))


@dataclass(frozen=True)
class Store:
    """A store that is open for reading; shards are mapped when they are first needed.

    Parameters
    ----------
    folder
        Where it is.
    particles, box, voxel_size_angstrom, dtype
        Number of particles, side of the cubic box in voxels, size of a voxel, and float16 or float32.
    rounding
        Root mean square of what the type changed, over that of the volumes.
    volumes, weights, others
        The files.
    """

    folder: Path
    particles: int
    box: int
    voxel_size_angstrom: float
    dtype: str
    rounding: float
    volumes: tuple[ShardInfo, ...]
    weights: tuple[ShardInfo, ...]
    others: tuple[ShardInfo, ...]
    _maps: dict[str, tuple[Any, Tensor]] = field(default_factory=dict, repr=False, compare=False)
    _files: list[mmap.mmap] = field(default_factory=list, repr=False, compare=False)
    _read: list[int] = field(default_factory=lambda: [0], repr=False, compare=False)

    @classmethod
    def open(cls, folder: str | Path) -> Store:
        """Return the store in a folder.

        Raises
        ------
        InputError
            If there is none, it is not whole, or a newer gumnet wrote it.
        """
        path = existing_file(Path(folder) / INDEX, "the index of a store")
        status = path.stat()
        return _open(path.absolute(), status.st_size, status.st_mtime_ns)

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker opens it by its name: what is mapped here is not sent.
        return Store.open, (self.folder,)

    def to_json(self) -> str:
        """Return the text of the index."""
        names = ("particles", "box", "voxel_size_angstrom", "dtype", "rounding")
        shards = {name: [vars(each) for each in getattr(self, name)] for name in ("volumes", "weights", "others")}
        return json.dumps({"schema": SCHEMA, **{n: getattr(self, n) for n in names}, **shards}, indent=1) + "\n"

    def damaged(self) -> list[str]:
        """Return what is wrong with each file that is not as it was written; reads all of them."""
        found, first = [], 1
        for shard in (*self.volumes, *self.weights, *self.others):
            which = ""
            if shard in self.volumes:
                which = f" (particles {first} to {first + shard.count - 1})"
                first += shard.count
            try:
                self._check_size(shard)
            except InputError as error:
                found.append(f"{shard.file}{which}: {error.problem}")
                continue
            if of_file(self.folder / shard.file) != shard.sha256:
                found.append(f"{shard.file}{which}: its bytes are not those that were written")
        return found

    def volume_source(self, entries: Sequence[Entry]) -> StoreVolumes:
        """Return the volumes that image names mean."""
        return StoreVolumes(self, _numbers(entries, self.volumes))

    def weight_source(self, entries: Sequence[Entry]) -> StoreWeights:
        """Return the weights that the names in rlnCtfImage mean."""
        return StoreWeights(self, _numbers(entries, self.weights))

    def mapped(self, shards: tuple[ShardInfo, ...], number: int) -> tuple[Tensor, int]:
        """Return the shard (count, ...) that holds volume ``number`` of all, and its number there."""
        shard = shards[number // shards[0].count]
        # Each time: to read beyond the end of a map whose file was cut off meanwhile would end the process.
        changed = self._check_size(shard)
        if self._maps.get(shard.file, (changed, None))[0] != changed:
            raise InputError("the shard changed while it was read", cure="start anew", path=self.folder / shard.file)
        if shard.file not in self._maps:
            header = read_header(self.folder / shard.file)
            last = self.box // 2 + 1 if shards is self.weights else self.box
            if header.shape != (shard.count * self.box, self.box, last):
                told = " x ".join(map(str, reversed(header.shape)))
                problem = f"the shard is damaged: its header says {told} voxels for {shard.count} boxes of {self.box}"
                raise InputError(problem, cure=_DAMAGED, path=header.path)
            # Copy on write: torch wants what could be written to, and nothing is.
            with header.path.open("rb") as file:
                self._files.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
            values = np.frombuffer(self._files[-1], header.dtype, math.prod(header.shape), header.offset)
            self._maps[shard.file] = changed, torch.from_numpy(values.reshape(shard.count, self.box, self.box, last))
        return self._maps[shard.file][1], number % shards[0].count

    def note_read(self, size: int) -> None:
        """Take note of bytes that were read, and let go of what is mapped when they come to much.

        The system keeps it in its cache, and reading it again costs next to nothing. Without this a pass over a store
        would end with all of it in the memory of the process, as far as the system and a queue can tell.
        """
        self._read[0] += size
        if self._read[0] > _MAPPED_BYTES and hasattr(mmap, "MADV_DONTNEED"):
            self._read[0] = 0
            for each in self._files:
                each.madvise(mmap.MADV_DONTNEED)

    def exponents(self) -> Tensor | None:
        """Return the power of two that each volume was multiplied by, int16 (n,); None where all are 0."""
        if not any(other.file == EXPONENTS for other in self.others):
            return None
        if EXPONENTS not in self._maps:
            path = self.folder / EXPONENTS
            try:
                # Mapped first: what says that it has more numbers than bytes is refused, and takes no memory.
                values = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError):
                raise InputError("this is no array of numpy", cure=_DAMAGED, path=path) from None
            if values.shape != (self.particles,) or values.dtype != np.int16:
                raise InputError(f"it does not have a number for each of {self.particles}", cure=_DAMAGED, path=path)
            self._maps[EXPONENTS] = None, torch.from_numpy(values.copy())
        return self._maps[EXPONENTS][1]

    def _check_size(self, shard: ShardInfo) -> tuple[int, int]:
        """Return size and time of change of a file, in bytes and nanoseconds; an `InputError` if it is of another size.

        A status a read costs a microsecond, where the read takes nine.
        """
        path = self.folder / shard.file
        try:
            status = path.stat()
        except OSError:
            raise InputError("no such file, but the store lists it", cure=_DAMAGED, path=path) from None
        if status.st_size != shard.size:
            sizes = f"{status.st_size} bytes, {shard.size} were written"
            raise InputError(f"the shard is damaged: it has {sizes}", cure=_DAMAGED, path=path)
        return status.st_size, status.st_mtime_ns


# A table names its store once a particle, and commands open the same one several times.
@lru_cache(maxsize=8)
def _open(path: Path, _size: int, _modified: int) -> Store:
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        schema = index.pop("schema")
        if schema > SCHEMA:
            cure = "use the gumnet that wrote it, or a newer one"
            raise InputError(f"the store has schema {schema}, this gumnet knows {SCHEMA}", cure=cure, path=path)
        shards = [tuple(ShardInfo(**each) for each in index.pop(n)) for n in ("volumes", "weights", "others")]
        store = Store(path.parent, **index, volumes=shards[0], weights=shards[1], others=shards[2])
        _check_index(store)
        return store
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InputError("this is no index of a store", cure=_DAMAGED, path=path) from None


def _check_index(store: Store) -> None:
    """Raise `ValueError` where an index says what cannot be: shards are full but for the last, and in its folder."""
    size = store.voxel_size_angstrom
    for shard in (*store.volumes, *store.weights, *store.others):
        if not isinstance(shard.file, str) or Path(shard.file).name != shard.file:
            raise ValueError("a name with a folder in it")
    counts = [store.particles, store.box, *(shard.count for shard in (*store.volumes, *store.weights))]
    if not all(type(count) is int and count > 0 for count in counts):
        raise ValueError("numbers that count nothing")
    if not (isinstance(size, float | int) and math.isfinite(size) and size > 0):
        raise ValueError("no voxel size")
    for group in (store.volumes, store.weights):
        if any(shard.count != group[0].count for shard in group[:-1]) or (group and group[-1].count > group[0].count):
            raise ValueError("shards that are not full")
    if sum(shard.count for shard in store.volumes) != store.particles:
        raise ValueError("another number of volumes")


def store_of(entries: Sequence[Entry]) -> Store | None:
    """Return the store that all images are in, or None where there is none."""
    if not entries:
        return None
    folder = entries[0][0].parent
    if not (folder / INDEX).is_file():
        return None
    store = Store.open(folder)
    shards = {str(folder / shard.file) for shard in store.volumes}
    return store if {str(path) for path, _ in entries} <= shards else None


def _numbers(entries: Iterable[Entry], shards: tuple[ShardInfo, ...]) -> array[int]:
    """Return the numbers, through all shards, of volumes that are named by shard and number in it."""
    starts, total = {}, 0
    for shard in shards:
        starts[shard.file] = (total, shard.count)
        total += shard.count
    found = array("i")
    for path, number in entries:
        start, count = starts.get(path.name, (0, 0))
        if number is None or number >= count:
            problem = f"the store has no {'volume' if number is None else number + 1} of that name"
            raise InputError(problem, cure="give the table that belongs to the store", path=path)
        found.append(start + number)
    return found


@dataclass(frozen=True)
class _StoreSource(InMemory):
    """What volumes and weights of a store have in common.

    Parameters
    ----------
    store
        Where they are.
    numbers
        Which of its volumes, or of its distinct weights, each particle has.
    """

    store: Store
    numbers: Sequence[int]

    @property
    def box(self) -> int:
        """Side of the cubic box in voxels."""
        return self.store.box

    def __len__(self) -> int:
        return len(self.numbers)


class StoreVolumes(_StoreSource):
    """Volumes of a store: implements `gumnet.particles.Source`."""

    def read(self, indices: Sequence[int]) -> Volumes:
        """Return the volumes (k, N, N, N) at ``indices``, float32."""
        volumes = torch.empty(len(indices), self.box, self.box, self.box)
        exponents = self.store.exponents()
        for out, index in zip(volumes, indices, strict=True):
            number = self.numbers[index]
            shard, row = self.store.mapped(self.store.volumes, number)
            out.copy_(shard[row])
            if exponents is not None:
                out.mul_(2.0 ** -int(exponents[number]))
        self.store.note_read(volumes.nbytes)
        return volumes


class StoreWeights(_StoreSource):
    """Fourier weights of a store: implements `gumnet.particles.Source`."""

    def read(self, indices: Sequence[int]) -> Weights:
        """Return the weights (k, N, N, N // 2 + 1) at ``indices``, float32."""
        weights = torch.empty(len(indices), self.box, self.box, self.box // 2 + 1)
        for out, index in zip(weights, indices, strict=True):
            shard, row = self.store.mapped(self.store.weights, self.numbers[index])
            torch.square(shard[row], out=out)
        self.store.note_read(weights.nbytes)
        return weights
