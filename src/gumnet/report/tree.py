"""Drawings of a tree of particles, and of the distances that it was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gumnet.clustering.hierarchy import square_of
from gumnet.report.plots import INK, SERIES, Figure, finish, new_drawing, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from gumnet.clustering.hierarchy import Array, Distances
    from gumnet.types import Labels

_MOST_LINES = 1000
"""A tree with more branches than this is drawn as pixels: as lines it would make the page slow."""


def leaf_order(tree: Array) -> Array:
    """Return the order of the n particles in which no two branches of a tree (n - 1, 4) cross."""
    from scipy.cluster.hierarchy import leaves_list

    return np.asarray(leaves_list(tree), dtype=np.int64)


def branches(tree: Array, classes: Labels) -> tuple[Array, list[int]]:
    """Return the brackets of a tree, (n - 1, 4, 2): points (place, distance); and the class each lies in, 0 for none.

    Places are those of `leaf_order`, from 0; an inner node stands midway between its two parts.
    """
    n = len(tree) + 1
    place, height = np.zeros(2 * n - 1), np.zeros(2 * n - 1)
    place[leaf_order(tree)] = np.arange(n)
    within = [*classes.tolist(), *([0] * (n - 1))]
    corners = np.empty((n - 1, 4, 2))
    for step, (a, b) in enumerate(tree[:, :2].astype(np.int64).tolist()):
        node = n + step
        height[node] = tree[step, 2]
        place[node] = (place[a] + place[b]) / 2
        within[node] = within[a] if within[a] == within[b] else 0
        corners[step] = [
            (place[a], height[a]),
            (place[a], height[node]),
            (place[b], height[node]),
            (place[b], height[b]),
        ]
    return corners, within[n:]


def draw_dendrogram(tree: Array, classes: Labels, *, ink: str = INK) -> Drawing:
    """Return a drawing of a tree, each class in a colour; call it inside `gumnet.report.plots.style`."""
    from matplotlib.collections import LineCollection

    corners, within = branches(tree, classes)
    drawing, axes = new_drawing(3.2)
    colours = [ink if number == 0 else SERIES[(number - 1) % len(SERIES)] for number in within]
    many = len(corners) > _MOST_LINES
    axes.add_collection(LineCollection(list(corners), colors=colours, linewidths=0.5 if many else 1.0, rasterized=many))
    lowest, highest = float(corners[:, 1:3, 1].min()), float(corners[:, 1:3, 1].max())
    # Noisy pairs are all far apart: from 0 on, nothing could be told apart.
    axes.set_ylim(max(0.0, lowest - 0.15 * (highest - lowest + 1e-6)), highest + 0.05 * (highest - lowest + 1e-6))
    axes.set(xlim=(-1, len(tree) + 1), xticks=[], xlabel=f"{len(tree) + 1} particles", ylabel="distance")
    return drawing


def dendrogram_figure(tree: Array, classes: Labels, *, linkage: str) -> Figure:
    """Return the tree, each class in a colour."""
    with style():
        drawing = draw_dendrogram(tree, classes)
        sizes = classes.bincount()[1:].tolist()
        words = ", ".join(f"class {number} of {size}" for number, size in enumerate(sizes, start=1))
        caption = f"Tree of the particles, {linkage} linkage; colours are classes. The axis need not start at 0."
        return finish(drawing, f"Tree of {sum(sizes)} particles: {words}.", caption)


def matrix_figure(distances: Distances, tree: Array) -> Figure:
    """Return the distances of all pairs as an image, the particles in the order of the tree."""
    order = leaf_order(tree)
    square = square_of(distances)[np.ix_(order, order)]
    low, high = np.quantile(distances, (0.01, 0.99)).tolist()
    with style():
        drawing, axes = new_drawing(3.6)
        image = axes.imshow(square, cmap="viridis", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        drawing.colorbar(image, ax=axes, label="distance, 1 - score", shrink=0.8)
        return finish(
            drawing,
            f"Matrix of distances of {len(order)} particles, from {low:.3f} to {high:.3f}.",
            "Distances of all pairs, particles in the order of the tree. Classes are dark squares on the diagonal.",
        )
