"""A tree of particles from the distances of all pairs, and classes cut from it.

Condensed distances hold one number for each pair i < j, in the order (0, 1), (0, 2), ..., (n - 2, n - 1).
"""

from __future__ import annotations

from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import torch

from gumnet.types import Labels

Array = npt.NDArray[np.float64]
Distances = npt.NDArray[np.float32]
Linkage = Literal["complete", "average", "ward", "single"]

LINKAGES: tuple[str, ...] = ("complete", "average", "ward", "single")


def tree_of(distances: Distances, linkage: str) -> Array:
    """Return the tree of n particles as scipy has it, (n - 1, 4): the two merged, their distance, how many they hold.

    Ward's criterion is defined for Euclidean distances. That of two vectors of length 1 with correlation r is
    ``sqrt(2 (1 - r))``, so it is given ``sqrt(2 d)`` of the distances ``d = 1 - r``; the others take d as it is.

    Parameters
    ----------
    distances
        Condensed, (n (n - 1) / 2,), 0 or more.
    linkage
        One of `LINKAGES`.
    """
    from scipy.cluster.hierarchy import linkage as scipy_linkage

    values = distances.astype(np.float64)
    return np.asarray(scipy_linkage(np.sqrt(2 * values) if linkage == "ward" else values, cast(Linkage, linkage)))


def classes_of(tree: Array, k: int) -> Labels:
    """Return the class of each of n particles, from 1, when the tree is cut into exactly k.

    The largest class is 1; of equally large ones the one whose first particle comes first.
    """
    n = len(tree) + 1
    root = np.arange(2 * n - 1)
    for node in range(2 * n - k - 1, n - 1, -1):
        # From the top down, so that what a node belongs to is known before its two parts are told.
        root[tree[node - n, :2].astype(np.int64)] = root[node]
    _, first, member, size = np.unique(root[:n], return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(k, dtype=np.int64)
    rank[np.lexsort((first, -size))] = np.arange(1, k + 1)
    return torch.from_numpy(rank[member])


def square_of(distances: Distances) -> npt.NDArray[np.float32]:
    """Return condensed distances as a symmetric matrix (n, n) with zeros on its diagonal."""
    from scipy.spatial.distance import squareform

    return np.asarray(squareform(distances), dtype=np.float32)


def medoids(square: npt.NDArray[np.float32], classes: Labels) -> tuple[int, ...]:
    """Return for each class, in order, the particle with the least mean distance to the others of its class."""
    found = []
    for number in range(1, int(classes.max()) + 1):
        members = np.flatnonzero(classes.numpy() == number)
        found.append(int(members[square[np.ix_(members, members)].sum(axis=1).argmin()]))
    return tuple(found)


def silhouettes(square: npt.NDArray[np.float32], classes: Labels) -> Array:
    """Return how well each of n particles lies in its class, (n,), from -1 to 1 (Rousseeuw, 1987).

    ``(b - a) / max(a, b)``, with a the mean distance to the others of its class and b that to the nearest other class;
    0 for a particle alone in its class, and for all where there is one class.
    """
    own = classes.numpy() - 1
    k = int(own.max()) + 1
    n = len(own)
    if k == 1:
        return np.zeros(n)
    member = np.zeros((n, k), dtype=np.float32)
    member[np.arange(n), own] = 1
    sums = (square @ member).astype(np.float64)
    counts = member.sum(axis=0)
    within = sums[np.arange(n), own] / np.maximum(counts[own] - 1, 1)
    others = sums / counts
    others[np.arange(n), own] = np.inf
    nearest = others.min(axis=1)
    largest = np.maximum(np.maximum(within, nearest), np.finfo(np.float64).tiny)
    return np.asarray(np.where(counts[own] > 1, (nearest - within) / largest, 0.0))
