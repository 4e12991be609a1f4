"""Volumes from one file format to another: MRC, EM and EMAN2's ``.hdf``, single or in stacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gumnet.errors import InputError
from gumnet.io.check import finite, positive_voxel_size
from gumnet.io.em import write_em_values
from gumnet.io.em_motive_list import ROWS
from gumnet.io.hdf import write_hdf
from gumnet.io.mrc import read_block, write_map, write_volume_stack
from gumnet.io.mrc_header import MrcHeader, read_header

MRC_SUFFIXES = (".mrc", ".mrcs", ".map", ".rec")
SUFFIXES = (*MRC_SUFFIXES, ".em", ".hdf")
"""What the names of files end in that can hold volumes."""


def holds_volumes(path: Path) -> bool:
    """Return whether a file holds volumes and not a table, by its name and, of EM files, by their shape."""
    if path.suffix.lower() != ".em":
        return path.suffix.lower() in SUFFIXES
    sections, _, columns = read_header(path).shape
    return not (sections == 1 and columns == ROWS)


def convert_volumes(
    source: str | Path, out: str | Path, *, voxel_size_angstrom: float | None = None, overwrite: bool = False
) -> int:
    """Write all volumes of a file in the format that the name of another asks for, and return how many there are.

    Parameters
    ----------
    voxel_size_angstrom
        Used in place of what the header says.

    Raises
    ------
    InputError
        If the volumes cannot be read, the format holds one volume and there are several, or MRC needs a voxel size.
    """
    header, out = read_header(source), Path(out)
    count = header.shape[0] // header.volume_depth
    size = header.voxel_size_angstrom if voxel_size_angstrom is None else positive_voxel_size(voxel_size_angstrom)
    suffix = out.suffix.lower()
    if count > 1 and suffix in (".em", ".map", ".rec"):
        raise InputError(
            f"holds {count} volumes, a {suffix} file holds one", cure="write .mrcs or .hdf", path=header.path
        )
    if suffix == ".em":
        write_em_values(out, next(_volumes(header, count)), overwrite=overwrite)
    elif suffix == ".hdf":
        write_hdf(out, _volumes(header, count), size, overwrite=overwrite)
    elif suffix in MRC_SUFFIXES:
        if size is None:
            raise InputError(
                "the voxel size is not known, which MRC files hold",
                cure="give it in Angstrom with --voxel-size",
                path=header.path,
            )
        tensors = (torch.from_numpy(volume) for volume in _volumes(header, count))
        if count == 1 and suffix != ".mrcs":
            write_map(out, next(tensors), size, overwrite=overwrite)
        else:
            write_volume_stack(out, tensors, size, overwrite=overwrite)
    else:
        raise InputError(f"no volumes are in files that end in {suffix}", cure=f"write {', '.join(SUFFIXES)}", path=out)
    return count


def _volumes(header: MrcHeader, count: int) -> Iterator[NDArray[np.float32]]:
    for i in range(count):
        yield finite(read_block(header, i), header.path, f"volume {i + 1}")
