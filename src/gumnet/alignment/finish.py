"""What all methods do before and after they search: prepare the comparison, refine what was found, and judge it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from gumnet.alignment.aligner import AlignerOptions
from gumnet.alignment.confidence import RIGHT_DEGREES, local_spread_degrees, log_likelihoods, posterior
from gumnet.alignment.growing_bands import GrowingBands, LowPeaks, Refined
from gumnet.alignment.score import Candidates, Comparison, rescored
from gumnet.particles import Poses
from gumnet.types import Rotations, Volumes, Weights

if TYPE_CHECKING:
    from gumnet.model.matched_filter import MatchedFilter

CLEAN = 0.6
"""Score of volumes as they are, at the best pose of the lowest band, from which on there is so little noise that a
filter takes more than it gives: poses are then refined on them, and no judge is asked. Chosen on built-in phantoms
(docs/matched.md)."""
MORE_SHELLS = 2
"""A judge is told scores of poses of a grid in so many more shells than it was searched in: with all of them clean
pairs fail, since higher shells do not bear what a grid is off, and with none more, noisy ones do."""


def compare(
    options: AlignerOptions,
    reference: Volumes,
    particles: Volumes,
    weights_reference: Weights | None,
    weights_particles: Weights | None,
    prior: Poses | None,
    cleaner: MatchedFilter | None = None,
) -> Comparison:
    """Return the comparison that the options ask for; with priors, shifts in it are relative to theirs."""
    return Comparison.of(
        reference,
        particles,
        weights_reference,
        weights_particles,
        mask=options.mask,
        lowest_shell=options.min_shell(reference.shape[-1]),
        centres=None if prior is None else prior.shifts.to(reference.device, torch.float32),
        cleaner=cleaner,
        known=options.known,
        to_map=options.to_map,
    )


def at_priors(prior: Poses, device: torch.device) -> Candidates:
    """Return one candidate a particle at its prior, its shift relative to the prior's: 0."""
    found = Candidates.from_poses(prior, device)
    return replace(found, shifts=torch.zeros_like(found.shifts))


def finish(
    options: AlignerOptions,
    comparison: Comparison,
    found: Candidates,
    prior: Poses | None,
    found_shells: int | None = None,
) -> Poses:
    """Return the best pose of each particle, refined if the options say so, in float64 on the CPU.

    With several candidates they have confidences too, unless the search went no further from the priors than counts as
    right.

    Parameters
    ----------
    found_shells
        Highest shell of the band in which the candidates were scored, where there are several.
    """
    shells = options.max_shell(comparison.box)
    if not options.refine:
        return _posed(
            options, comparison, _unrefined(comparison, found, shells, found_shells or shells), prior, comparison
        )
    bands = _bands(options, comparison, prior)
    low = bands.low(comparison, found)
    if comparison.uncleaned is None:
        return _refined(options, comparison, low, prior, False)
    clean = rescored(comparison.uncleaned, low.all.best(1), shells).scores[:, 0] >= CLEAN
    if bool((clean == clean[0]).all()):
        return _refined(options, comparison, low, prior, bool(clean[0]))
    order, parts = [], []
    for kind in (False, True):
        rows = torch.nonzero(clean == kind)[:, 0]
        order.append(rows.cpu())
        own = None if prior is None else prior[rows.cpu()]
        parts.append(_refined(options, comparison[rows], low[rows], own, kind))
    return Poses.concatenate(parts)[torch.cat(order).argsort()]


def _refined(options: AlignerOptions, comparison: Comparison, low: LowPeaks, prior: Poses | None, clean: bool) -> Poses:
    """Return the best pose of each particle from the peaks of the lowest band, on volumes as they are if ``clean``."""
    against = comparison.uncleaned if clean else comparison
    assert against is not None
    refined = _bands(options, comparison, prior).whole(against, low)
    return _posed(options, comparison, refined, prior, against)


def _bands(options: AlignerOptions, comparison: Comparison, prior: Poses | None) -> GrowingBands:
    box = comparison.box
    within = _within(options, prior, comparison.reference.device)
    shells, lowest = options.max_shell(box), options.min_shell(box)
    return GrowingBands(shells, options.max_shift_voxels(box), lowest, within, to_map=comparison.to_map)


def _posed(
    options: AlignerOptions,
    comparison: Comparison,
    refined: Refined,
    prior: Poses | None,
    against: Comparison,
) -> Poses:
    """Return refined poses with what is known of them, their shifts absolute.

    Parameters
    ----------
    against
        What they were refined on last: ``comparison``, or its volumes as they are. Scores are those of cleaned volumes
        for all.
    """
    shells = options.max_shell(comparison.box)
    best = refined.best if against is comparison else rescored(comparison, refined.best, shells)
    poses = best.poses()
    if prior is not None:
        poses = replace(poses, shifts=poses.shifts + prior.shifts.to("cpu", torch.float64))
    near = None if prior is None else options.near
    if refined.peaks.scores.shape[1] == 1 or (near is not None and near.reach_degrees <= RIGHT_DEGREES):
        # Without others to weigh it against a pose has no posterior.
        return poses
    likelihoods = refined.judged
    if likelihoods is None:
        likelihoods = log_likelihoods(comparison, refined.peaks, refined.peak_shells, refined.turned)
    confidences, spreads = posterior(refined.peaks, likelihoods, best.rotations[:, 0], options.symmetry)
    local = local_spread_degrees(against, best, shells, refined.turned)
    spreads = torch.hypot(spreads, local).clamp(max=180.0)
    return replace(poses, confidences=confidences.double().cpu(), spreads_degrees=spreads.double().cpu())


def _unrefined(comparison: Comparison, found: Candidates, shells: int, found_shells: int) -> Refined:
    """Return what the search found, as it is, with the score of the best in the whole band.

    A judge chooses the best, and corrects it, where there is one.
    """
    turned = comparison.turned_reference(shells, gradient=True)
    if comparison.judging is not None and found.scores.shape[1] > 1:
        judged, corrected = comparison.judging.judged(comparison, found, shells=found_shells + MORE_SHELLS)
        best = rescored(comparison, corrected.best(1), shells)
        return Refined(best, turned, found, found_shells, judged)
    return Refined(rescored(comparison, found.best(1), shells), turned, found, found_shells)


def _within(
    options: AlignerOptions, prior: Poses | None, device: torch.device
) -> Callable[[Rotations, slice], Rotations] | None:
    """Return what puts rotations (m, k, 3, 3) of some rows back into the range about the priors, if one was given."""
    near = options.near
    if near is None or prior is None:
        return None
    about = prior.rotations.to(device, torch.float32)[:, None]

    def clamped(rotations: Rotations, rows: slice) -> Rotations:
        return about[rows] @ near.clamped(about[rows].mT @ rotations)

    return clamped
