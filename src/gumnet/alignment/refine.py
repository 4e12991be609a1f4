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
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gumnet.alignment.band import Band
from gumnet.alignment.likelihood import sharpness
from gumnet.alignment.narrowing import Stage, contenders, together
from gumnet.alignment.score import TINY, BandData, Candidates, Comparison, particle_power, phases, read_at, scores_at
from gumnet.alignment.spectrum import TurnedSpectra
from gumnet.geometry.so3 import rotation_from_vector
from gumnet.types import Rotations, Vectors

_ONE_PEAK_DEGREES = 4.0
"""Refined candidates closer than this are on one peak: those of a grid are further apart, peaks of low bands wider."""
_START_DAMPING = 1e-2
_MAX_STEP_DEGREES = 8.0


LEAST_SHELLS = 3
"""Shells that a low band has above the lowest that counts, where a high pass leaves out those that it would use."""
LOW_STAGES = (Stage(7, 64, 1, 6.0, least=32), Stage(7, 16, 3, 3.5, least=6))
_MIDDLE_STAGES = (Stage(11, 12, 1, 3.5, least=4), Stage(11, 4, 3, 2.5, least=2))
"""The cost of a step grows with the cube of the shells. One step shows which peaks of a grid are high, since the grid
itself may have missed the top of the highest, and one in the middle band which of the low one are. Shell 7 tells most
of them apart, and shell 11 nearly all. With 32, 12 and 4 candidates the true pose of one in eight particles of SNR 0.05
was lost though the whole band knew it: half were the 5th to 12th of the low band, a third beyond the 32nd of the grid.
Clean pairs were lost with fewer than 32, whose scores noise does not explain."""


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


@dataclass(frozen=True)
class Refined:
    """The best pose of each particle, (n, 1), with the reference of the whole band that it was refined on.

    And the peaks of the lowest band that it was chosen from, (n, k), with that band, and their log likelihoods where a
    network judged them.
    """

    best: Candidates
    turned: TurnedSpectra
    peaks: Candidates
    peak_shells: int
    judged: Tensor | None = None


def refine_in_growing_bands(
    comparison: Comparison,
    start: Candidates,
    *,
    shells: int,
    max_shift: float,
    lowest_shell: int = 1,
    within: Callable[[Rotations, slice], Rotations] | None = None,
) -> Refined:
    """Return the best pose of each particle, refined from low bands to the whole, fewer candidates in each.

    The peak of a low band is wide enough to be climbed from the spacing of a coarse grid; that of the whole band is
    sharp enough to end on. How many candidates a particle keeps hangs on its own scores alone.

    Parameters
    ----------
    within
        Puts rotations (m, k, 3, 3) of some of the particles back where a step may lead; anywhere unless given.
    """
    plan = stages(shells, lowest_shell)
    lowest = plan[0].shells
    # The lowest band has a smaller grid of its own, which stays in a CPU's cache; the others share one.
    low = comparison.turned_reference(lowest, gradient=True)
    whole = comparison.turned_reference(shells, gradient=True) if shells > lowest else low
    found = peaks = start
    several = start.scores.shape[1] > 1  # a pose that is only refined has no rivals to be weighed against
    sharp = sharpness(comparison, start, lowest, low) if several else torch.ones(len(comparison))
    judged = None
    for stage in plan:
        if stage.shells > lowest and several and judged is None and comparison.judging is not None:
            # Those that came as far are looked at; the rest count for the confidence.
            most = min(LOW_STAGES[-1].candidates, found.scores.shape[1])
            judged, _ = comparison.judging.judged(comparison, peaks, most=most)
            found = Candidates(peaks.rotations[:, :most], peaks.shifts[:, :most], judged[:, :most]).best(1)
        before = found.best(found.scores.shape[1])
        counts = contenders(before.scores, stage, sharp.to(before.scores))
        found = _climbed(comparison, before, counts, stage, max_shift, within, low if stage.shells == lowest else whole)
        if stage.shells == lowest:
            # What was not climbed is as far below the best as it was.
            rest = before.scores - before.scores[:, :1] + found.scores.amax(dim=1, keepdim=True)
            rest = rest.where(before.scores.isfinite(), -torch.inf)
            found = peaks = replace(found, scores=found.scores.where(found.scores.isfinite(), rest))
        found = without_repeats(found, comparison.box / stage.shells / 2)
    return Refined(found.best(1), whole, peaks, lowest, judged)


def without_repeats(found: Candidates, shift: float) -> Candidates:
    """Return candidates (n, k), those of score minus infinity that climbed the peak of one with a higher score.

    Parameters
    ----------
    shift
        Poses that are further apart than this, in voxels, are not on one peak, however close their rotations.
    """
    scores = found.scores
    place = torch.arange(scores.shape[1], device=scores.device)
    tied = (scores[:, None] == scores[:, :, None]) & (place < place[:, None])
    higher = (scores[:, None] > scores[:, :, None]) | tied
    flat = found.rotations.flatten(2)
    near = (flat @ flat.mT) > 1 + 2 * math.cos(math.radians(_ONE_PEAK_DEGREES))
    near = near & (torch.cdist(found.shifts, found.shifts) < shift)
    return replace(found, scores=scores.masked_fill((near & higher).any(dim=2), -torch.inf))


def _climbed(
    comparison: Comparison,
    before: Candidates,
    counts: Tensor,
    stage: Stage,
    max_shift: float,
    within: Callable[[Rotations, slice], Rotations] | None,
    turned: TurnedSpectra,
) -> Candidates:
    """Return candidates (n, k), of each particle the first ``counts`` refined, the others of score minus infinity."""
    rotations, shifts = before.rotations.clone(), before.shifts.clone()
    scores = torch.full_like(before.scores, -torch.inf)
    for rows in together(counts):
        width = int(counts[rows].max())
        found = refine(
            comparison[rows],
            Candidates(rotations[rows, :width], shifts[rows, :width], scores[rows, :width]),
            shells=stage.shells,
            max_shift=max_shift,
            iterations=stage.steps,
            within=_of_rows(within, rows),
            turned=turned if len(turned.fine) == 1 else turned[rows],
        )
        rotations[rows, :width], shifts[rows, :width] = found.rotations, found.shifts
        own = torch.arange(width, device=counts.device) < counts[rows, None]
        scores[rows, :width] = found.scores.masked_fill(~own, -torch.inf)
    return Candidates(rotations, shifts, scores)


def _of_rows(
    within: Callable[[Rotations, slice], Rotations] | None, rows: slice
) -> Callable[[Rotations], Rotations] | None:
    return None if within is None else lambda rotations: within(rotations, rows)


def raised(shells: int, lowest_shell: int) -> int:
    """Return the highest shell of a low band that begins with ``lowest_shell``: at least a few shells above it."""
    return max(shells, lowest_shell + LEAST_SHELLS)


def stages(shells: int, lowest_shell: int = 1) -> list[Stage]:
    """Return the stages of a refinement that ends with the shells up to ``shells``."""
    found = [replace(s, shells=min(raised(s.shells, lowest_shell), shells)) for s in LOW_STAGES]
    middle = raised(_MIDDLE_STAGES[0].shells, lowest_shell + LEAST_SHELLS)
    # A band that ends below the middle one decides among as many: the lowest alone does not tell them apart.
    if shells > found[-1].shells:
        found += [replace(s, shells=min(middle, shells)) for s in _MIDDLE_STAGES]
    last = 2 * middle
    while last < shells:
        found.append(Stage(last, 1, 3))
        last *= 2
    return [*found, Stage(shells, 1, 4)]


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
