"""Refinement of poses to a fraction of a degree and of a voxel, many at once.

The score is the correlation of a model ``m(pose) = sqrt(g) A_R exp(-2 pi i k t) c_b`` with data ``d = sqrt(g) B c_a``.
The pose of highest correlation makes ``|d - alpha m|^2`` smallest, with the best scale alpha for each pose: a least
squares problem, solved by Levenberg and Marquardt's method with alpha projected out. The derivative of the spectrum by
frequency comes from its own interpolated spectra and not from differences between grid points, whose kinks would stop
the steps short of the optimum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.alignment.band import Band
from gumnet.alignment.score import BandData, Candidates, Comparison, norms, phases, read_at
from gumnet.alignment.spectrum import TurnedSpectra
from gumnet.geometry.so3 import rotation_from_vector
from gumnet.types import Rotations, Vectors

_START_DAMPING = 1e-2
_MAX_STEP_DEGREES = 8.0
FULL_BAND_CANDIDATES = 3
"""How many of the candidates that were refined in the low band go on to the whole band."""


@dataclass(frozen=True)
class _Linear:
    """Score (n, k) at some poses, with the normal equations: (n, k, 6, 6) and (n, k, 6)."""

    score: Tensor
    normal: Tensor
    right: Tensor


def refine(
    comparison: Comparison, start: Candidates, *, shells: int, max_shift: float, iterations: int = 10
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
    """
    device = comparison.reference.device
    band = Band.up_to(comparison.box, shells, device)
    data = comparison.within(band)
    turned = comparison.turned_reference(band.shells, gradient=True)
    rotations = start.rotations.to(device=device, dtype=torch.float32)
    shifts = start.shifts.to(device=device, dtype=torch.float32).clamp(-max_shift, max_shift)
    now = _linearise(turned, data, rotations, shifts)
    damping = torch.full_like(now.score, _START_DAMPING)
    for _ in range(iterations):
        step = _solve(now, damping)
        # A step is a rotation vector in the particle's frame and a shift.
        length = torch.linalg.vector_norm(step[..., :3], dim=-1, keepdim=True)
        step = step * (math.radians(_MAX_STEP_DEGREES) / length.clamp_min(1e-12)).clamp(max=1.0)
        new_rotations = rotation_from_vector(step[..., :3]) @ rotations
        new_shifts = (shifts + step[..., 3:]).clamp(-max_shift, max_shift)
        new = _linearise(turned, data, new_rotations, new_shifts)
        better = new.score > now.score
        rotations = torch.where(better[..., None, None], new_rotations, rotations)
        shifts = torch.where(better[..., None], new_shifts, shifts)
        now = _Linear(
            torch.where(better, new.score, now.score),
            torch.where(better[..., None, None], new.normal, now.normal),
            torch.where(better[..., None], new.right, now.right),
        )
        damping = torch.where(better, damping / 5, damping * 8).clamp(1e-6, 1e6)
    return Candidates(rotations, shifts, now.score)


def refine_in_two_bands(
    comparison: Comparison, start: Candidates, *, coarse_shells: int, shells: int, max_shift: float
) -> Candidates:
    """Return the best pose of each particle, (n, 1), refined in a low band and then, for the best few, in the whole.

    The peak of a low band is wide enough to be climbed from the spacing of a coarse grid; that of the whole band is
    sharp enough to end on.

    """
    first = refine(comparison, start, shells=min(coarse_shells, shells), max_shift=max_shift, iterations=6)
    if shells <= coarse_shells:
        return first.best(1)
    return refine(comparison, first.best(FULL_BAND_CANDIDATES), shells=shells, max_shift=max_shift, iterations=8).best(
        1
    )


def _linearise(turned: TurnedSpectra, data: BandData, rotations: Rotations, shifts: Vectors) -> _Linear:
    """Return score and normal equations at poses (n, k); a shared reference is turned for all particles at once."""
    band = data.band
    values, transfer = read_at(turned, rotations, band)
    phase = phases(band, shifts)
    model = values[:, 0] * phase
    denominator = norms(values[:, 0], transfer, data)
    matched = data.matched[:, None] if transfer is None else data.matched[:, None] * transfer
    numerator = (model * matched).real.sum(dim=-1)
    # Turning by a small rotation vector v moves R^-1 k by R^-1 (k x v): the derivative is (R grad) x k.
    gradient = torch.einsum("nkij,njkm->nkim", rotations.to(values.dtype), values[:, 1:])
    frequencies = band.frequencies.to(shifts).mT
    turning = torch.linalg.cross(gradient, frequencies.to(values.dtype).expand_as(gradient), dim=2) * phase[:, :, None]
    moving = -2j * math.pi * frequencies * model[:, :, None]
    jacobian = torch.cat([turning, moving], dim=2)
    # Sums over M of real parts, as products of matrices with real and imaginary parts side by side.
    flat, model_flat = _flat(jacobian), _flat(model)
    weight = data.transfer_power.repeat_interleave(2, dim=-1)[:, None]
    weighted_model = model_flat * weight
    total = (weighted_model * model_flat).sum(dim=-1).clamp_min(1e-30)
    along = (flat @ weighted_model[..., None])[..., 0]
    normal = (flat * weight[:, None]) @ flat.mT - along[..., :, None] * along[..., None, :] / total[..., None, None]
    toward = (flat @ _flat(matched.conj())[..., None])[..., 0]
    scale = (numerator / total)[..., None]
    # J^T (d - alpha m) / alpha, with alpha kept positive where a start correlates negatively.
    right = (toward - scale * along) / scale.abs().clamp_min(1e-12)
    return _Linear(numerator / denominator, normal, right)


def _flat(values: Tensor) -> Tensor:
    """Return complex (..., M) as real (..., 2 M)."""
    return torch.view_as_real(values.resolve_conj()).flatten(-2)


def _solve(linear: _Linear, damping: Tensor) -> Tensor:
    """Return the damped steps (n, k, 6), each parameter damped in its own units."""
    diagonal = torch.diagonal(linear.normal, dim1=-2, dim2=-1)
    floor = 1e-6 * diagonal.amax(dim=-1, keepdim=True).clamp_min(1e-20)
    damped = linear.normal + torch.diag_embed((diagonal + floor) * damping[..., None] + floor)
    step: Tensor = torch.linalg.solve(damped.double(), linear.right.double())
    return step.to(linear.right.dtype)
