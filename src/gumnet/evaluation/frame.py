"""The frame that stands between a set's poses and the true ones: robust means over rotations and vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from gumnet.geometry.so3 import mean_rotation
from gumnet.geometry.symmetry import PointGroup
from gumnet.particles import Poses
from gumnet.types import Rotations, Vectors

_ITERATIONS = 50
_CANDIDATES = 500
_JUDGES = 2000


def best_frame(estimated: Poses, truth: Poses, symmetry: PointGroup | None = None) -> Poses:
    """Return the frame (G, g), one pose, with ``x_estimated_reference = G x_true_reference + g`` for most particles.

    ``R_true S = R_est G`` and ``t_true = R_est g + t_est``, each particle with its own member S of the group. Least
    sums of distances, first of the rotations and then of the shifts, which up to half of the particles can be wrong
    without moving. Of the equivalents G S the one nearest to the identity is returned.

    Parameters
    ----------
    estimated, truth
        Poses of n particles in float64 on the CPU.
    symmetry
        Of the true structure, about the centre of its reference; none unless given.
    """
    turns = estimated.rotations.mT @ truth.rotations
    if symmetry is None or symmetry.order == 1:
        turn = _median_rotation(turns)
    else:
        turn = _median_rotation_under(turns, symmetry)
    # A member S of the group turns about the centre of the true reference, so g is the same for each of them.
    offsets = (estimated.rotations.mT @ (truth.shifts - estimated.shifts)[..., None])[..., 0]
    return Poses.of(turn[None], _median_vector(offsets)[None])


def _median_rotation(rotations: Rotations) -> Rotations:
    """Return the rotation (3, 3) with the least sum of chordal distances to (n, 3, 3).

    Weiszfeld's iteration. The sum has several minima on SO(3), so it starts at the best of the rotations themselves.
    """
    step = max(1, len(rotations) // _CANDIDATES)
    candidates = rotations[::step].flatten(1)
    mean = rotations[torch.cdist(candidates, rotations.flatten(1)).sum(dim=1).argmin() * step]
    for _ in range(_ITERATIONS):
        distance = torch.linalg.matrix_norm(rotations - mean).clamp(min=1e-9)
        mean = mean_rotation(rotations, 1 / distance)
    return mean


def _median_rotation_under(rotations: Rotations, group: PointGroup) -> Rotations:
    """Return the rotation (3, 3) with the least sum of chordal distances to the nearest equivalents of (n, 3, 3).

    As `_median_rotation`; each step first takes the equivalent of every rotation that is nearest to the mean.
    """
    judges = rotations[:: max(1, len(rotations) // _JUDGES)]

    def cost(candidate: Rotations) -> Tensor:
        distances: Tensor = torch.linalg.matrix_norm(group.nearest(judges, candidate) - candidate)
        return distances.sum()

    candidates = rotations[:: max(1, len(rotations) // _CANDIDATES)]
    mean = candidates[torch.stack([cost(candidate) for candidate in candidates]).argmin()]
    for _ in range(_ITERATIONS):
        nearest = group.nearest(rotations, mean)
        distance = torch.linalg.matrix_norm(nearest - mean).clamp(min=1e-9)
        mean = mean_rotation(nearest, 1 / distance)
    return group.nearest(mean, torch.eye(3, dtype=mean.dtype))


def _median_vector(vectors: Vectors) -> Vectors:
    """Return the point (3,) with the least sum of distances to (n, 3), by Weiszfeld's iteration."""
    median = vectors.median(dim=0).values
    for _ in range(_ITERATIONS):
        weights = 1 / (vectors - median).norm(dim=-1).clamp(min=1e-9)
        median = (weights[:, None] * vectors).sum(dim=0) / weights.sum()
    return median
