"""Central slices of maps, one row a map, with a scale bar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from gumnet.report.plots import INK, WIDTH_INCHES, Figure, finish, style
from gumnet.types import centre

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing


def central_slices(volume: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the slices (N, N) of a volume (N, N, N), [z, y, x], through its centre, across z, y and x.

    The first axis of a slice is z where it has one, else y.
    """
    middle = centre(volume.shape[-1])
    return volume[middle], volume[:, middle], volume[:, :, middle]


def grey_range(volume: Tensor) -> tuple[float, float]:
    """Return the values that are drawn black and white: 0.5 % of voxels lie below and 0.5 % above.

    The same for all slices of a map, and robust to single hot voxels.
    """
    import numpy as np

    # Not torch.quantile, which refuses more than 2^24 voxels: a box of 256.
    low, high = np.quantile(volume.detach().cpu().numpy(), (0.005, 0.995)).tolist()
    return (low, high) if high > low else (low, low + 1.0)


def draw_slices(volumes: Mapping[str, Tensor], voxel_size_angstrom: float) -> Drawing:
    """Return a drawing of the three central slices of each map; call it inside `gumnet.report.plots.style`."""
    from matplotlib.figure import Figure as Drawing
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    rows = len(volumes)
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    drawing = Drawing(figsize=(WIDTH_INCHES, 0.35 + rows * (WIDTH_INCHES - 0.35) / 3), layout=layout)
    grid = drawing.subplots(rows, 3, squeeze=False)
    for row, (name, volume) in enumerate(volumes.items()):
        grey = grey_range(volume)
        for column, plane in enumerate(central_slices(volume.detach().cpu())):
            axes: Axes = grid[row, column]
            _show(axes, plane, grey)
            if row == 0:
                axes.set_title(f"slice across {'zyx'[column]}", fontsize=8.5, color=INK)
        grid[row, 0].set_ylabel(name, fontsize=9, color=INK)
    _scale_bar(grid[rows - 1, 0], next(iter(volumes.values())).shape[-1], voxel_size_angstrom)
    return drawing


def draw_strip(volumes: Mapping[str, Tensor], voxel_size_angstrom: float, *, across: int, ink: str = INK) -> Drawing:
    """Return a drawing of one central slice of each map, side by side, their names above.

    Parameters
    ----------
    across
        The axis that the slices are across: 0 for z, 1 for y, 2 for x.
    """
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(2.2 * len(volumes), 2.45), layout="constrained")
    for axes, (name, volume) in zip(drawing.subplots(1, len(volumes), squeeze=False)[0], volumes.items(), strict=True):
        _show(axes, central_slices(volume.detach().cpu())[across], grey_range(volume))
        axes.set_title(name, fontsize=9.5, color=ink)
    _scale_bar(drawing.axes[0], next(iter(volumes.values())).shape[-1], voxel_size_angstrom)
    return drawing


def _show(axes: Axes, plane: Tensor, grey: tuple[float, float]) -> None:
    """Draw a slice without ticks and frame, its first index upwards."""
    axes.imshow(plane.numpy(), cmap="gray", vmin=grey[0], vmax=grey[1], origin="lower", interpolation="bicubic")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _scale_bar(axes: Axes, box: int, voxel_size_angstrom: float) -> None:
    """Draw a bar of a round length of about a quarter of the box."""
    wanted = box * voxel_size_angstrom / 4
    length = max((size for size in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if size <= wanted), default=wanted)
    start, height = box * 0.06, box * 0.07
    axes.plot([start, start + length / voxel_size_angstrom], [height, height], color="white", linewidth=2.5)
    axes.annotate(f"{length:g} Å", (start, height + box * 0.03), color="white", fontsize=8, va="bottom")


def slices_figure(volumes: Mapping[str, Tensor], voxel_size_angstrom: float, *, caption: str, name: str = "") -> Figure:
    """Return the three central slices of each map, by name, volumes (N, N, N) of one box."""
    with style():
        drawing = draw_slices(volumes, voxel_size_angstrom)
        return finish(drawing, f"Central slices across z, y and x of: {', '.join(volumes)}.", caption, name)
