"""The header of an MRC file (MRC2014, Cheng et al., J. Struct. Biol. 2015), as far as subtomograms need it.

Fields and modes are those of mrcfile, but the file is not opened by it: it reads the extended header before it looks at
whether it is an MRC file, which takes 2 GB of memory for a text file, and it takes the bytes of IMOD for signed.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from mrcfile.utils import dtype_from_mode, spacegroup_is_volume_stack
from numpy.typing import NDArray

from gumnet.errors import InputError
from gumnet.io.check import existing_file

_MODES = (0, 1, 2, 6, 12)
OTHER_SUFFIXES = (".em", ".hdf")
"""What the names of files end in that hold volumes, but are no MRC files."""


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
        stacked = spacegroup_is_volume_stack(self.space_group) or 1 < self.depth == self.shape[1]
        return self.depth if stacked and self.depth > 0 and sections % self.depth == 0 else sections

    def read_sections(self, start: int, count: int) -> NDArray[np.float32]:
        """Return ``count`` sections from ``start`` on, shape (count, ny, nx), float32."""
        _, rows, columns = self.shape
        size = rows * columns
        values = np.fromfile(
            self.path, self.dtype, count=count * size, offset=self.offset + start * size * self.dtype.itemsize
        )
        if len(values) < count * size:  # it was whole when its header was read
            raise InputError("the file was cut off while it was read", cure="start anew", path=self.path)
        with np.errstate(invalid="ignore", over="ignore"):  # of NaN: what reads it will say where
            return values.reshape(count, rows, columns).astype(np.float32)


def read_header(path: str | Path) -> MrcHeader:
    """Return the header of an MRC file, or in the same form that of an EM file or an ``.hdf`` file of EMAN2.

    Raises
    ------
    InputError
        If the file is missing, no MRC file, of a mode that holds no density, or cut off.
    """
    path = existing_file(path, "an MRC file")
    status = os.stat(path)
    if path.suffix.lower() in OTHER_SUFFIXES:
        return _parse_other(path, status.st_size, status.st_mtime_ns)
    return _parse(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _parse_other(path: Path, _size: int, _modified: int) -> MrcHeader:
    """Return the header of an EM file or of an ``.hdf`` file of EMAN2 in the same form."""
    if path.suffix.lower() == ".em":
        from gumnet.io.em import read_em_header

        return read_em_header(path)
    from gumnet.io.hdf import read_hdf_header

    return read_hdf_header(path)


# Batches ask for the volumes of one stack again and again; size and time are in the key so that a new file is seen.
@lru_cache(maxsize=64)
def _parse(path: Path, size: int, _modified: int) -> MrcHeader:
    cure = "give an MRC file (.mrc, .mrcs, .map, .rec)"
    try:
        with path.open("rb") as file:
            raw = file.read(HEADER_DTYPE.itemsize)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", cure="check its permissions", path=path) from None
    if raw[:2] in (b"\x1f\x8b", b"BZ"):
        raise InputError("the file is compressed", cure="decompress it first", path=path)
    if len(raw) < HEADER_DTYPE.itemsize:
        raise InputError(f"not an MRC file: {size} bytes are less than its header has", cure=cure, path=path)
    # Old files lack the stamp that tells the byte order, and some have a wrong one: it is the one that makes sense.
    headers = {order: np.frombuffer(raw, HEADER_DTYPE.newbyteorder(order))[0] for order in "<>"}
    order = next((order for order, header in headers.items() if _makes_sense(header)), "")
    if not order:
        raise InputError("not an MRC file: its header makes no sense", cure=cure, path=path)
    header = headers[order]
    if header["mode"] not in _MODES:
        raise InputError(
            f"MRC mode {header['mode']} holds no density",
            cure=f"convert it to one of the modes {', '.join(map(str, _MODES))}",
            path=path,
        )
    dtype = dtype_from_mode(header["mode"]).newbyteorder(order)
    imod_stamp, imod_flags = np.frombuffer(raw, f"{order}u4", count=2, offset=152)
    if header["mode"] == 0 and imod_stamp == int.from_bytes(b"IMOD", "little") and not imod_flags & 1:
        dtype = np.dtype(np.uint8)  # IMOD before 4.2 wrote unsigned bytes, and says so by this flag
    shape = (int(header["nz"]), int(header["ny"]), int(header["nx"]))
    offset = HEADER_DTYPE.itemsize + int(header["nsymbt"])
    expected = offset + math.prod(shape) * dtype.itemsize
    if size < expected:
        raise InputError(
            f"the file was cut off: {size} of {expected} bytes are there", cure="copy or make it again", path=path
        )
    cell, sampling = header["cella"].tolist(), (header["mx"], header["my"], header["mz"])
    x, y, z = (length / int(n) if n > 0 else 0.0 for length, n in zip(cell, sampling, strict=True))
    return MrcHeader(path, shape, dtype, offset, int(header["mz"]), int(header["ispg"]), (x, y, z))


def _makes_sense(header: np.void) -> bool:
    """Return whether sizes, mode and length of the extended header can be those of a map."""
    nx, ny, nz, mode = (int(header[name]) for name in ("nx", "ny", "nz", "mode"))
    # Rows and columns tell the byte order; sections do not, since a stack of small volumes has hundreds of thousands.
    return min(nx, ny, nz) > 0 and max(nx, ny, mode) < 2**16 and mode >= 0 and int(header["nsymbt"]) >= 0
