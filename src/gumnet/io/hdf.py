"""EMAN2's ``.hdf`` files: images or volumes at ``/MDF/images/0``, ``1`` and so on, their headers as attributes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gumnet.errors import InputError
from gumnet.io.atomic import write_whole
from gumnet.io.check import existing_file
from gumnet.io.mrc_header import MrcHeader

if TYPE_CHECKING:
    import h5py

_IMAGES, _IMAGE, _PREFIX = "/MDF/images", "image", "EMAN."
_CURE = "give an .hdf file of EMAN2"
_MOST_PACKED = 1032
"""Deflate makes no more of a byte: an image of more is none, and would only take memory."""


@dataclass(frozen=True)
class HdfHeader(MrcHeader):
    """What an ``.hdf`` file holds, in the form of the header of an MRC file; its volumes lie one after the other."""

    def read_sections(self, start: int, count: int) -> NDArray[np.float32]:
        """Return ``count`` sections from ``start`` on, shape (count, ny, nx), float32."""
        depth = self.depth
        with _images(self.path) as images:
            parts = []
            for number in range(start // depth, (start + count - 1) // depth + 1):
                values = _values(_dataset(images, number, self.path), number, self.path)
                if values.size != depth * self.shape[1] * self.shape[2]:
                    shape = " x ".join(str(n) for n in reversed(values.shape))
                    raise InputError(f"volume {number + 1} is of {shape} voxels, the first of others", path=self.path)
                parts.append(values.reshape(depth, *self.shape[1:]))
        first = start % depth
        return np.concatenate(parts)[first : first + count]


@contextmanager
def _images(path: Path) -> Iterator[h5py.Group]:
    """Yield the group of all images of a file; what HDF5 finds damaged while they are used is an `InputError`."""
    import h5py

    path = existing_file(path, "an .hdf file of EMAN2")
    try:
        file = h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError):
        raise InputError("not an HDF5 file, or it was cut off", cure=_CURE, path=path) from None
    try:
        with file:
            images = file.get(_IMAGES)
            if not isinstance(images, h5py.Group) or len(images) == 0:
                raise InputError(f"there is no {_IMAGES} in it", cure=_CURE, path=path)
            yield images
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"the file is damaged ({error})", cure="copy or make it again", path=path) from None


def _dataset(images: h5py.Group, number: int, path: Path) -> h5py.Dataset:
    import h5py

    dataset = images.get(f"{number}/{_IMAGE}")
    if not isinstance(dataset, h5py.Dataset):
        raise InputError(f"image {number} is missing", cure="copy or make it again", path=path)
    return dataset


def _values(dataset: h5py.Dataset, number: int, path: Path) -> NDArray[np.float32]:
    """Return the voxels of an image, unless it says that it has more than its bytes can hold."""
    if dataset.dtype.kind not in "iuf":
        raise InputError(f"image {number} holds no numbers", cure=_CURE, path=path)
    if dataset.size * dataset.dtype.itemsize > _MOST_PACKED * dataset.id.get_storage_size():
        raise InputError(f"image {number} is empty, or was cut off", cure="copy or make it again", path=path)
    with np.errstate(invalid="ignore", over="ignore"):  # of NaN: what reads it will say where
        return np.asarray(dataset[()], dtype=np.float32)


def read_hdf_header(path: Path) -> MrcHeader:
    """Return what an ``.hdf`` file of EMAN2 holds, in the form of the header of an MRC file.

    Raises
    ------
    InputError
        If it is no such file.
    """
    with _images(path) as images:
        first = _dataset(images, 0, path)
        depth, rows, columns = ((1,) * (3 - first.ndim) + first.shape)[-3:]
        attributes = images["0"].attrs
        x, y, z = (float(np.ravel(attributes.get(f"{_PREFIX}apix_{axis}", 0.0))[0]) for axis in "xyz")
        count = len(images)
    return HdfHeader(
        path, (count * depth, rows, columns), np.dtype(np.float32), 0, depth, 401 if count > 1 else 1, (x, y, z)
    )


def hdf_rows(path: Path) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """Yield for each volume of a file its name, its number from 0, and its header; pose and pixel size of it alone."""
    with _images(path) as images:
        for number in range(len(images)):
            group = images.get(str(number))
            attributes = {} if group is None else dict(group.attrs)
            known: dict[str, Any] = {}
            for key, value in attributes.items():
                name = key.removeprefix(_PREFIX)
                if name == "xform.align3d":
                    # A compound of twelve floats, named 00 to 23, or an array of them.
                    entry = np.ravel(value)
                    known[name] = list(entry[0]) if entry.dtype.names else entry.tolist()
                elif name in ("apix_x", "score"):
                    known[name] = float(np.ravel(value)[0])
            yield path.name, number, known


def write_hdf(
    path: Path, volumes: Iterable[NDArray[np.float32]], voxel_size_angstrom: float | None, *, overwrite: bool = False
) -> None:
    """Write volumes (z, y, x) one after the other; a voxel size that is not known is 1, as EMAN2 has it."""
    import h5py

    size = np.float32(1.0 if voxel_size_angstrom is None else voxel_size_angstrom)
    with write_whole(path, overwrite=overwrite) as temporary, h5py.File(temporary, "w") as file:
        last = -1
        for last, volume in enumerate(volumes):
            group = file.create_group(f"{_IMAGES}/{last}")
            group.create_dataset(_IMAGE, data=volume)
            sizes = zip(("nz", "ny", "nx"), volume.shape, strict=True)
            known = {name: np.int32(n) for name, n in sizes} | {f"apix_{axis}": size for axis in "xyz"}
            for name, value in known.items():
                group.attrs[f"{_PREFIX}{name}"] = value
        file[_IMAGES].attrs["imageid_max"] = np.int32(last)
