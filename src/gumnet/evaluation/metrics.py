"""Errors of estimated poses against true ones.

The paper reports the Frobenius norm of the difference of two rotation matrices: 0 to 2 sqrt(2), 0.62 is about 25
degrees, and uniformly random rotations average 2.40. It rounds both shifts to whole voxels before it takes their
distance. Both are here to compare with its tables, beside degrees and unrounded shifts.

Under symmetry an error is that of the nearest equivalent of the truth, so chance is lower: no orientation is further
than 62.8 degrees from an equivalent of another in group O, and than 44.5 in I, and few or none count as failures.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.evaluation.frame import best_frame
from gumnet.geometry.so3 import angular_distance_degrees
from gumnet.geometry.symmetry import PointGroup
from gumnet.particles import Poses
from gumnet.types import Rotations, Vectors

FAILURE_FROBENIUS = 1.0
"""A rotation error (Frobenius) above this, 41 degrees, counts as a failed alignment."""

_ROWS = 1 << 14
_TIE = 1e-9


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


def pair_errors(
    estimated: Poses, truth: Poses, *, symmetry: PointGroup | None = None, reference_poses: Poses | None = None
) -> PairErrors:
    """Return the errors of n poses against n true ones, in the same frame, as for pairs of particles.

    Under symmetry the truth is, of its equivalents, the one with the least rotation error, and of those that tie the
    one with the least shift error. When the reference of a pair is itself a particle with the pose A of its structure,
    a member S of the group turns that particle by ``A S A^-1``: about its own axes, through its own centre. The
    equivalents of a true pose T are therefore ``T A S A^-1``, and their shifts differ too.

    Parameters
    ----------
    estimated, truth
        Poses of n particles on their references.
    symmetry
        Of the structure; none unless given.
    reference_poses
        The n true poses A of the references: structure to reference particle. Unless given, the references are the
        structure itself in its standard orientation, at the centre. They matter under symmetry only.
    """
    if symmetry is not None and symmetry.order > 1:
        _check(estimated, truth)
        placed = Poses.identity(len(truth)) if reference_poses is None else reference_poses
        if len(placed) != len(truth):
            raise InputError(
                f"{len(placed)} poses of references do not fit {len(truth)} pairs",
                cure="give the pose of each pair's reference, in the same order",
            )
        truth = _nearest_equivalents(truth, estimated, symmetry, placed)
    return PairErrors(**_errors(estimated, truth))


def set_errors(estimated: Poses, truth: Poses, *, symmetry: PointGroup | None = None) -> SetErrors:
    """Return the errors of a particle set's poses, whose reference may sit anywhere against the true one.

    A reference-free average comes out turned and shifted by an unknown (G, g), ``x_est = G x_true + g``, the same for
    all particles: ``R_true = R_est G`` and ``t_true = R_est g + t_est``. The frame that makes the mean Frobenius error
    and then the mean shift error smallest is removed. Both are L1 means, which up to half of the particles can be
    wrong without moving.

    Under the symmetry of the structure, about the centre of the true reference, each particle's rotation R_true may be
    any R_true S: the frame and every particle's S are found together.
    """
    _check(estimated, truth)
    estimated, truth = estimated.to("cpu", torch.float64), truth.to("cpu", torch.float64)
    frame = best_frame(estimated, truth, symmetry)
    framed = estimated.compose(frame)
    if symmetry is not None and symmetry.order > 1:
        truth = _nearest_equivalents(truth, framed, symmetry, Poses.identity(len(truth)))
    return SetErrors(**_errors(framed, truth), frame=frame)


def _nearest_equivalents(truth: Poses, estimated: Poses, group: PointGroup, placed: Poses) -> Poses:
    """Return, of the equivalents ``T A S A^-1`` of each true pose T, the nearest to the estimated one.

    Nearest in rotation, then in shift; ``placed`` are the poses A. In float64 on the CPU.
    """
    truth, estimated, placed = (poses.to("cpu", torch.float64) for poses in (truth, estimated, placed))
    outer, inner = truth.compose(placed), placed.inverse()
    chosen = []
    for start in range(0, len(truth), _ROWS):
        rows = slice(start, start + _ROWS)
        out, back, found = outer[rows], inner[rows], estimated[rows]
        # The trace that grows as the angle shrinks: <R_out S R_back, R_found> = <S, R_out^T R_found R_back^T>.
        relative = out.rotations.mT @ found.rotations @ back.rotations.mT
        overlap = relative.flatten(1) @ group.rotations.flatten(1).mT
        turned = torch.einsum("nij,mjk,nk->nmi", out.rotations, group.rotations, back.shifts)
        distance = torch.linalg.vector_norm(turned + (out.shifts - found.shifts)[:, None], dim=-1)
        tied = overlap >= overlap.amax(dim=1, keepdim=True) - _TIE
        chosen.append(distance.masked_fill(~tied, torch.inf).argmin(dim=1))
    members = group.rotations[torch.cat(chosen)]
    return outer.compose(Poses.of(members, torch.zeros_like(truth.shifts))).compose(inner)


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
