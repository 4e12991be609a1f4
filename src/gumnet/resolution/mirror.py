"""Whether two maps of one frame are mirror images: a hand that is wrong turns up so, and in no half map."""

from __future__ import annotations

from dataclasses import dataclass

from gumnet.averaging.fsc import fsc
from gumnet.resolution.claim import claimed_resolution_angstrom
from gumnet.types import Volume, Volumes

_BETTER = 0.75
"""The mirror image agrees to this part of the resolution, in Angstrom, or finer."""


@dataclass(frozen=True)
class Mirrored:
    """The axis (0 z, 1 y, 2 x) along which the second map is turned round, and to what resolution it then agrees."""

    axis: int
    resolution_angstrom: float

    def words(self) -> str:
        """Return what it means."""
        return (
            f"Turned round along {'zyx'[self.axis]}, the second map agrees to {self.resolution_angstrom:.1f} Angstrom: "
            "the maps have opposite hands."
        )


def mirrored(volume: Volume, axis: int) -> Volume:
    """Return a map (N, N, N) turned round along an axis; the voxel N // 2 stays where it is."""
    turned = volume.flip(axis)
    return turned if volume.shape[axis] % 2 else turned.roll(1, axis)


def find_mirrored(maps: Volumes, *, voxel_size_angstrom: float, threshold: float) -> Mirrored | None:
    """Return how two maps (2, N, N, N) are mirror images, if they agree far better so than as they are."""

    def reached(second: Volume) -> float:
        return claimed_resolution_angstrom(fsc(maps[0], second), voxel_size_angstrom, maps.shape[-1], threshold)

    as_is = reached(maps[1])
    best, axis = min((reached(mirrored(maps[1], axis)), axis) for axis in range(3))
    return Mirrored(axis, best) if best < _BETTER * as_is else None
