"""Surfaces of maps as triangles: naive surface nets.

Each cell of eight voxels that the surface passes gets one point, the mean of where its edges are crossed; each edge
that is crossed joins the points of its four cells. Source: Gibson, MICCAI 1998 (LNCS 1496), 888. It needs no tables,
and the surface is closed, since the box is taken to be empty outside.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gumnet.geometry.fourier import resize
from gumnet.types import centre

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gumnet.types import Volume

Floats = NDArray[np.float64]
BOXES = (64, 48, 32, 24)
"""Sides to which larger maps are resampled before a surface is made of them; smaller ones where a page would grow."""
_SMALL = 1 << 16


@dataclass(frozen=True)
class Mesh:
    """A surface.

    Parameters
    ----------
    points
        (n, 3), (x, y, z), in units of half the box, from its centre voxel.
    normals
        Unit vectors (n, 3), out of the density.
    triangles
        (m, 3), rows of ``points``, counter-clockwise seen from outside.
    """

    points: Floats
    normals: Floats
    triangles: NDArray[np.int64]

    def packed(self) -> str:
        """Return the mesh as base64: what ``viewer.js`` reads.

        Little-endian: numbers of points and triangles (2 uint32), points (n, 3) int16 in units of 1 / 16384, 0 to 2
        bytes of padding to a multiple of 4, normals (n, 4) int8 in units of 1 / 127, and triangles (m, 3), uint16 where
        there are less than 65,536 points, else uint32.
        """
        n = len(self.points)
        head = np.array([n, len(self.triangles)], dtype="<u4").tobytes()
        points = np.rint(self.points * 16384).clip(-32767, 32767).astype("<i2").tobytes()
        normals = np.zeros((n, 4), dtype=np.int8)
        normals[:, :3] = np.rint(self.normals * 127)
        index = self.triangles.astype("<u2" if n < _SMALL else "<u4").tobytes()
        return base64.b64encode(head + points + bytes(-len(points) % 4) + normals.tobytes() + index).decode("ascii")


def surface(volume: Volume, level: float) -> Mesh:
    """Return the surface at which a volume (N, N, N), [z, y, x], goes through ``level``; empty if it never does."""
    box = volume.shape[-1]
    values: Floats = volume.detach().cpu().double().numpy()
    # A layer outside, as far below the level as the lowest voxel, closes what reaches the face of the box.
    padded = np.pad(values, 1, constant_values=min(float(values.min()), level - 1e-9 * (1 + abs(level))))
    inside = padded > level
    cells = tuple(side - 1 for side in padded.shape)
    total, count = np.zeros((*cells, 3)), np.zeros(cells)
    for axis in range(3):
        _add_crossings(padded, inside, level, axis, total, count)
    active = count > 0
    number = np.full(cells, -1, dtype=np.int64)
    number[active] = np.arange(int(active.sum()))
    places = total[active] / count[active][:, None] - 1  # without the layer
    quads = np.concatenate([_quads(inside, number, axis) for axis in range(3)])
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    points = (places[:, ::-1] - centre(box)) * (2 / box)
    return Mesh(points, outward(values, places), triangles)


def _add_crossings(
    values: Floats, inside: NDArray[np.bool_], level: float, axis: int, total: Floats, count: Floats
) -> None:
    """Add where edges along an axis are crossed to the sums of their four cells."""
    low, high = _along(axis, slice(0, -1)), _along(axis, slice(1, None))
    at = np.argwhere(inside[low] != inside[high])
    before, after = values[low][tuple(at.T)], values[high][tuple(at.T)]
    place = at.astype(np.float64)
    place[:, axis] += (level - before) / (after - before)
    first, second = (other for other in range(3) if other != axis)
    for back in ((0, 0), (0, 1), (1, 0), (1, 1)):
        cell = at.copy()
        cell[:, first] -= back[0]
        cell[:, second] -= back[1]
        # Within one of the four turns no cell comes twice, so plain indexing adds right.
        total[tuple(cell.T)] += place
        count[tuple(cell.T)] += 1


def _quads(inside: NDArray[np.bool_], number: NDArray[np.int64], axis: int) -> NDArray[np.int64]:
    """Return the four cells about each crossed edge along an axis, (q, 4), counter-clockwise from outside."""
    low, high = _along(axis, slice(0, -1)), _along(axis, slice(1, None))
    at = np.argwhere(inside[low] != inside[high])
    first, second = np.eye(3, dtype=np.int64)[(axis + 1) % 3], np.eye(3, dtype=np.int64)[(axis + 2) % 3]
    around = (at, at - first, at - first - second, at - second)
    ring = np.stack([number[tuple(cell.T)] for cell in around], axis=1)
    # In the order z, y, x a ring is turned the other way round than in x, y, z.
    ring[inside[low][tuple(at.T)]] = ring[inside[low][tuple(at.T)]][:, ::-1]
    return ring


def _along(axis: int, part: slice) -> tuple[Any, ...]:
    return tuple(part if i == axis else slice(None) for i in range(3))


def outward(values: Floats, places: Floats) -> Floats:
    """Return the unit vectors (n, 3), (x, y, z), in which a volume falls at places (n, 3), [z, y, x] in voxels."""
    from scipy.ndimage import map_coordinates

    fall = np.stack(
        [-map_coordinates(part, places.T, order=1, mode="nearest") for part in np.gradient(values)[::-1]], 1
    )
    length: Floats = np.linalg.norm(fall, axis=1, keepdims=True)
    return fall / np.where(length > 0, length, 1.0)


def packed_surfaces(volumes: Mapping[str, tuple[Volume, float]], most_bytes: int) -> dict[str, str]:
    """Return the packed surfaces of maps at their levels, by name, together no larger than ``most_bytes``.

    Maps are resampled to 64 voxels, and to less where that is too much.
    """
    made: dict[str, str] = {}
    for largest in BOXES:
        made = {}
        for name, (volume, level) in volumes.items():
            small = resize(volume.detach().cpu().double(), min(largest, volume.shape[-1]))
            made[name] = surface(small, level).packed()
        if sum(map(len, made.values())) <= most_bytes:
            break
    return made
