"""Packing particles into a store, shard by shard; see `gumnet.io.store` for what it holds."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from gumnet.engine.place import Place
from gumnet.engine.run import batches_of, run
from gumnet.engine.work import Result, Run
from gumnet.errors import InputError
from gumnet.fingerprint import Watched, of_particles
from gumnet.io.atomic import check_free_folder, claim_folder, write_whole
from gumnet.io.mrc import write_volume_stack
from gumnet.io.mrc_header import read_header
from gumnet.io.relion import CTF_IMAGE, IMAGE, PARTICLE_NAME, TOMOGRAMS_FILE, split_name
from gumnet.io.relion_optics import PREMULTIPLIED, with_optics
from gumnet.io.relion_write import ctf_from_weights, write_particles
from gumnet.io.store import EXPONENTS, INDEX, ShardInfo, Store
from gumnet.io.tables import FOLDER_TABLE
from gumnet.journal import Journal, check_start, journal_path
from gumnet.particles import Particles
from gumnet.progress import progress

if TYPE_CHECKING:
    import pandas as pd

VolumeType = Literal["float16", "float32"]
SOURCE_IMAGE = "gumnetSourceImage"
"""Column that keeps what an image was called before it was packed."""
DEFAULT_SHARD_MEGABYTES = 256.0
_READ_AT_ONCE = 32
_LOWEST, _HIGHEST, _TOP_EXPONENT = 2.0**-4, 2.0**15, 13
"""Volumes whose largest magnitude is between these are rounded as they are, others are brought below 2**13."""
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class PackWork:
    """Writes a shard of volumes, and beside it the distinct weights in it, which are put together at the end.

    Parameters
    ----------
    particles
        Without their table.
    folder
        That of the store.
    dtype
        float16 or float32.
    shard_size
        Volumes a shard: each batch is one.
    """

    particles: Particles
    folder: Path
    dtype: VolumeType
    shard_size: int

    def start(self, device: torch.device) -> Run:
        """Return what writes the shard of some rows; it needs no device."""
        return self._write

    def join(self, parts: Sequence[Result]) -> Result:
        """Shards are written whole."""
        raise InputError("there is too little memory to pack", cure="use fewer workers")

    def _write(self, rows: Sequence[int]) -> Result:
        shard = _Shard(self.particles, rows, np.dtype(self.dtype))
        number = rows[0] // self.shard_size
        path, size = volumes_path(self.folder, number), self.particles.voxel_size_angstrom
        write_volume_stack(path, shard.volumes(), size, dtype=shard.dtype, overwrite=True)
        if shard.kinds:
            write_volume_stack(_part_path(self.folder, number), shard.kinds.values(), size, overwrite=True)
        for written in (path, _part_path(self.folder, number)):
            _to_disk(written)
        info = ShardInfo.of(path, len(rows))
        digests = b"".join(shard.kinds)
        return {
            "size": torch.tensor([info.size]),
            "sha256": _bytes(bytes.fromhex(info.sha256)),
            "exponents": torch.tensor(shard.exponents, dtype=torch.int16),
            "squares": torch.tensor([shard.squared_error, shard.square], dtype=torch.float64),
            "kinds": _bytes(digests).view(-1, _DIGEST_BYTES),
            "kind_of": torch.tensor(shard.kind_of, dtype=torch.int32),
        }


class _Shard:
    """What becomes of some particles, as they are read."""

    def __init__(self, particles: Particles, rows: Sequence[int], dtype: np.dtype[np.generic]) -> None:
        self._particles, self._rows, self.dtype = particles, rows, dtype
        self.exponents: list[int] = []
        self.kinds: dict[bytes, Tensor] = {}
        self.kind_of: list[int] = []
        self.square = self.squared_error = 0.0
        self._order: dict[bytes, int] = {}

    def volumes(self) -> Iterator[Tensor]:
        """Yield each volume as it goes into the shard, and note what else there is to know of it."""
        for start in range(0, len(self._rows), _READ_AT_ONCE):
            rows = self._rows[start : start + _READ_AT_ONCE]
            weights = self._particles.read_weights(rows)
            for each in () if weights is None else weights:
                self._note_weights(each)
            for volume in self._particles.read_volumes(rows):
                yield self._rounded(volume) if self.dtype == np.float16 else volume
                self.exponents += [] if self.dtype == np.float16 else [0]

    def _rounded(self, volume: Tensor) -> Tensor:
        exponent = exponent_of(float(volume.abs().max()))
        half = (volume * 2.0**exponent).to(torch.float16)
        self.exponents.append(exponent)
        self.square += float(volume.square().sum(dtype=torch.float64))
        error = half.float() * 2.0**-exponent - volume
        self.squared_error += float(error.square().sum(dtype=torch.float64))
        return half

    def _note_weights(self, weights: Tensor) -> None:
        digest = hashlib.blake2b(weights.contiguous().numpy().tobytes(), digest_size=_DIGEST_BYTES).digest()
        if digest not in self.kinds:
            self._order[digest] = len(self.kinds)
            self.kinds[digest] = ctf_from_weights(weights)
        self.kind_of.append(self._order[digest])


def exponent_of(largest: float) -> int:
    """Return the power of two that a volume is multiplied by before it is rounded to float16; mostly 0."""
    if _LOWEST <= largest <= _HIGHEST or largest == 0:
        return 0
    # Beyond 2**126 the factor itself would leave float32.
    return min(126, _TOP_EXPONENT - math.frexp(largest)[1])


def pack(
    particles: Particles,
    folder: str | Path,
    *,
    dtype: VolumeType = "float16",
    shard_megabytes: float = DEFAULT_SHARD_MEGABYTES,
    place: Place | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Store:
    """Write particles as a store, and return it.

    Parameters
    ----------
    particles
        What to write: volumes, weights, poses, labels and table.
    folder
        Where. A journal lies beside it until the store is whole.
    dtype
        Type of the volumes; see `gumnet.io.store` for the rounding of float16.
    shard_megabytes
        About the size of a shard. Shards are written at the same time, and resumed, as wholes.
    place
        Who writes.
    resume
        Go on with a store that was not finished.
    overwrite
        Whether a folder that holds something may be written to.

    Raises
    ------
    InputError
        If a particle cannot be read, or the folder cannot be written.
    """
    folder = Path(folder).absolute()
    if not shard_megabytes > 0:
        raise InputError(f"shards of {shard_megabytes:g} MB are not possible", cure="give more than 0")
    if dtype not in ("float16", "float32"):
        raise InputError(f"type {dtype!r} is not known", cure="use float16 or float32")
    _refuse_own_files(particles, folder)
    check_start(folder, resume=resume, overwrite=overwrite, check=check_free_folder)
    if not (resume and journal_path(folder).exists()):
        _check_space(particles, folder, dtype)
    per_shard = max(1, round(shard_megabytes * 1e6 / (np.dtype(dtype).itemsize * particles.box**3)))
    watched = Watched.of(particles)
    settings = {"--type": dtype, "--shard-megabytes": shard_megabytes}
    inputs = {"the particles": of_particles(particles)}
    with Journal.open(
        journal_path(folder), settings=settings, inputs=inputs, resume=resume, overwrite=overwrite
    ) as journal:
        claim_folder(folder, overwrite=True)
        if not journal.planned:
            _clear(folder)
        per_shard = journal.agree({"volumes a shard": per_shard})["volumes a shard"]
        for number in journal.finished():
            if not volumes_path(folder, number).is_file():
                cure = "start anew with --overwrite"
                raise InputError("this shard was written and is gone", cure=cure, path=volumes_path(folder, number))
        slim = replace(particles, table=None, optics=None, names=())
        batches = batches_of(len(particles), per_shard)
        results: dict[int, Result] = {}
        try:
            with progress("packing", len(particles)) as display:
                for done in run(PackWork(slim, folder, dtype, per_shard), batches, place, journal=journal):
                    assert done.result is not None
                    results[done.number] = done.result
                    display.advance(len(done.rows))
            watched.check()
            if not (folder / INDEX).exists():
                _finish(particles, folder, dtype, per_shard, [results[number] for number in sorted(results)])
        finally:
            _remove(folder, ".*.tmp.*")  # of workers that were stopped, now or when an earlier run was killed
        _remove(folder, ".weights-*.mrcs")
        journal.remove()
    return Store.open(folder)


def volumes_path(folder: Path, number: int) -> Path:
    """Return the name of a shard of volumes."""
    return folder / f"volumes-{number:05d}.mrcs"


def _weights_path(folder: Path, number: int) -> Path:
    return folder / f"weights-{number:05d}.mrcs"


def _part_path(folder: Path, number: int) -> Path:
    return folder / f".weights-{number:05d}.mrcs"


def _finish(particles: Particles, folder: Path, dtype: VolumeType, per_shard: int, results: list[Result]) -> None:
    """Put the weights together, write the table, and last the index."""
    volumes = tuple(_shard_info(volumes_path(folder, i).name, result) for i, result in enumerate(results))
    weights, kind_of = _join_weights(particles, folder, per_shard, results)
    names = [f"{i + 1:06d}@{folder / shard.file}" for shard in volumes for i in range(shard.count)]
    _write_table(particles, folder, names, None if kind_of is None else _weight_names(folder, kind_of, weights))
    others = [folder / FOLDER_TABLE]
    exponents = torch.cat([result["exponents"] for result in results])
    if bool(exponents.any()):
        with write_whole(folder / EXPONENTS, overwrite=True) as temporary:
            np.save(temporary, exponents.numpy(), allow_pickle=False)
        others.append(folder / EXPONENTS)
    error, square = torch.stack([result["squares"] for result in results]).sum(dim=0).tolist()
    store = Store(
        folder,
        len(particles),
        particles.box,
        particles.voxel_size_angstrom,
        dtype,
        math.sqrt(error / square) if square else 0.0,
        volumes,
        weights,
        tuple(ShardInfo.of(path, 0) for path in others),
    )
    with write_whole(folder / INDEX, overwrite=True) as temporary:
        temporary.write_text(store.to_json(), encoding="utf-8")
        _to_disk(temporary)


def _shard_info(file: str, result: Result) -> ShardInfo:
    """Return what the index says of a shard, from what its worker said."""
    return ShardInfo(file, len(result["exponents"]), int(result["size"]), result["sha256"].numpy().tobytes().hex())


def _join_weights(
    particles: Particles, folder: Path, per_shard: int, results: list[Result]
) -> tuple[tuple[ShardInfo, ...], list[int] | None]:
    """Write each kind of weights once, in the order of its first particle, and return the kind of each particle."""
    if particles.weights is None:
        return (), None
    kinds: dict[bytes, tuple[int, int]] = {}
    order: dict[bytes, int] = {}
    kind_of: list[int] = []
    for number, result in enumerate(results):
        digests = [digest.numpy().tobytes() for digest in result["kinds"]]
        for place, digest in enumerate(digests):
            order.setdefault(digest, len(order))
            kinds.setdefault(digest, (number, place))
        kind_of += [order[digests[k]] for k in result["kind_of"].tolist()]
    places = list(kinds.values())
    shards = []
    for number, start in enumerate(range(0, len(places), per_shard)):
        some = places[start : start + per_shard]
        path = _weights_path(folder, number)
        write_volume_stack(path, _parts(folder, some), particles.voxel_size_angstrom, overwrite=True)
        _to_disk(path)
        shards.append(ShardInfo.of(path, len(some)))
    return tuple(shards), kind_of


def _parts(folder: Path, places: Sequence[tuple[int, int]]) -> Iterator[Tensor]:
    """Yield weights that lie beside the shards they were found in."""
    for number, place in places:
        header = read_header(_part_path(folder, number))
        depth = header.shape[1]
        yield torch.from_numpy(header.read_sections(place * depth, depth))


def _weight_names(folder: Path, kind_of: list[int], shards: tuple[ShardInfo, ...]) -> list[str]:
    size = shards[0].count
    return [f"{kind % size + 1:06d}@{folder / shards[kind // size].file}" for kind in kind_of]


def _write_table(particles: Particles, folder: Path, names: list[str], ctf_names: list[str] | None) -> None:
    """Write the table of the store: all columns that the particles came with, and the images' new names."""
    import pandas as pd

    frame = pd.DataFrame(index=range(len(names))) if particles.table is None else particles.table.copy()
    if IMAGE in frame.columns and SOURCE_IMAGE not in frame.columns:
        frame[SOURCE_IMAGE] = frame[IMAGE]
    frame[IMAGE] = names
    if ctf_names is not None:
        frame[CTF_IMAGE] = ctf_names
    if PARTICLE_NAME not in frame.columns:
        frame[PARTICLE_NAME] = [name.replace(" ", "_") for name in particles.names]
    frame, optics = with_optics(frame, particles.optics, particles.voxel_size_angstrom)
    optics = _packed_optics(optics, particles.box)
    write_particles(folder / FOLDER_TABLE, replace(particles, table=frame, optics=optics), overwrite=True)


