"""Errors of estimated poses against true ones.

The paper reports the Frobenius norm of the difference of two rotation matrices: 0 to 2 sqrt(2), 0.62 is about 25
degrees, and uniformly random rotations average 2.40. It rounds both shifts to whole voxels before it takes their
distance. Both are here to compare with its tables, beside degrees and unrounded shifts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.geometry.so3 import angular_distance_degrees, mean_rotation
from gumnet.particles import Poses
from gumnet.types import Rotations, Vectors

FAILURE_FROBENIUS = 1.0
"""A rotation error (Frobenius) above this, 41 degrees, counts as a failed alignment."""

_ITERATIONS = 50
_CANDIDATES = 500


def rotation_error_frobenius(estimated: Rotations, truth: Rotations) -> Tensor:
    """Return the Frobenius norm (...) of the difference of rotations (..., 3, 3), as in the paper, in float64."""
    error: Tensor = torch.linalg.matrix_norm(estimated.double() - truth.double())
    return error


def rotation_error_degrees(estimated: Rotations, truth: Rotations) -> Tensor:
    """Return the angle (...) between rotations (..., 3, 3), in degrees, in float64."""
    return angular_distance_degrees(estimated.double(), truth.double())


def shift_error(estimated: Vectors, truth: Vectors) -> Tensor:
    """Return the distance (...) between shifts (..., 3), in voxels, in float64."""
    error: Tensor = torch.linalg.vector_norm(estimated.double() - truth.double(), dim=-1)
    return error


def shift_error_rounded(estimated: Vectors, truth: Vectors) -> Tensor:
    """Return the distance (...) between shifts (..., 3) after rounding both to whole voxels, as in the paper."""
    error: Tensor = torch.linalg.vector_norm(estimated.double().round() - truth.double().round(), dim=-1)
    return error


@dataclass(frozen=True)
class PairErrors:
    """Errors of n poses, all of shape (n,) in float64.

    Parameters
    ----------
    frobenius
        Rotation error as in the paper, 0 to 2.83.
    degrees
        Rotation error as an angle, in degrees.
    shifts
        Distance of the shifts, in voxels.
    shifts_rounded
        The same after rounding both to whole voxels, as in the paper.
    """

    frobenius: Tensor
    degrees: Tensor
    shifts: Tensor
    shifts_rounded: Tensor

    def __len__(self) -> int:
        return len(self.frobenius)

    @property
    def failure_rate(self) -> float:
        """Share of the poses whose rotation error (Frobenius) is above 1, about 41 degrees."""
        return float((self.frobenius > FAILURE_FROBENIUS).double().mean())

    def summary(self) -> dict[str, dict[str, float]]:
        """Return mean, median and std (over n - 1) for each kind of error; the std of a single pose is 0."""
        kinds = {name: getattr(self, name) for name in ("frobenius", "degrees", "shifts", "shifts_rounded")}
        return {
            name: {
                "mean": float(values.mean()),
                "median": float(values.quantile(0.5)),
                "std": float(values.std()) if len(values) > 1 else 0.0,
            }
            for name, values in kinds.items()
        }


@dataclass(frozen=True)
class SetErrors(PairErrors):
    """Errors of the poses of a particle set, after the best global frame was removed.

    Parameters
    ----------
    frame
        The frame (G, g), one pose: ``x_estimated_reference = G x_true_reference + g``.
    """

    frame: Poses


def pair_errors(estimated: Poses, truth: Poses) -> PairErrors:
    """Return the errors of n poses against n true ones, in the same frame, as for pairs of particles."""
    return PairErrors(**_errors(estimated, truth))


def set_errors(estimated: Poses, truth: Poses) -> SetErrors:
    """Return the errors of a particle set's poses, whose reference may sit anywhere against the true one.

    A reference-free average comes out turned and shifted by an unknown (G, g), ``x_est = G x_true + g``, the same for
    all particles: ``R_true = R_est G`` and ``t_true = R_est g + t_est``. The frame that makes the mean Frobenius error
    and then the mean shift error smallest is removed. Both are L1 means, which up to half of the particles can be
    wrong without moving.
    """
    _check(estimated, truth)
    estimated, truth = estimated.to("cpu", torch.float64), truth.to("cpu", torch.float64)
    turn = _median_rotation(estimated.rotations.mT @ truth.rotations)
    offsets = (estimated.rotations.mT @ (truth.shifts - estimated.shifts)[..., None])[..., 0]
    frame = Poses.of(turn[None], _median_vector(offsets)[None])
    return SetErrors(**_errors(estimated.compose(frame), truth), frame=frame)


def _errors(estimated: Poses, truth: Poses) -> dict[str, Tensor]:
    """Return the four kinds of error of matching poses, on the CPU."""
    _check(estimated, truth)
    estimated, truth = estimated.to("cpu"), truth.to("cpu")
    return {
        "frobenius": rotation_error_frobenius(estimated.rotations, truth.rotations),
        "degrees": rotation_error_degrees(estimated.rotations, truth.rotations),
        "shifts": shift_error(estimated.shifts, truth.shifts),
        "shifts_rounded": shift_error_rounded(estimated.shifts, truth.shifts),
    }


def _check(estimated: Poses, truth: Poses) -> None:
    if len(estimated) != len(truth) or len(truth) == 0:
        raise InputError(
            f"{len(estimated)} estimated poses cannot be compared with {len(truth)} true ones",
            cure="give one true pose for each estimated one, in the same order",
        )


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


def _median_vector(vectors: Vectors) -> Vectors:
    """Return the point (3,) with the least sum of distances to (n, 3), by Weiszfeld's iteration."""
    median = vectors.median(dim=0).values
    for _ in range(_ITERATIONS):
        weights = 1 / (vectors - median).norm(dim=-1).clamp(min=1e-9)
        median = (weights[:, None] * vectors).sum(dim=0) / weights.sum()
    return median
