"""Refinement of poses to a fraction of a degree and of a voxel, many at once.

The score is the correlation of a model ``m(pose) = sqrt(g) A_R exp(-2 pi i k t) c_b`` with data ``d = sqrt(g) B c_a``.
The pose of highest correlation makes ``|d - alpha m|^2`` smallest, with the best scale alpha for each pose: a least
squares problem, solved by Levenberg and Marquardt's method with alpha projected out. The derivative of the spectrum by
frequency comes from its own interpolated spectra and not from differences between grid points, whose kinks would stop
the steps short of the optimum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.alignment.band import Band
from gumnet.alignment.score import TINY, BandData, Candidates, Comparison, particle_power, phases, read_at, scores_at
from gumnet.alignment.spectrum import TurnedSpectra
from gumnet.geometry.so3 import rotation_from_vector
from gumnet.types import Rotations, Vectors

_START_DAMPING = 1e-2
_MAX_STEP_DEGREES = 8.0


@dataclass(frozen=True)
class Linear:
    """Score (n, k) at some poses, the scale of the model, and the normal equations: (n, k, 6, 6) and (n, k, 6)."""

    score: Tensor
    scale: Tensor
    normal: Tensor
    right: Tensor


def refine(
    comparison: Comparison,
    start: Candidates,
    *,
    shells: int,
    max_shift: float,
    iterations: int = 10,
    within: Callable[[Rotations], Rotations] | None = None,
    turned: TurnedSpectra | None = None,
) -> Candidates:
    """Return each candidate moved to the top of the score's peak that it stands on, and its score there.

    Parameters
    ----------
    comparison
        n particles and their reference.
    start
        Poses to start from, (n, k).
    shells
        Highest shell that is used. A start should be within about half a period of this shell at the rim of the
        particle: refine a coarse start in a low band first.
    max_shift
        Largest shift along each axis, in voxels; a start beyond it is moved inside.
    within
        Puts rotations (n, k, 3, 3) back where a step may lead; anywhere unless given.
    turned
        The reference with its derivatives, for these shells or more, where it was made before.
    """
    device = comparison.reference.device
    band = Band.up_to(comparison.box, shells, device)
    data = comparison.within(band)
    if turned is None:
        turned = comparison.turned_reference(band.shells, gradient=True)
    rotations = start.rotations.to(device=device, dtype=torch.float32)
    shifts = start.shifts.to(device=device, dtype=torch.float32).clamp(-max_shift, max_shift)
    now = linearise(turned, data, rotations, shifts)
    damping = torch.full_like(now.score, _START_DAMPING)
    for left in reversed(range(iterations)):
        step = _solve(now, damping)
        # A step is a rotation vector in the reference's frame, and a shift.
        length = torch.linalg.vector_norm(step[..., :3], dim=-1, keepdim=True)
        step = step * (math.radians(_MAX_STEP_DEGREES) / length.clamp_min(1e-12)).clamp(max=1.0)
        new_rotations = rotations @ rotation_from_vector(step[..., :3])
        new_shifts = (shifts + step[..., 3:]).clamp(-max_shift, max_shift)
        if within is not None:
            new_rotations = within(new_rotations)
        if left == 0:
            # Nothing steps on from here, so no derivatives are wanted.
            score = scores_at(turned.plain, data, new_rotations, new_shifts)
            better = score > now.score
            return Candidates(
                torch.where(better[..., None, None], new_rotations, rotations),
                torch.where(better[..., None], new_shifts, shifts),
                torch.where(better, score, now.score),
            )
        new = linearise(turned, data, new_rotations, new_shifts)
        better = new.score > now.score
        rotations = torch.where(better[..., None, None], new_rotations, rotations)
        shifts = torch.where(better[..., None], new_shifts, shifts)
        now = Linear(
            torch.where(better, new.score, now.score),
            torch.where(better, new.scale, now.scale),
            torch.where(better[..., None, None], new.normal, now.normal),
            torch.where(better[..., None], new.right, now.right),
        )
        damping = torch.where(better, damping / 5, damping * 8).clamp(1e-6, 1e6)
    return Candidates(rotations, shifts, now.score)


def normal_equations(
    comparison: Comparison, at: Candidates, shells: int, turned: TurnedSpectra | None = None
) -> tuple[Tensor, Tensor]:
    """Return the scale (n, k) that fits the model to the data, and J^T W J (n, k, 6, 6), rotation first, at poses."""
    band = Band.up_to(comparison.box, shells, comparison.reference.device)
    if turned is None:
        turned = comparison.turned_reference(band.shells, gradient=True)
    linear = linearise(turned, comparison.within(band), at.rotations, at.shifts)
    return linear.scale, linear.normal


def linearise(turned: TurnedSpectra, data: BandData, rotations: Rotations, shifts: Vectors) -> Linear:
    """Return score and normal equations at poses (n, k); a shared reference is turned for all particles at once."""
    band = data.band
    values, transfer = read_at(turned, rotations, band)
    # The phases of the shift go to the data instead of the model: sums of products are the same.
    against = data.matched[:, None] * phases(band, shifts)
    if transfer is not None:
        against = against * transfer
    # Complex numbers are pairs of reals side by side, so sums of real parts over the band are products of matrices.
    # Rows: the derivatives by a turn of the reference as read, those by a shift, -2 pi i k A, and the model itself.
    rows = values.new_empty(*shifts.shape[:2], 7, 2, values.shape[-1])
    rows[:, :, :3, 0], rows[:, :, :3, 1] = values[:, 2::2].transpose(1, 2), values[:, 3::2].transpose(1, 2)
    k = 2 * math.pi * band.frequencies.mT
    torch.mul(k, values[:, 1, :, None], out=rows[:, :, 3:6, 0])
    torch.mul(-k, values[:, 0, :, None], out=rows[:, :, 3:6, 1])
    rows[:, :, 6] = values[:, :2].transpose(1, 2)
    flat = rows.flatten(3)
    gram = (rows * data.transfer_power[:, None, None, None]).flatten(3) @ flat.mT
    products = (flat @ torch.cat([against.real, -against.imag], dim=-1)[..., None])[..., 0]
    total, numerator = gram[..., 6, 6].clamp_min(TINY), products[..., 6]
    along = gram[..., :6, 6]
    normal = gram[..., :6, :6] - along[..., :, None] * along[..., None, :] / total[..., None, None]
    scale = (numerator / total)[..., None]
    # J^T (d - alpha m) / alpha, with alpha kept positive where a start correlates negatively.
    right = (products[..., :6] - scale * along) / scale.abs().clamp_min(1e-12)
    score = numerator / torch.sqrt((total * particle_power(transfer, data)).clamp_min(TINY))
    return Linear(score, scale[..., 0], normal, right)


def _solve(linear: Linear, damping: Tensor) -> Tensor:
    """Return the damped steps (n, k, 6), each parameter damped in its own units."""
    diagonal = torch.diagonal(linear.normal, dim1=-2, dim2=-1)
    floor = 1e-6 * diagonal.amax(dim=-1, keepdim=True).clamp_min(1e-20)
    damped = linear.normal + torch.diag_embed((diagonal + floor) * damping[..., None] + floor)
    step: Tensor = torch.linalg.solve(damped.double(), linear.right.double())
    return step.to(linear.right.dtype)