def _packed_optics(optics: pd.DataFrame, box: int) -> pd.DataFrame:
    """Return optics groups of volumes in the form of `gumnet.types`; tilt stacks are 3D now, and need no tomograms."""
    changed = {PREMULTIPLIED: 1, "rlnImageDimensionality": 3, "rlnImageSize": box}
    return optics.drop(columns=TOMOGRAMS_FILE, errors="ignore").assign(**changed)


def _check_space(particles: Particles, folder: Path, dtype: VolumeType) -> None:
    """Raise `InputError` where the volumes alone do not fit on the disk."""
    above = next(parent for parent in (folder, *folder.parents) if parent.exists())
    needed, free = len(particles) * np.dtype(dtype).itemsize * particles.box**3, shutil.disk_usage(above).free
    if needed > free:
        sizes = f"the store takes {needed / 1e9:.1g} GB and more, and {free / 1e9:.1g} GB are free there"
        raise InputError(sizes, cure="free some, or choose another disk", path=folder)


def _refuse_own_files(particles: Particles, folder: Path) -> None:
    """Raise `InputError` where the folder to write holds what is to be read."""
    table = particles.table
    if table is None or IMAGE not in table.columns:
        return
    if any(os.path.dirname(split_name(str(name))[1]) == str(folder) for name in table[IMAGE]):
        raise InputError("the particles themselves are in this folder", cure="give another folder", path=folder)


def _clear(folder: Path) -> None:
    """Remove the files of an older store: nothing of it may pass for a part of the new one."""
    for pattern in (INDEX, "volumes-*.mrcs", "weights-*.mrcs", ".weights-*.mrcs", ".*.tmp.*", EXPONENTS):
        _remove(folder, pattern)


def _remove(folder: Path, pattern: str) -> None:
    for old in folder.glob(pattern):
        old.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    """Wait until a file, if it is there, would outlast a power cut."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        os.fsync(file.fileno())


def _bytes(data: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())
