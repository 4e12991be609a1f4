"""MRC maps, stacks of volumes and stacks of images; volumes are read one by one, when they are asked for."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import mrcfile
import numpy as np
import numpy.typing as npt
import torch
from mrcfile.dtypes import HEADER_DTYPE
from numpy.typing import NDArray
from torch import Tensor

from gumnet.errors import InputError
from gumnet.io.atomic import write_whole
from gumnet.io.check import existing_file, finite, informative, positive_voxel_size
from gumnet.io.mrc_header import MrcHeader, read_header
from gumnet.types import Volume, Volumes

Entry = tuple[Path, int | None]
"""A volume in a file: the path, and its number in a stack from 0, or None where the file is one volume."""


def read_map(
    path: str | Path, *, voxel_size_angstrom: float | None = None, need_voxel_size: bool = True
) -> tuple[Volume, float]:
    """Return the volume (N, N, N), float32, of an MRC file and its voxel size in Angstrom.

    Parameters
    ----------
    voxel_size_angstrom
        Used in place of what the header says.
    need_voxel_size
        Whether a header without a usable voxel size (0, 1 or anisotropic) is an error; if not, NaN is returned for it.

    Raises
    ------
    InputError
        If the file is not one cubic volume with finite, varying values, or the voxel size is needed and not known.
    """
    header = read_header(path)
    volume = torch.from_numpy(informative(read_cube(header, None), header.path))
    size = math.nan
    if voxel_size_angstrom is not None:
        size = positive_voxel_size(voxel_size_angstrom)
    elif header.voxel_size_angstrom is not None:
        size = header.voxel_size_angstrom
    elif need_voxel_size:
        said = " x ".join(f"{s:g}" for s in header.voxel_sizes_angstrom)
        raise InputError(f"the header has no usable voxel size ({said} Angstrom)", cure=_ASK_SIZE, path=header.path)
    return volume, size


_ASK_SIZE = "give the voxel size in Angstrom with --voxel-size"


def read_image_stack(path: str | Path) -> Tensor:
    """Return the images (n, N, N), float32, of a stack of square 2D images."""
    header = read_header(path)
    sections, rows, columns = header.shape
    if rows != columns:
        raise InputError(
            f"the images are {columns} x {rows}, not square", cure="extract square images", path=header.path
        )
    return torch.from_numpy(finite(header.read_sections(0, sections), header.path, "the stack"))


def read_cube(header: MrcHeader, index: int | None) -> NDArray[np.float32]:
    """Return one cubic volume (N, N, N) of a file: number ``index`` of a stack, from 0, or the only one."""
    box = header.shape[-1]
    block = read_block(header, index)
    if block.shape != (box, box, box):
        shape = " x ".join(str(n) for n in reversed(block.shape))
        kind = "2D images, a volume is wanted" if _holds_images(header) else "not a cube"
        raise InputError(f"{shape} voxels are {kind}", cure="give cubic 3D subtomograms", path=header.path)
    return block


def read_block(header: MrcHeader, index: int | None) -> NDArray[np.float32]:
    """Return the sections (nz, ny, nx) of volume ``index`` of a stack, from 0, or of the only volume of the file."""
    depth = header.volume_depth
    count = header.shape[0] // depth
    if index is None and count > 1:
        raise InputError(f"is a stack of {count} volumes", cure="name one as 1@stack.mrcs", path=header.path)
    number = 0 if index is None else index
    if not 0 <= number < count:
        # A stack of images has one "volume"; a number in it shows that the caller takes the images for volumes.
        cure = "give 3D subtomograms" if _holds_images(header) else f"use numbers from 1 to {count}"
        raise InputError(f"there is no volume {number + 1}, it holds {count}", cure=cure, path=header.path)
    return header.read_sections(number * depth, depth)


def _holds_images(header: MrcHeader) -> bool:
    return header.shape[0] == 1 or header.space_group == 0


def write_map(path: str | Path, volume: Volume, voxel_size_angstrom: float, *, overwrite: bool = False) -> None:
    """Write a volume (N, N, N) as a float32 MRC file."""
    size = positive_voxel_size(voxel_size_angstrom)
    with write_whole(path, overwrite=overwrite) as temporary:
        _create(temporary, _array(volume), size)


def write_volume_stack(
    path: str | Path,
    volumes: Volumes | Iterable[Tensor],
    voxel_size_angstrom: float,
    *,
    dtype: npt.DTypeLike = np.float32,
    overwrite: bool = False,
) -> None:
    """Write volumes as one MRC volume stack (space group 401), one after the other along z.

    Parameters
    ----------
    volumes
        Shape (n, N, N, N), or volumes (N, N, N) one by one so that they never are in memory at once.
    dtype
        float32, or float16 for what it holds.
    """
    size = positive_voxel_size(voxel_size_angstrom)
    blocks = (_array(volume, dtype) for volume in volumes)
    with write_whole(path, overwrite=overwrite) as temporary:
        first = next(blocks, None)
        if first is None:
            raise InputError("there are no volumes to write", path=path)
        _create(temporary, first[None], size)
        # mrcfile wants all volumes, or their number, at once: it makes a stack of the first one, the others follow.
        with temporary.open("r+b") as file, np.errstate(invalid="ignore"):
            header, moments = np.fromfile(file, HEADER_DTYPE, count=1), []
            for block in chain([first], blocks):
                if block.shape != first.shape:
                    shapes = f"{first.shape} and of {block.shape}"
                    raise InputError(f"volumes of {shapes} voxels do not go in one stack", path=path)
                file.write(block.tobytes())
                moments.append((block.min(), block.max(), block.mean(dtype=np.float64), block.var(dtype=np.float64)))
            low, high, mean, variance = np.array(moments).T
            header["nz"] = len(moments) * len(first)
            header["dmin"], header["dmax"], header["dmean"] = low.min(), high.max(), mean.mean()
            header["rms"] = np.sqrt(variance.mean() + mean.var())
            file.seek(0)
            file.write(header.tobytes())


def _create(path: Path, data: NDArray[np.floating], voxel_size_angstrom: float) -> None:
    """Write a volume (N, N, N), or a stack (1, N, N, N)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of NaN: what reads it will say where
        mrc = mrcfile.new(path, data)
    with mrc:
        mrc.voxel_size = voxel_size_angstrom
        mrc.header.label[0] = "gumnet"  # in place of the time: the same data are to give the same file


