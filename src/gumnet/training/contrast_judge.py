"""What the judge of a network is trained for (`gumnet.model.judge`).

It is given poses of a pair, and has to find a right one and say what that is off. The poses are those of the contest
that trains the filter, the true one a little off and wrong ones at random; or those that the search itself finds, as
it finds them or refined in the low band, which is what a judge meets later. Then pairs count in which the search
found a right one, and no pose is put in by hand: a true one that is no peak of the score would be told by that.

A pair can be judged from both sides. Then both directions are lessons, and to say other than the inverse from the
other side costs: no truth is needed for that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import roma
import torch
from torch import Tensor

from gumnet.alignment.exhaustive import SEPARATION_DEGREES, STEPS, UNREFINED
from gumnet.alignment.finish import MORE_SHELLS
from gumnet.alignment.grid_search import search
from gumnet.alignment.growing_bands import LOW_STAGES
from gumnet.alignment.judging import Judging
from gumnet.alignment.refine import refine
from gumnet.alignment.score import Candidates, Comparison, default_mask
from gumnet.geometry.fourier import to_fourier
from gumnet.geometry.so3 import angular_distance_degrees
from gumnet.model.consistency import consistency_loss, inverse_poses
from gumnet.model.judge import Verdict, residual_loss
from gumnet.model.matched_filter import MatchedFilter
from gumnet.training.contrast import Contest, in_halves
from gumnet.training.contrast_config import ContrastConfig
from gumnet.training.contrast_data import Views
from gumnet.training.contrast_score import Cleaned, rows_of, search_weights, whole_shifts
from gumnet.types import Mask, Rotations, Vectors

RIGHT_DEGREES = 15.0
"""A pose that the search found is right within this angle, and within `_FOUND`."""
_FOUND = 0.1
"""Distance, in boxes, from the true shift within which a hypothesis has something to be corrected."""
_RESIDUAL = 0.1
"""Weight of the corrections beside the choice."""
_PER_4_DEGREES = 1 / (1 - math.cos(math.radians(4.0)))
"""From `consistency_loss` to the units of `residual_loss`, in which 4 degrees count a half."""


@dataclass(frozen=True)
class Hypotheses:
    """h poses of p pairs that are put before a judge, from one side.

    Parameters
    ----------
    reference, particle
        Rows (p,) of the volumes that are compared.
    poses
        (p, h), the shifts in voxels of the working grid; scores of minus infinity for places that were left over.
    right
        Which of them are right, (p, h).
    rotation, shift
        The true pose, (p, 3, 3) and (p, 3).
    shells
        Highest shell of the scores that the judge is told.
    """

    reference: Tensor
    particle: Tensor
    poses: Candidates
    right: Mask
    rotation: Rotations
    shift: Vectors
    shells: int

    def other_side(self) -> Hypotheses:
        """Return the same poses of the references on the particles."""
        poses = Candidates(*inverse_poses(self.poses.rotations, self.poses.shifts), self.poses.scores)
        truth = inverse_poses(self.rotation, self.shift)
        return Hypotheses(self.particle, self.reference, poses, self.right, *truth, self.shells)


@dataclass(frozen=True)
class Judged:
    """What a judge did.

    Parameters
    ----------
    loss
        Mean over the pairs that had a right pose, a scalar.
    right
        Share of these of which it preferred a right one.
    found
        Share of all pairs that had one.
    """

    loss: Tensor
    right: Tensor
    found: Tensor


def from_contest(found: Contest, cleaned: Cleaned, views: Views, config: ContrastConfig) -> Hypotheses:
    """Return the poses of a contest, each at its best shift; the first is right."""
    place = found.scores.max(dim=-1)
    shifts = whole_shifts(config.largest_shift * cleaned.band.box, found.scores.device)[place.indices]
    right = torch.zeros_like(place.values, dtype=torch.bool)
    right[:, 0] = True
    pairs, shells = found.pairs, config.network.shells
    poses = Candidates(found.rotations, shifts, place.values.detach())
    return Hypotheses(
        pairs.reference, pairs.particle, poses, right, *views.poses_on(pairs.reference, pairs.particle), shells
    )


@torch.no_grad()
def from_search(
    model: MatchedFilter,
    cleaned: Cleaned,
    views: Views,
    config: ContrastConfig,
    found: Contest,
    generator: torch.Generator,
) -> Hypotheses:
    """Return the poses that the search finds for the pairs of a contest, as the network is now.

    In half of the steps they are those of its grid, in the others refined in the low band: a judge sees the first where
    poses are not refined, and the second where they are.
    """
    pairs = found.pairs
    compared = compared_as(model, cleaned, views, pairs.reference, pairs.particle)
    reach = config.largest_shift * cleaned.band.box
    poses = search(compared, STEPS, max_shift=reach, candidates=UNREFINED, separation_degrees=SEPARATION_DEGREES)
    shells = STEPS[-1].shells + MORE_SHELLS
    if float(torch.rand((), generator=generator, device=generator.device)) < 0.5:
        for stage in LOW_STAGES:
            before, low = poses.best(stage.candidates), stage.shells
            poses = refine(compared, before, shells=low, max_shift=reach, iterations=stage.steps)
            # Places that were left over stay so, wherever a step led from them.
            poses.scores[before.scores == -torch.inf] = -torch.inf
        poses, shells = poses.best(len(poses.scores[0])), config.network.shells
    rotation, shift = views.poses_on(pairs.reference, pairs.particle)
    close = angular_distance_degrees(poses.rotations, rotation[:, None]) <= RIGHT_DEGREES
    near = (poses.shifts - shift[:, None]).norm(dim=-1) <= _FOUND * cleaned.band.box
    right = close & near & poses.scores.isfinite()
    return Hypotheses(pairs.reference, pairs.particle, poses, right, rotation, shift, shells)


def judge_loss(
    model: MatchedFilter, cleaned: Cleaned, views: Views, config: ContrastConfig, given: Hypotheses
) -> Judged:
    """Return what the judge of ``model`` has to learn of poses.

    The cross entropy of the right ones among all of a pair, and how far the corrections of the right ones are from
    true; with ``config.both_ways`` the mean of both sides, and ``config.consistency`` times how far these are from
    agreeing. The filter learns nothing of it: what is judged is taken as it is.
    """
    # Without a right one there is nothing to choose.
    counted = given.right.any(dim=1)
    share = counted.float().mean()
    sides = [given, given.other_side()] if config.both_ways else [given]
    looked = [_looked_at(model, cleaned, views, config, side) for side in sides]
    losses = [_of_side(side, *seen, cleaned.band.box) for side, seen in zip(sides, looked, strict=True)]
    each = torch.stack([loss for loss, _ in losses]).mean(dim=0)
    total = each.where(counted, 0.0).sum() / counted.sum().clamp_min(1)
    if config.both_ways and config.consistency > 0:
        total = total + config.consistency * disagreement(sides, looked, cleaned.band.box).mean()
    won = losses[0][1].where(counted, 0.0).sum() / counted.sum().clamp_min(1)
    return Judged(total, won, share)


def disagreement(sides: list[Hypotheses], looked: list[tuple[Tensor, Verdict]], box: int) -> Tensor:
    """Return how far two sides are from saying the same of their poses, (p,).

    Corrected poses are to be inverse to each other, and log likelihoods are to be the same up to a constant a pair.
    """
    kept = sides[0].poses.scores.isfinite()
    count = kept.sum(dim=1).clamp_min(1)
    corrected = [
        verdict.corrected(side.poses.rotations, side.poses.shifts, box)
        for side, (_, verdict) in zip(sides, looked, strict=True)
    ]
    apart = _PER_4_DEGREES * consistency_loss(*corrected[0], *corrected[1], box)
    logs = [(searched + verdict.log_likelihood).where(kept, 0.0) for searched, verdict in looked]
    off = logs[0] - logs[1]
    off = off - (off.sum(dim=1) / count)[:, None]
    apart = apart + torch.nn.functional.huber_loss(off, torch.zeros_like(off), reduction="none")
    return apart.where(kept, 0.0).sum(dim=1) / count


@torch.no_grad()
def compared_as(
    model: MatchedFilter, cleaned: Cleaned, views: Views, reference: Tensor, particle: Tensor
) -> Comparison:
    """Return rows (p,) of views as the search compares them, their judge with them."""
    a, b = rows_of(cleaned.power, reference), rows_of(cleaned.power, particle)
    box, volumes = cleaned.band.box, cleaned.volumes.detach()
    weights = model.shell_weights(search_weights(a, b, box), a, b).clone()
    weights[:, 0] = 0
    masked = volumes[reference] * default_mask(box, volumes.device)
    c_a, c_b = views.transfer[reference], views.transfer[particle]
    spectra = to_fourier(volumes[particle])
    return Comparison(masked, c_a, spectra, c_b, weights, model.sharpness(a, b), model.judging(a, b))


def _looked_at(
    model: MatchedFilter, cleaned: Cleaned, views: Views, config: ContrastConfig, given: Hypotheses
) -> tuple[Tensor, Verdict]:
    """Return the log likelihoods (p, h) of the search, and the verdict, which has gradients to the judge alone."""
    compared = compared_as(model, cleaned, views, given.reference, given.particle)
    assert compared.judging is not None
    halves = in_halves(config, compared.reference.device)
    judging = Judging(compared.judging.judge, compared.judging.described, compared.judging.shells, halves)
    searched, verdict = judging.looked_at(compared, given.poses, shells=given.shells)
    best = searched.amax(dim=1, keepdim=True)
    return searched - best, verdict


def _of_side(given: Hypotheses, searched: Tensor, verdict: Verdict, box: int) -> tuple[Tensor, Tensor]:
    """Return the loss (p,), no number where none is right, and whether a right one is preferred, (p,)."""
    logits = searched + verdict.log_likelihood
    of_right = logits.masked_fill(~given.right, -torch.inf)
    # A pair without a right one is counted nowhere; its logarithm of 0 would give gradients that are no numbers.
    of_right = torch.where(given.right.any(dim=1, keepdim=True), of_right, logits)
    contrast = logits.logsumexp(dim=1) - of_right.logsumexp(dim=1)
    off = roma.rotmat_to_rotvec(given.rotation[:, None] @ given.poses.rotations.mT)
    missed = (given.shift[:, None] - given.poses.shifts) / box
    near = (given.right & (missed.norm(dim=-1) < _FOUND)).float()
    residual = (residual_loss(verdict, off, missed) * near).sum(dim=1) / near.sum(dim=1).clamp_min(1)
    won = (of_right.amax(dim=1) >= logits.amax(dim=1)).float().detach()
    return contrast + _RESIDUAL * residual, won
