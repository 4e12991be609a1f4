"""The header of an MRC file (MRC2014, Cheng et al., J. Struct. Biol. 2015), as far as subtomograms need it."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gumnet.errors import InputError
from gumnet.io.check import existing_file

HEADER_BYTES = 1024
_MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_VOLUME_STACK = 401
_IMOD_STAMP = 1146047817
# Positions of the fields, in words of four bytes.
_SHAPE, _MODE, _SAMPLING, _CELL, _CELL_ANGLES, _AXES, _STATISTICS = 0, 3, 7, 10, 13, 16, 19
_SPACE_GROUP, _EXTENDED_BYTES, _IMOD, _MAP, _STAMP, _RMS, _LABEL_COUNT, _LABELS = 22, 23, 38, 52, 53, 54, 55, 56


@dataclass(frozen=True)
class MrcHeader:
    """What an MRC file holds.

    Parameters
    ----------
    shape
        Sections, rows, columns: (nz, ny, nx).
    dtype
        Type of the voxels, with byte order.
    offset
        Where they start in the file, in bytes.
    depth
        Sections a volume (mz of the header).
    space_group
        0 for images, 1 for a volume, 401 for a stack of volumes.
    voxel_sizes_angstrom
        (x, y, z) as the header says.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    offset: int
    depth: int
    space_group: int
    voxel_sizes_angstrom: tuple[float, float, float]

    @property
    def voxel_size_angstrom(self) -> float | None:
        """Voxel size, or None where the header does not say: 0 and 1 mean "not set", as do anisotropic sizes."""
        x, y, z = self.voxel_sizes_angstrom
        usable = math.isfinite(x + y + z) and x > 0 and x != 1.0
        isotropic = math.isclose(x, y, rel_tol=1e-3) and math.isclose(x, z, rel_tol=1e-3)
        return x if usable and isotropic else None

    @property
    def volume_depth(self) -> int:
        """Sections of each volume: those of the file, or fewer where the header says that it is a stack of volumes."""
        sections = self.shape[0]
        stacked = self.space_group == _VOLUME_STACK or 1 < self.depth == self.shape[1]
        return self.depth if stacked and self.depth > 0 and sections % self.depth == 0 else sections

    def read_sections(self, start: int, count: int) -> NDArray[np.float32]:
        """Return ``count`` sections from ``start`` on, shape (count, ny, nx), float32."""
        _, rows, columns = self.shape
        size = rows * columns
        values = np.fromfile(
            self.path, self.dtype, count=count * size, offset=self.offset + start * size * self.dtype.itemsize
        )
        return values.reshape(count, rows, columns).astype(np.float32)


def read_header(path: str | Path) -> MrcHeader:
    """Return the header of an MRC file.

    Raises
    ------
    InputError
        If the file is missing, no MRC file, of a mode that holds no density, or cut off.
    """
    path = existing_file(path, "an MRC file")
    status = os.stat(path)
    return _parse(path, status.st_size, status.st_mtime_ns)


