"""Fingerprints of inputs: two that are the same have the same, so that a run goes on only with what it began with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gumnet.errors import InputError

if TYPE_CHECKING:
    from gumnet.particles import Particles

_CHUNK = 2**20
_READ_AT_ONCE = 64
_ROWS_AT_ONCE = 10_000


def of_file(path: str | Path) -> str:
    """Return the SHA-256 of the bytes of a file, in hexadecimal.

    Raises
    ------
    InputError
        If there is no such file, or it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except FileNotFoundError:
        raise InputError("no such file", cure="give the path of one that is there", path=path) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", cure="give a file that can be read", path=path) from None
    return digest.hexdigest()


def of_tensors(tensors: Iterable[Tensor]) -> str:
    """Return the SHA-256 of the types, shapes and bytes of tensors, in hexadecimal."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def of_particles(particles: Particles) -> str:
    """Return the fingerprint of particles: poses, labels and table in full, image files by size and time of change.

    To read all volumes for it would take as long as some commands. Volumes that are not in files are read.
    """
    digest = hashlib.sha256()
    poses = particles.poses
    digest.update(of_tensors([poses.rotations, poses.shifts, particles.half_sets, particles.classes]).encode())
    digest.update(f"{len(particles)} {particles.box} {particles.voxel_size_angstrom!r}".encode())
    files = _files(particles)
    if files is None:
        for rows in particles.batches(_READ_AT_ONCE):
            weights = particles.read_weights(rows)
            digest.update(of_tensors([particles.read_volumes(rows), *([] if weights is None else [weights])]).encode())
        return digest.hexdigest()
    assert particles.table is not None
    for start in range(0, len(particles), _ROWS_AT_ONCE):  # a little at a time: the text of a table is large
        some = particles.table.iloc[start : start + _ROWS_AT_ONCE]
        digest.update(some.to_csv(index=False, header=start == 0).encode())
    for file in sorted(files):
        state = _state(file)
        if state is not None:
            digest.update(f"{file} {state[0]} {state[1]}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class Watched:
    """The files that a run reads, as they were when it began: size and time of change of each."""

    states: Mapping[str, tuple[int, int] | None]

    @classmethod
    def of(cls, particles: Particles, others: Iterable[Path | str | None] = ()) -> Watched:
        """Return the files of particles, and others, as they are now."""
        files = (_files(particles) or set()) | {str(path) for path in others if path is not None}
        return cls({file: _state(file) for file in sorted(files)})

    def check(self) -> None:
        """Raise `InputError` naming the first file that is not as it was: results would be of both."""
        for file, state in self.states.items():
            if _state(file) != state:
                cure = "start anew with --overwrite when nothing writes it any more"
                raise InputError("the file changed while it was read", cure=cure, path=file)


def _state(file: str) -> tuple[int, int] | None:
    """Return size in bytes and time of change in nanoseconds; None where there is no such file."""
    try:
        status = os.stat(file)
    except OSError:
        return None  # that it is missing is said where it is read
    return status.st_size, status.st_mtime_ns


def _files(particles: Particles) -> set[str] | None:
    """Return the files that hold the images, weights and tomograms of particles; None where there are none."""
    from gumnet.io.relion import CTF_IMAGE, IMAGE, TOMOGRAMS_FILE, split_name

    table, optics = particles.table, particles.optics
    if table is None or IMAGE not in table.columns:
        return None
    columns = [table[name] for name in (IMAGE, CTF_IMAGE) if name in table.columns]
    if optics is not None and TOMOGRAMS_FILE in optics.columns:
        columns.append(optics[TOMOGRAMS_FILE])
    return {split_name(str(name))[1] for column in columns for name in column}
