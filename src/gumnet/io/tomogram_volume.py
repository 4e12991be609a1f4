"""Tomograms as MRC or Zarr, of which only the windows that are asked for are read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gumnet.errors import InputError
from gumnet.io.check import positive_voxel_size
from gumnet.io.mrc_header import MrcHeader, read_header

if TYPE_CHECKING:
    from collections.abc import Sequence

MRC_SUFFIXES = (".mrc", ".rec", ".map", ".st", ".ali")
_ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")
_ANGSTROM = {"angstrom": 1.0, "nanometer": 10.0, "micrometer": 1e4, "picometer": 0.01}


class Tomogram(Protocol):
    """A volume [z, y, x] of which windows are read."""

    @property
    def path(self) -> Path:
        """Where it is."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Sections, rows, columns: (nz, ny, nx)."""

    @property
    def voxel_size_angstrom(self) -> float:
        """Size of a voxel."""

    def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.float32]:
        """Return the window from ``start`` (z, y, x) up to and without ``stop``, which lies inside."""


@dataclass(frozen=True)
class MrcTomogram:
    """A memory-mapped MRC file."""

    header: MrcHeader
    voxel_size_angstrom: float

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.header.path

    @property
    def shape(self) -> tuple[int, int, int]:
        """Sections, rows, columns: (nz, ny, nx)."""
        return self.header.shape

    @cached_property
    def _voxels(self) -> np.memmap[tuple[int, int, int], np.dtype[np.generic]]:
        return np.memmap(self.path, self.header.dtype, mode="r", offset=self.header.offset, shape=self.shape)

    def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.float32]:
        """Return the window from ``start`` (z, y, x) up to and without ``stop``."""
        window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        return np.array(self._voxels[window], np.float32)


@dataclass(frozen=True)
class ZarrTomogram:
    """An array in a Zarr store, version 2 or 3; chunks are read as windows need them."""

    path: Path
    array: Any
    voxel_size_angstrom: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Sections, rows, columns: (nz, ny, nx). Leading axes of length 1, channel and time, are left out."""
        nz, ny, nx = self.array.shape[-3:]
        return int(nz), int(ny), int(nx)

    def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.float32]:
        """Return the window from ``start`` (z, y, x) up to and without ``stop``."""
        window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        leading = (0,) * (self.array.ndim - 3)
        return np.array(self.array[leading + window], np.float32)


def is_zarr(path: Path) -> bool:
    """Return whether ``path`` is a Zarr store, or an array or group in one."""
    return path.is_dir() and any((path / name).is_file() for name in _ZARR_FILES)


def open_tomogram(path: str | Path, *, voxel_size_angstrom: float | None = None, level: int = 0) -> Tomogram:
    """Return the tomogram in an MRC file or a Zarr store; no voxel is read yet.

    Parameters
    ----------
    voxel_size_angstrom
        Used in place of what the file says.
    level
        Which resolution of an OME-Zarr pyramid, from 0, the finest.

    Raises
    ------
    InputError
        If it is neither, is no volume, or its voxel size is needed and not known.
    """
    path = Path(path)
    given = None if voxel_size_angstrom is None else positive_voxel_size(voxel_size_angstrom)
    if is_zarr(path):
        return _open_zarr(path, given, level)
    header = read_header(path)
    if header.shape[0] == 1:
        raise InputError("holds one image, a tomogram is wanted", cure="give a 3D reconstruction", path=path)
    return MrcTomogram(header, _known_size(given, header.voxel_size_angstrom, path))


def _known_size(given: float | None, told: float | None, path: Path) -> float:
    size = told if given is None else given
    if size is None:
        raise InputError(
            "the tomogram does not say its voxel size", cure="give it in Angstrom with --voxel-size", path=path
        )
    return size


def _open_zarr(path: Path, given: float | None, level: int) -> ZarrTomogram:
    try:
        import zarr
    except ImportError:
        raise InputError(
            "reading Zarr needs the package zarr", cure="install it: pip install 'gumnet[zarr]'", path=path
        ) from None
    try:
        node = zarr.open(path, mode="r")
    except Exception as error:  # zarr raises many kinds for a store that it cannot understand
        raise InputError(f"the Zarr store cannot be read ({error})", cure="write it again", path=path) from None
    told = None
    array: Any = node
    if isinstance(node, zarr.Group):
        name, told = _level(dict(node.attrs), level, path)
        array = node.get(name)
        path = path / name
    if not isinstance(array, zarr.Array):
        raise InputError("there is no array", cure="give a Zarr array or an OME-Zarr image", path=path)
    if array.ndim < 3 or math.prod(array.shape[:-3]) != 1:
        shape = " x ".join(map(str, array.shape))
        raise InputError(f"its shape is {shape}, one volume is wanted", cure="give one 3D array (z, y, x)", path=path)
    return ZarrTomogram(path, array, _known_size(given, told, path))


def _level(attributes: dict[str, Any], level: int, path: Path) -> tuple[str, float | None]:
    """Return name and voxel size in Angstrom of one resolution of an OME-Zarr image, versions 0.4 and 0.5."""
    ome = attributes.get("ome", attributes)
    images = ome.get("multiscales") if isinstance(ome, dict) else None
    if not images:
        raise InputError(
            "the Zarr group is no OME-Zarr image: it has no multiscales", cure="name an array in it", path=path
        )
    try:
        datasets = images[0]["datasets"]
        if not 0 <= level < len(datasets):
            raise InputError(
                f"there is no level {level}, it holds {len(datasets)}",
                cure=f"give --level 0 to {len(datasets) - 1}",
                path=path,
            )
        axes = images[0].get("axes", [])
        names = [axis["name"] for axis in axes][-3:]
        if names and names != ["z", "y", "x"]:
            raise InputError(f"its last axes are {', '.join(names)}", cure="give axes z, y, x", path=path)
        factors = [_ANGSTROM.get(str(axis.get("unit", "")).lower()) for axis in axes][-3:]
        steps = [1.0, 1.0, 1.0]
        for transforms in (
            datasets[level].get("coordinateTransformations", []),
            images[0].get("coordinateTransformations", []),
        ):
            for transform in transforms:
                if transform["type"] == "scale":
                    steps = [a * float(b) for a, b in zip(steps, transform["scale"][-3:], strict=True)]
        sizes = [step * (factor or math.nan) for step, factor in zip(steps, factors, strict=True)] if factors else []
        same = bool(sizes) and all(math.isclose(size, sizes[0], rel_tol=1e-3) for size in sizes)
        return str(datasets[level]["path"]), sizes[0] if same and sizes[0] > 0 else None
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"its multiscales cannot be understood ({error})", cure="name one array in it", path=path
        ) from None
