"""EM files of the TOM toolbox (``.em``): a header of 512 bytes, then the voxels, x fastest. Also AV3's motive lists.

Of the header only the first 16 bytes matter here: machine, two unused bytes, type of the voxels, and three sizes.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gumnet.errors import InputError
from gumnet.io.atomic import write_whole
from gumnet.io.mrc_header import MrcHeader

_HEADER = 512
_TYPES = {1: "i1", 2: "i2", 4: "i4", 5: "f4", 9: "f8"}
_PC, _BIG_ENDIAN = 6, (0, 3, 5)  # machine: OS-9, SGI and Mac are big-endian; 6 is the PC
_SINGLE, _DOUBLE = 5, 9


def read_em_header(path: Path) -> MrcHeader:
    """Return the header of an EM file in the form of that of an MRC file; it never says the voxel size.

    Raises
    ------
    InputError
        If the file is no EM file, of a type that holds no density, or cut off.
    """
    cure = "give an EM file of the TOM toolbox"
    with path.open("rb") as file:
        raw = file.read(_HEADER)
    if len(raw) < _HEADER:
        raise InputError(f"not an EM file: {len(raw)} bytes are less than its header has", cure=cure, path=path)
    order: Literal["<", ">"] = ">" if raw[0] in _BIG_ENDIAN else "<"
    columns, rows, sections = (int(n) for n in np.frombuffer(raw, f"{order}i4", count=3, offset=4))
    if min(columns, rows, sections) < 1 or raw[0] not in (*_BIG_ENDIAN, _PC):
        raise InputError("not an EM file: its header makes no sense", cure=cure, path=path)
    if raw[3] not in _TYPES:
        raise InputError(f"EM type {raw[3]} holds no density", cure="write it as float32", path=path)
    dtype = np.dtype(_TYPES[raw[3]]).newbyteorder(order)
    expected = _HEADER + math.prod((columns, rows, sections)) * dtype.itemsize
    size = os.stat(path).st_size
    if size < expected:
        raise InputError(
            f"the file was cut off: {size} of {expected} bytes are there", cure="copy or make it again", path=path
        )
    return MrcHeader(path, (sections, rows, columns), dtype, _HEADER, sections, 1, (0.0, 0.0, 0.0))


def read_em_values(path: Path) -> NDArray[np.float64]:
    """Return all values of an EM file, (z, y, x), in full precision."""
    header = read_em_header(path)
    values = np.fromfile(path, header.dtype, count=math.prod(header.shape), offset=header.offset)
    with np.errstate(invalid="ignore"):  # of NaN: what reads it will say where
        return values.reshape(header.shape).astype(np.float64)


def write_em_values(path: Path, values: NDArray[np.float32] | NDArray[np.float64], *, overwrite: bool = False) -> None:
    """Write values (z, y, x) as an EM file of their precision, single or double."""
    kind = _DOUBLE if values.dtype == np.float64 else _SINGLE
    header = bytearray(_HEADER)
    header[0], header[3] = _PC, kind
    header[4:16] = np.array(values.shape[::-1], "<i4").tobytes()
    with write_whole(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(bytes(header) + np.ascontiguousarray(values, f"<{_TYPES[kind]}").tobytes())
