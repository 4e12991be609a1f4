"""One particle's box out of a tomogram: cut, filled at the edges, binned, normalised.

Order: a window of ``binning`` times the box and a margin is cut about a whole voxel; what lies outside the tomogram is
filled with the mean of what lies inside; the window is Fourier-cropped; the margin, which holds what the periodic edges
of the crop did, is cut off; contrast is inverted; the background gets mean 0 and standard deviation 1.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.geometry.fourier import resize
from gumnet.geometry.warp import voxel_coordinates
from gumnet.io.tomogram_volume import Tomogram
from gumnet.types import Mask, Vectors, Volume, centre

MARGIN = 4
"""Voxels, after binning, on each side of the box that are cut for the Fourier crop only."""


def inside(where: Vectors, box: int, binning: int, tomogram: Tomogram) -> list[Mask]:
    """Return which voxels of the binned box lie in the tomogram, a mask (N,) for each of x, y, z.

    Parameters
    ----------
    where
        Voxel of the tomogram, (3,) whole (x, y, z), that the centre of the box lies on.
    """
    steps = (torch.arange(box) - centre(box)) * binning
    masks = []
    for axis, size in enumerate(reversed(tomogram.shape)):
        place = steps + int(where[axis])
        masks.append((place >= 0) & (place < size))
    return masks


def share_outside(where: Vectors, box: int, binning: int, tomogram: Tomogram) -> float:
    """Return the share of the box, 0 to 1, that lies outside the tomogram; see `inside`."""
    return 1 - math.prod(int(mask.sum()) for mask in inside(where, box, binning, tomogram)) / box**3


def cut(tomogram: Tomogram, where: Vectors, box: int, binning: int) -> Volume:
    """Return the box (N, N, N) about a voxel ``where`` of the tomogram, binned by Fourier crop, float32.

    What lies outside the tomogram has the mean of what lies inside. The voxel ``where`` is the centre N // 2 of the
    box, whatever the binning.

    Raises
    ------
    InputError
        If the window holds NaN or infinite values.
    """
    wide = (box + 2 * MARGIN) * binning if binning > 1 else box
    start = [int(where[axis]) - centre(wide) for axis in (2, 1, 0)]
    low = [max(0, a) for a in start]
    high = [min(size, a + wide) for a, size in zip(start, tomogram.shape, strict=True)]
    values = torch.from_numpy(tomogram.read(low, high))
    if not bool(values.isfinite().all()):
        raise InputError(
            "the tomogram holds NaN or infinite values there",
            cure="reconstruct it again, or leave such particles out with --skip-bad",
            path=tomogram.path,
        )
    window = torch.full((wide,) * 3, float(values.mean()), dtype=torch.float32)
    window[tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))] = values
    if binning == 1:
        return window
    small = resize(window, box + 2 * MARGIN)
    # The centre of an even box and margin is where it was: N / 2 + MARGIN. So it is for an odd one.
    return small[(slice(MARGIN, MARGIN + box),) * 3].clone()


def background(box: int, radius: float, axis: Vectors | None = None) -> Mask:
    """Return the voxels (N, N, N) outside a sphere of ``radius`` voxels or, along a filament, outside a cylinder.

    Parameters
    ----------
    axis
        Direction of the filament, (3,), of length 1; None for a sphere.
    """
    if axis is None:
        return _outside_sphere(box, radius)
    points = voxel_coordinates(box, dtype=torch.float64)
    return points.square().sum(-1) - (points @ axis).square() > radius**2


@lru_cache(maxsize=1)
def _outside_sphere(box: int, radius: float) -> Mask:
    """Return the voxels outside a sphere: the same for every particle, and more work than to cut one."""
    return voxel_coordinates(box, dtype=torch.float64).square().sum(-1) > radius**2


def normalised(volume: Volume, over: Tensor) -> Volume:
    """Return a volume (N, N, N) with mean 0 and standard deviation 1 over the voxels that ``over`` (N, N, N) marks.

    Raises
    ------
    InputError
        If there are fewer than two of them, or they are all the same.
    """
    values = volume[over].double()
    deviation = float(values.std()) if len(values) > 1 else 0.0
    mean = float(values.mean()) if len(values) else 0.0
    # float32 leaves some 1e-7 of the mean where values should be equal.
    if deviation <= 1e-6 * abs(mean):
        raise InputError(
            "the background is constant or empty, so it cannot be normalised",
            cure="give a smaller --background-diameter or --no-normalise, or leave it out with --skip-bad",
        )
    return ((volume.double() - mean) / deviation).float()