# Batches ask for the volumes of one stack again and again; size and time are in the key so that a new file is seen.
@lru_cache(maxsize=64)
def _parse(path: Path, size: int, _modified: int) -> MrcHeader:
    cure = "give an MRC file (.mrc, .mrcs, .map, .rec)"
    try:
        with path.open("rb") as file:
            raw = file.read(HEADER_BYTES)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", cure="check its permissions", path=path) from None
    if raw[:2] in (b"\x1f\x8b", b"BZ"):
        raise InputError("the file is compressed", cure="decompress it first", path=path)
    if len(raw) < HEADER_BYTES:
        raise InputError(f"not an MRC file: {size} bytes are less than its header has", cure=cure, path=path)
    words, order = _words(raw)
    shape = (int(words[_SHAPE + 2]), int(words[_SHAPE + 1]), int(words[_SHAPE]))
    mode, extended = int(words[_MODE]), int(words[_EXTENDED_BYTES])
    if min(shape) < 1 or max(shape) >= 2**16 or extended < 0:
        raise InputError("not an MRC file: its header makes no sense", cure=cure, path=path)
    if mode not in _MODES:
        known = ", ".join(str(m) for m in _MODES)
        raise InputError(f"MRC mode {mode} holds no density", cure=f"convert it to one of the modes {known}", path=path)
    dtype: np.dtype[np.generic] = np.dtype(order + _MODES[mode])
    if mode == 0 and words[_IMOD] == _IMOD_STAMP and not words[_IMOD + 1] & 1:
        dtype = np.dtype("u1")  # IMOD before 4.2 wrote unsigned bytes, and says so by this flag
    expected = HEADER_BYTES + extended + math.prod(shape) * dtype.itemsize
    if size < expected:
        raise InputError(
            f"the file was cut off: {size} of {expected} bytes are there", cure="copy or make it again", path=path
        )
    sampling = words[_SAMPLING : _SAMPLING + 3]
    cell = words.view(np.dtype(order + "f4"))[_CELL : _CELL + 3]
    sizes = tuple(float(c) / int(s) if s > 0 else 0.0 for c, s in zip(cell, sampling, strict=True))
    return MrcHeader(
        path=path,
        shape=shape,
        dtype=dtype,
        offset=HEADER_BYTES + extended,
        depth=int(sampling[2]),
        space_group=int(words[_SPACE_GROUP]),
        voxel_sizes_angstrom=(sizes[0], sizes[1], sizes[2]),
    )


def _words(raw: bytes) -> tuple[NDArray[np.int32], str]:
    """Return the header as integers, and its byte order: the one in which size and mode are small."""
    for order in ("<", ">"):
        words = np.frombuffer(raw, np.dtype(order + "i4"))
        if 0 <= words[_MODE] < 2**16 and words[:3].min() > 0 and words[:3].max() < 2**16:
            return words, order
    return np.frombuffer(raw, np.dtype("<i4")), "<"


def build_header(
    shape: tuple[int, int, int],
    voxel_size_angstrom: float,
    *,
    depth: int | None = None,
    statistics: tuple[float, float, float, float] = (0.0, -1.0, -2.0, -1.0),
) -> bytes:
    """Return the 1024 bytes of the header of a float32 file with sections, rows, columns ``shape``.

    Parameters
    ----------
    depth
        Sections a volume, for a stack of volumes (space group 401); None for one volume.
    statistics
        Minimum, maximum, mean and standard deviation; the default says "not known" as MRC2014 does.
    """
    words = np.zeros(HEADER_BYTES // 4, np.int32)
    floats = words.view(np.float32)
    columns_first = shape[::-1]
    sampling = (shape[2], shape[1], shape[0] if depth is None else depth)
    words[_SHAPE : _SHAPE + 3] = columns_first
    words[_MODE] = 2
    words[_SAMPLING : _SAMPLING + 3] = sampling
    floats[_CELL : _CELL + 3] = [n * voxel_size_angstrom for n in sampling]
    floats[_CELL_ANGLES : _CELL_ANGLES + 3] = 90.0
    words[_AXES : _AXES + 3] = (1, 2, 3)
    floats[_STATISTICS : _STATISTICS + 3] = statistics[:3]
    floats[_RMS] = statistics[3]
    words[_SPACE_GROUP] = 1 if depth is None else _VOLUME_STACK
    words[27] = 20140  # version of the format: MRC2014
    raw = bytearray(words.tobytes())
    raw[4 * _MAP : 4 * _MAP + 4] = b"MAP "
    raw[4 * _STAMP : 4 * _STAMP + 4] = b"\x44\x44\x00\x00" if sys.byteorder == "little" else b"\x11\x11\x00\x00"
    raw[4 * _LABELS : 4 * _LABELS + 80] = b"gumnet".ljust(80)
    words = np.frombuffer(raw, np.int32)
    words[_LABEL_COUNT] = 1
    return bytes(raw)
