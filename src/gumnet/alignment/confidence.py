"""How sure a pose is: the posterior over the peaks of the search, from the likelihood of each (`likelihood`).

Two conditions come with it. The particle is of the reference's structure: another structure, or a false particle, has a
pose that fits it best as well, and only its low score tells. And the true pose is among those that were searched: of a
search near priors the confidence says which pose within the range is right, not whether the range is.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gumnet.alignment.likelihood import sharpness
from gumnet.alignment.refine import normal_equations
from gumnet.alignment.score import Candidates, Comparison
from gumnet.alignment.spectrum import TurnedSpectra
from gumnet.geometry.so3 import angular_distance_degrees
from gumnet.geometry.symmetry import PointGroup
from gumnet.types import Rotations

RIGHT_DEGREES = 15.0
"""A rotation counts as right within this angle: refinement finds the same peak from there."""
_SAME_DEGREES = 10.0
"""Peaks closer than this to a higher one are that one, climbed twice or not to the top."""


def log_likelihoods(
    comparison: Comparison, peaks: Candidates, shells: int, turned: TurnedSpectra | None = None
) -> Tensor:
    """Return the tempered log likelihood (n, k) of poses whose scores are those of the shells up to ``shells``.

    Up to a constant for each particle: differences count. The reference need not be made again where ``turned`` is it,
    for these shells or more.
    """
    # Places that were struck out and never scored have none.
    scores = torch.where(peaks.scores.isfinite(), peaks.scores, -torch.inf)
    return sharpness(comparison, peaks, shells, turned)[:, None] * scores


def posterior(
    peaks: Candidates, log_likelihood: Tensor, rotations: Rotations, symmetry: PointGroup | None = None
) -> tuple[Tensor, Tensor]:
    """Return the posterior mass within `RIGHT_DEGREES` of each particle's rotation, and the spread of the whole.

    All rotations are as likely before the data, and each peak stands for as much of them as any other.

    Parameters
    ----------
    peaks
        Distinct peaks of the search, (n, k).
    log_likelihood
        Of each of them, (n, k).
    rotations
        The rotation that is judged, (n, 3, 3).
    symmetry
        Point group of the reference.

    Returns
    -------
    tuple
        Mass (n,), from 0 to 1, and root mean square angle between the peaks and the rotation, (n,), in degrees.
    """

    def angles(first: Rotations, second: Rotations) -> Tensor:
        if symmetry is None:
            return angular_distance_degrees(first, second)
        return symmetry.distance_degrees(first, second).to(log_likelihood)

    between = angles(peaks.rotations[:, :, None], peaks.rotations[:, None])
    higher = log_likelihood[:, None, :] > log_likelihood[:, :, None]
    order = torch.arange(log_likelihood.shape[1], device=log_likelihood.device)
    higher = higher | ((log_likelihood[:, None, :] == log_likelihood[:, :, None]) & (order < order[:, None]))
    repeated = ((between < _SAME_DEGREES) & higher).any(dim=2)
    mass = torch.softmax(log_likelihood.masked_fill(repeated, -torch.inf), dim=1)
    away = angles(peaks.rotations, rotations[:, None])
    near = (mass * (away <= RIGHT_DEGREES)).sum(dim=1).clamp(max=1.0)  # sums of rounded numbers may be above
    return near, (mass * away**2).sum(dim=1).sqrt()


def local_spread_degrees(comparison: Comparison, best: Candidates, shells: int, turned: TurnedSpectra) -> Tensor:
    """Return the angular spread (n,) of the posterior on the peak of the best candidates (n, 1), in degrees.

    Root mean square angle of the normal distribution that has the likelihood's curvature at the pose (Laplace), the
    shift marginalised.
    """
    scale, normal = normal_equations(comparison, best, shells, turned)
    # The log likelihood is twice the numerator, and the numerator falls by half the scale times the normal matrix.
    # Not tempered: that is for the choice among many peaks, and on one of them it would widen the spread too much.
    precision = (2 * scale.clamp_min(1e-12)[..., None, None] * normal).double()
    diagonal = torch.diagonal(precision, dim1=-2, dim2=-1)
    precision = precision + torch.diag_embed(1e-9 * diagonal + 1e-12)
    variance = torch.diagonal(torch.linalg.inv(precision), dim1=-2, dim2=-1)[..., 0, :3].sum(dim=-1)
    return torch.rad2deg(variance.clamp_min(0).sqrt()).clamp(max=math.degrees(math.pi)).to(best.scores)
