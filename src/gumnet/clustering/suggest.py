"""How many classes: the number with the highest mean silhouette, if chance would not have it.

Distances of noisy pairs are all near 1, so silhouettes are small even where classes are clear, and published levels for
them say nothing here. They are compared with those of shuffled distances: ``d_ij = m + r_i + r_j + e_ij``, with the
particles' own r kept, since a noisy particle is far from all others without being a class, and the e shuffled among the
pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from gumnet.clustering.hierarchy import Distances, classes_of, silhouettes, square_of, tree_of

MOST_CLASSES = 10
"""Most classes that are suggested."""
SHUFFLES = 39
_SURE = 0.05
_CLOSE = 0.85
"""A number of classes whose silhouette is this share of the best's, or more, is nearly as good."""


@dataclass(frozen=True)
class Suggestion:
    """A number of classes, and what speaks for it.

    Parameters
    ----------
    k
        The number suggested; 1 where no grouping stands out from chance.
    numbers, silhouettes
        The numbers that were tried, from 2, and the mean silhouette of each.
    chance
        Mean, over shuffled distances, of their highest silhouette.
    p
        Share of shuffled distances with as high a silhouette, the real ones counted in.
    """

    k: int
    numbers: tuple[int, ...]
    silhouettes: tuple[float, ...]
    chance: float
    p: float

    @property
    def words(self) -> str:
        """What is suggested, why, and how sure that is."""
        if not self.numbers:
            return "Two particles: one class, since nothing can be told from one distance."
        order = sorted(range(len(self.numbers)), key=lambda i: -self.silhouettes[i])
        best = order[0]
        found = (
            f"{self.numbers[best]} classes have the highest mean silhouette, {self.silhouettes[best]:.3f}; shuffled "
            f"distances reach {self.chance:.3f} on average (p = {self.p:.3f})"
        )
        if self.k == 1:
            return f"No grouping stands out from chance, so one class is suggested: {found}."
        if len(order) > 1 and self.silhouettes[order[1]] >= _CLOSE * self.silhouettes[best]:
            return (
                f"There are groups, their number is not certain: {found}. {self.numbers[order[1]]} classes are nearly "
                f"as good, {self.silhouettes[order[1]]:.3f}."
            )
        return f"Clear: {found}."


def suggest(distances: Distances, linkage: str, *, generator: torch.Generator) -> Suggestion:
    """Return how many classes condensed distances (n (n - 1) / 2,) suggest.

    Parameters
    ----------
    linkage
        One of `gumnet.clustering.hierarchy.LINKAGES`.
    generator
        Shuffles the distances.
    """
    means = _mean_silhouettes(distances, linkage)
    if not means:
        return Suggestion(1, (), (), 0.0, 1.0)
    best = max(means.values())
    highest = []
    expected, rest = _effects(distances)
    for _ in range(SHUFFLES):
        order = torch.randperm(len(rest), generator=generator).numpy()
        shuffled = np.maximum(expected + rest[order], 0).astype(np.float32)
        highest.append(max(_mean_silhouettes(shuffled, linkage).values()))
    p = (1 + sum(value >= best for value in highest)) / (1 + SHUFFLES)
    # Of equally good numbers the smallest.
    k = next(number for number, value in means.items() if value == best) if p <= _SURE else 1
    return Suggestion(k, tuple(means), tuple(means.values()), float(np.mean(highest)), p)


def _mean_silhouettes(distances: Distances, linkage: str) -> dict[int, float]:
    """Return the mean silhouette of each number of classes from 2 on; none for two particles."""
    tree, square = tree_of(distances, linkage), square_of(distances)
    return {
        k: float(silhouettes(square, classes_of(tree, k)).mean()) for k in range(2, min(MOST_CLASSES, len(tree)) + 1)
    }


def _effects(distances: Distances) -> tuple[Distances, Distances]:
    """Return what the particles' own effects make of each distance, and what is left; least squares, condensed."""
    square = square_of(distances)
    n = len(square)
    mean = float(distances.mean())
    own = (square.sum(axis=1) / (n - 1) - mean) * (n - 1) / (n - 2)
    first, second = np.triu_indices(n, 1)
    expected = (mean + own[first] + own[second]).astype(np.float32)
    return expected, distances - expected
