"""Two maps that belong together and their mask, as ``gumnet fsc``, ``sharpen`` and ``symmetry`` read them."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gumnet.cli.options import read_mask
from gumnet.errors import InputError

if TYPE_CHECKING:
    from gumnet.types import Volume, Volumes

AUTO: Final = "auto"
"""In place of a mask's name: find one from the maps."""


@dataclass(frozen=True)
class MapPair:
    """Two maps (2, N, N, N), their voxel size, and their mask (N, N, N), if any, with words on how it was found."""

    maps: Volumes
    voxel_size_angstrom: float
    mask: Volume | None
    mask_words: str | None

    @property
    def box(self) -> int:
        """Side of the maps in voxels."""
        return self.maps.shape[-1]


def two_maps(first: Path, second: Path | None, names: tuple[str, str]) -> tuple[Path, Path]:
    """Return the files of two maps: both as given, or the half maps in a folder that gumnet average wrote.

    ``names`` are what the command calls them.
    """
    if first.is_dir():
        from gumnet.report.average_files import HALF_MAPS

        if second is not None:
            raise InputError("a folder brings both half maps", cure=f"leave out {names[1]}", path=first)
        return first / HALF_MAPS[0], first / HALF_MAPS[1]
    if second is None:
        raise InputError(
            f"{names[1]} is missing", cure=f"give two maps, or a folder that gumnet average wrote as {names[0]}"
        )
    return first, second


def read_pair(map1: Path, map2: Path, *, mask: str | None, voxel_size: float | None) -> MapPair:
    """Read two maps of one box and voxel size, and the mask called ``mask``: a file, `AUTO`, or None."""
    import torch

    from gumnet.io.mrc import read_map

    first, size = read_map(map1, voxel_size_angstrom=voxel_size)
    second, second_size = read_map(map2, voxel_size_angstrom=voxel_size, need_voxel_size=False)
    if second.shape != first.shape:
        raise InputError(
            f"its box is {second.shape[-1]}, that of {map1} is {first.shape[-1]}",
            cure="give two maps of one box",
            path=map2,
        )
    if math.isnan(second_size):
        sys.stderr.write(f"{map2}: its header has no voxel size; that of {map1} is taken, {size:g} Angstrom\n")
    elif abs(size - second_size) > 1e-3 * size:
        raise InputError(
            f"its voxel size is {second_size:g} Angstrom, that of {map1} is {size:g}",
            cure="give maps of one voxel size, or say which is right with --voxel-size",
            path=map2,
        )
    maps = torch.stack([first, second])
    return MapPair(maps, size, *mask_of(maps, size, mask))


def mask_of(maps: Volumes, voxel_size_angstrom: float, mask: str | None) -> tuple[Volume | None, str | None]:
    """Return the mask (N, N, N) called ``mask`` for maps (n, N, N, N), and words on it if it was found from them.

    A file, `AUTO`, or None.
    """
    if mask == AUTO:
        from gumnet.resolution.auto_mask import automatic_mask

        found = automatic_mask(maps.mean(dim=0))
        return found.mask, found.words(voxel_size_angstrom)
    if mask is None:
        return None, None
    volume = read_mask(Path(mask))
    if volume.shape[-1] != maps.shape[-1]:
        raise InputError(
            f"its box is {volume.shape[-1]}, that of the maps is {maps.shape[-1]}",
            cure="give a mask of the box of the maps",
            path=mask,
        )
    return volume, None