def _array(volume: Tensor, dtype: npt.DTypeLike = np.float32) -> NDArray[np.floating]:
    return np.ascontiguousarray(volume.detach().cpu().numpy(), dtype)


@dataclass(frozen=True)
class MrcSource:
    """Volumes in MRC files, read when asked for; no file is opened before.

    Parameters
    ----------
    entries
        Where each volume is: its file, and its number in a stack from 0, or None.
    box
        Side in voxels that all of them must have.
    """

    entries: tuple[Entry, ...]
    box: int

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, indices: Sequence[int]) -> Volumes:
        """Return the volumes (k, N, N, N) at ``indices``, float32.

        Raises
        ------
        InputError
            Naming the file and the particle, for a volume that is missing, cut off, of another box, or not finite.
        """
        volumes = torch.empty(len(indices), self.box, self.box, self.box)
        for out, index in zip(volumes, indices, strict=True):
            out.copy_(torch.from_numpy(self._read(index)))
        return volumes

    def _read(self, index: int) -> NDArray[np.float32]:
        path, number = self.entries[index]
        name = f"particle {index + 1}"
        header = read_header(existing_particle(path, name))
        volume = read_cube(header, number)
        if len(volume) != self.box:
            raise InputError(
                f"{name} has a box of {len(volume)}, the first particle one of {self.box}",
                cure="extract all particles with one box, or leave it out with --skip-bad",
                path=path,
            )
        return informative(volume, path, name)


def existing_particle(path: Path, name: str) -> Path:
    """Return the path of the file of the particle called ``name``, if it exists."""
    if not os.path.exists(path):
        raise InputError(
            f"no such file, but the table names it for {name}",
            cure="check the folder, or leave it out with --skip-bad",
            path=path,
        )
    return existing_file(path, "a volume")
