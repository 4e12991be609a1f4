"""A surface as a still picture, for paper and for browsers without WebGL: parallel rays, each to the first voxel above
the level, shaded by how the surface lies to the light."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from gumnet.report.chimerax import COLOURS
from gumnet.report.plots import INK, WIDTH_INCHES, Figure, finish, style
from gumnet.report.surface import outward
from gumnet.types import centre

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gumnet.types import Rotations, Volume

PIXELS = 180
LIGHT = (0.35, 0.45, 0.82)
"""Direction to the light, in the frame of the viewer: x right, y up, z to the eye. As in ``viewer.js``."""
VIEWS = {
    "z": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "y": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "x": ((0, 1, 0), (0, 0, 1), (1, 0, 0)),
}
"""Right, up and towards the eye, in (x, y, z), by the axis that is looked along: as slices across it lie."""


def shaded(volume: Volume, level: float, view: Rotations, *, pixels: int = PIXELS) -> NDArray[np.float64]:
    """Return a picture (P, P, 4) of the surface of a volume (N, N, N): colours and opacity, from the bottom row up.

    Parameters
    ----------
    view
        (3, 3): right, up and towards the eye, as rows, (x, y, z).
    """
    box = volume.shape[-1]
    view = view.double()
    side = (torch.arange(pixels, dtype=torch.float64) + 0.5) * (box / pixels) - box / 2
    far = float(math.ceil(0.87 * box))  # where corners are
    depth = torch.arange(far, -far, -1.0, dtype=torch.float64)
    up, right = torch.meshgrid(side, side, indexing="ij")
    flat = right[..., None] * view[0] + up[..., None] * view[1]
    values = volume.detach().cpu().double()
    hit = torch.full((pixels, pixels), torch.nan, dtype=torch.float64)
    before = torch.full_like(hit, -torch.inf)
    for step in depth:
        here = _sampled(values, flat + step * view[2])
        new = hit.isnan() & (here > level)
        share = ((level - before) / (here - before).clamp(min=1e-12)).nan_to_num(1.0, 1.0, 1.0).clamp(0, 1)
        hit = torch.where(new, step + 1 - share, hit)
        before = here
    seen = hit.isfinite()
    places = (flat[seen] + hit[seen][:, None] * view[2]).flip(-1) + centre(box)
    normals = torch.from_numpy(outward(values.numpy(), places.numpy())) @ view.T
    light = torch.nn.functional.normalize(torch.tensor(LIGHT, dtype=torch.float64), dim=0)
    bright = 0.35 + 0.65 * (normals @ light).clamp(min=0)
    colour = torch.tensor([int(COLOURS[0][i : i + 2], 16) / 255 for i in (1, 3, 5)], dtype=torch.float64)
    picture = torch.zeros(pixels, pixels, 4, dtype=torch.float64)
    picture[seen] = torch.cat([bright[:, None] * (0.25 + 0.75 * colour) ** 0.8, torch.ones(len(bright), 1)], dim=1)
    return picture.clamp(0, 1).numpy()


def _sampled(values: Volume, points: torch.Tensor) -> torch.Tensor:
    """Return a volume at points (P, P, 3), (x, y, z) in voxels from its centre, trilinear; low outside."""
    box = values.shape[-1]
    low = values.min()
    grid = (points + centre(box)) * (2 / max(box - 1, 1)) - 1
    found = torch.nn.functional.grid_sample(
        (values - low)[None, None], grid[None, None], mode="bilinear", padding_mode="zeros", align_corners=True
    )
    return found[0, 0, 0] + low


def surface_figure(volume: Volume, level: float, *, caption: str, name: str = "surface") -> Figure:
    """Return the surface of a map (N, N, N) seen along its three axes."""
    from matplotlib.figure import Figure as Drawing

    with style():
        drawing = Drawing(figsize=(WIDTH_INCHES, WIDTH_INCHES / 3 + 0.3), layout="constrained")
        for axes, (axis, view) in zip(drawing.subplots(1, 3), VIEWS.items(), strict=True):
            picture = shaded(volume, level, torch.tensor(view, dtype=torch.float64))
            axes.imshow(picture, origin="lower", interpolation="bilinear")
            axes.set_title(f"seen along {axis}", fontsize=8.5, color=INK)
            axes.set_axis_off()
        return finish(drawing, f"Surface of the map at a density of {level:.3g}, seen along z, y and x.", caption, name)
