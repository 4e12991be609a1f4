"""Two maps that belong together and their mask, as ``gumnet fsc`` and ``gumnet sharpen`` read them."""

from __future__ import annotations

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


def read_pair(map1: Path, map2: Path, *, mask: str | None, voxel_size: float | None) -> MapPair:
    """Read two maps of one box and voxel size, and the mask called ``mask``: a file, `AUTO`, or None."""
    import torch

    from gumnet.io.mrc import read_map

    first, size = read_map(map1, voxel_size_angstrom=voxel_size)
    second, second_size = read_map(map2, voxel_size_angstrom=voxel_size)
    if second.shape != first.shape:
        raise InputError(
            f"its box is {second.shape[-1]}, that of {map1} is {first.shape[-1]}",
            cure="give two maps of one box",
            path=map2,
        )
    if abs(size - second_size) > 1e-3 * size:
        raise InputError(
            f"its voxel size is {second_size:g} Angstrom, that of {map1} is {size:g}",
            cure="give maps of one voxel size, or say which is right with --voxel-size",
            path=map2,
        )
    maps = torch.stack([first, second])
    if mask == AUTO:
        from gumnet.resolution.auto_mask import automatic_mask

        found = automatic_mask(maps.mean(dim=0))
        return MapPair(maps, size, found.mask, found.words(size))
    return MapPair(maps, size, None if mask is None else _mask_of_box(Path(mask), maps.shape[-1]), None)


def _mask_of_box(path: Path, box: int) -> Volume:
    mask = read_mask(path)
    if mask.shape[-1] != box:
        raise InputError(
            f"its box is {mask.shape[-1]}, that of the maps is {box}",
            cure="give a mask of the box of the maps",
            path=path,
        )
    return mask
