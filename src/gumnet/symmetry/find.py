"""The point group of a map and its axes, found from two half maps.

Every group is tried: the agreement of half map 1 with half map 2 turned, over all rotations at once, says where its
axes may lie; frames are then refined on all members together, and each kind of axis is judged by itself. Noise in the
two halves is independent, so none of it agrees under any turn, and the halves as they are say what a symmetry reaches.
"""

from __future__ import annotations

import math

import torch

from gumnet.alignment.score import Comparison
from gumnet.errors import InputError
from gumnet.geometry.symmetry import PointGroup
from gumnet.particles import Poses
from gumnet.resolution.claim import LEAST_DEVIATIONS, noise_deviations
from gumnet.symmetry.angular import AngularPart, angular_part
from gumnet.symmetry.frames import candidate_groups, likely_frames, refined_frame
from gumnet.symmetry.judge import CHANCE, CHANCE_DEVIATIONS, LEAST_AGREEMENT, agreements, judged_axes
from gumnet.symmetry.result import Candidate, Symmetry
from gumnet.symmetry.rotations import MOST_SHELLS, AllRotations
from gumnet.types import Rotations, Vectors, Volume, Volumes

LEAST_PERIODS = 2.75
"""Periods of the finest shell that the particle is wide: with fewer, asymmetric phantoms pass for twofold."""
LEAST_SHARE = 0.005
"""Least share of what is not the same in all directions: spheres on a grid have up to 0.002 if their edge is soft."""
LARGEST_FOLD = 60
REFINED_SHELLS = 24
"""Highest shell that frames are refined in; finer ones still judge."""
_FRAMES = 2
_WORTH_REFINING = 0.5
"""Agreement of the weakest axis, in low shells and before refinement, with which a group goes on."""
_CENTRE_MOVED = 0.5
"""Voxels by which an axis may miss the centre of mass before all is done again about the axis."""


def find_symmetry(
    maps: Volumes | Volume,
    *,
    voxel_size_angstrom: float,
    mask: Volume | None = None,
    max_fold: int = 14,
) -> Symmetry:
    """Return the point group of a map, and where its axes are.

    Parameters
    ----------
    maps
        Two half maps (2, N, N, N), made independently of each other and in one frame; or one map (N, N, N), of which
        what lies outside the density says how noisy it is. Density is positive.
    mask
        Soft mask (N, N, N) from 0 to 1; a soft sphere of a third of the box about the centre of mass unless given.
    max_fold
        Highest fold of cyclic and dihedral groups that is tried, from 2 to 60.

    Raises
    ------
    InputError
        If the maps are not cubes of finite values, or the mask does not fit them.

    Examples
    --------
    >>> import gumnet
    >>> from gumnet.geometry.symmetry import point_group, symmetrised
    >>> from gumnet.simulation.phantom import phantom
    >>> ring = symmetrised(phantom(0, 16), point_group("C3"))
    >>> gumnet.find_symmetry(ring, voxel_size_angstrom=20.0, max_fold=4).name
    'C3'
    """
    maps = _checked(maps, mask, max_fold)
    part = angular_part(maps, mask)
    doubt = _doubt(part)
    if doubt is not None:
        return Symmetry(None, doubt, Poses.identity(1), (), part.deviation, _resolution(part, voxel_size_angstrom))
    candidates = _candidates(part, max_fold)
    best = max(candidates, key=lambda candidate: candidate.weakest)
    offset = best.pose.shifts[0] - part.centre
    if float(offset.norm()) > _CENTRE_MOVED and best.weakest >= _WORTH_REFINING:
        part = angular_part(maps, mask, best.pose.shifts[0])
        candidates = _candidates(part, max_fold)
    return _decision(candidates, part, voxel_size_angstrom)


def _checked(maps: Volumes | Volume, mask: Volume | None, max_fold: int) -> Volumes:
    """Return the maps (1 or 2, N, N, N), all that is given being possible."""
    stack = maps[None] if maps.ndim == 3 else maps
    box = stack.shape[-1]
    if stack.ndim != 4 or not 1 <= len(stack) <= 2 or stack.shape[1:] != (box,) * 3:
        raise InputError(f"maps of shape {tuple(maps.shape)}", cure="give one cubic map, or two half maps of one box")
    if not bool(torch.isfinite(stack).all()):
        raise InputError("a map holds NaN or infinite values", cure="use maps of finite values")
    if mask is not None and tuple(mask.shape) != (box,) * 3:
        raise InputError(f"the mask has shape {tuple(mask.shape)} for maps of {box}", cure="use a mask of the same box")
    if not 2 <= max_fold <= LARGEST_FOLD:
        raise InputError(f"a highest fold of {max_fold} is not possible", cure=f"give 2 to {LARGEST_FOLD}")
    return stack


def _doubt(part: AngularPart) -> str | None:
    """Return why no symmetry can be told from what the maps have in common, or None."""
    if part.deviation * LEAST_DEVIATIONS > 1 or part.share < LEAST_SHARE:
        agree = max(noise_deviations(part.whole, part.box, last, part.fraction) for last in range(1, MOST_SHELLS + 1))
        if agree < LEAST_DEVIATIONS:
            return "the half maps do not agree" if part.halves else "the map has no more power than its noise"
        return "featureless: what can be trusted of the map is the same from all sides, like a sphere"
    if part.periods < LEAST_PERIODS:
        return (
            f"too coarse: the particle is {part.periods:.1f} periods of the finest detail wide that can be trusted, "
            f"and with fewer than {LEAST_PERIODS:g} shapes without symmetry look as if they had it"
        )
    return None


def _candidates(part: AngularPart, max_fold: int) -> tuple[Candidate, ...]:
    """Return every group that was tried, in the frame where it fits best.

    Those that may hold are refined, the largest first: what is part of one that holds needs no refinement.
    """
    low, comparison = AllRotations.of(part), part.comparison()
    found: dict[str, Candidate] = {}
    likely: list[tuple[Candidate, ...]] = []
    for group in candidate_groups(max_fold):
        cyclic = [name for name in _cyclic_parts(group) if name in found]
        if any(found[name].weakest < _WORTH_REFINING for name in cyclic):
            continue  # an axis that it must have is not there
        coarse = [_judged_coarsely(group, frame, low, part) for frame in likely_frames(low, group, _FRAMES)]
        found[group.name] = max(coarse, key=lambda candidate: candidate.weakest)
        likely.append(tuple(candidate for candidate in coarse if candidate.weakest >= _WORTH_REFINING))
    for some in sorted(filter(None, likely), key=lambda some: -some[0].group.order):
        best = max((_refined(each, comparison, part) for each in some), key=lambda candidate: candidate.weakest)
        found[best.group.name] = best
        if best.verdict in ("holds", "round"):
            break
    return tuple(found.values())


def _cyclic_parts(group: PointGroup) -> list[str]:
    """Return the names of the cyclic groups about the axes that make a dihedral or polyhedral group what it is."""
    if group.name[0] == "D":
        return ["C2", f"C{group.order // 2}"]
    return {"T": ["C2", "C3"], "O": ["C3", "C4"], "I": ["C3", "C5"]}.get(group.name, [])


def _judged_coarsely(group: PointGroup, frame: Rotations, low: AllRotations, part: AngularPart) -> Candidate:
    """Return a group in a frame, judged in low shells by all rotations about the centre of the box."""
    axes = judged_axes(group, frame, low.at, deviation=part.deviation, about=3 * MOST_SHELLS)
    return Candidate(group, _pose(frame, part.centre), axes, refined=False)


def _refined(candidate: Candidate, comparison: Comparison, part: AngularPart) -> Candidate:
    """Return a group in a frame that was refined, judged in all shells that count."""
    group, frame, centre = candidate.group, candidate.pose.rotations[0], torch.zeros(3, dtype=torch.float64)
    shells = min(part.shells, MOST_SHELLS)
    frame, centre = refined_frame(comparison, group, frame, centre, shells=shells, steps=6)
    if part.shells > shells:
        last = min(part.shells, REFINED_SHELLS)
        frame, centre = refined_frame(comparison, group, frame, centre, shells=last, steps=3)

    def evaluate(turns: Rotations) -> torch.Tensor:
        return agreements(comparison, turns, centre, part.shells) / part.reach

    axes = judged_axes(group, frame, evaluate, deviation=part.deviation, about=3 * part.shells)
    nearest = group.nearest(frame, torch.eye(3, dtype=torch.float64))
    return Candidate(group, _pose(nearest, part.centre + centre), axes, refined=True)


def _pose(frame: Rotations, centre: Vectors) -> Poses:
    return Poses.of(frame.double()[None], centre.double()[None])


def _decision(candidates: tuple[Candidate, ...], part: AngularPart, voxel_size_angstrom: float) -> Symmetry:
    """Return the group of the highest order that holds, or why there is none."""
    resolution = _resolution(part, voxel_size_angstrom)
    by_order = sorted(candidates, key=lambda candidate: -candidate.group.order)
    round_one, holding, unsure = (
        next((candidate for candidate in by_order if candidate.verdict == verdict), None)
        for verdict in ("round", "holds", "unsure")
    )
    by_fit = sorted(candidates, key=lambda candidate: (candidate is not holding, -candidate.weakest))
    name, pose = None, Poses.identity(1)
    if round_one is not None:
        axis = next(axis for axis in round_one.axes if axis.verdict == "round")
        reason = (
            f"at any turn about the axis {axis.direction_words()} the map is the same "
            f"({100 * min(axis.level, 1):.0f} % of it), so the fold of that axis does not show"
        )
    elif holding is not None:
        name, pose = holding.group.name, holding.pose
        reason = (
            f"{holding.axes_words()}; the weakest kind of axis reaches {holding.weakest:.2f} of what {part.measure} "
            f"({LEAST_AGREEMENT:g} or more is needed), judged to {resolution:.0f} A"
        )
        if unsure is not None and unsure.group.order > holding.group.order:
            reason += f". {unsure.group.name} fits too ({unsure.weakest:.2f}), but so may noise"
    elif unsure is not None:
        reason = f"{unsure.group.name} fits ({unsure.weakest:.2f}), but so may noise"
    elif CHANCE + CHANCE_DEVIATIONS * part.deviation > 1:
        reason = f"too noisy: what one turn gives is uncertain by {part.deviation:.2f}, and no group of many turns fits"
    else:
        name, nearest = "C1", by_fit[0]
        reason = (
            f"no other group fits; {nearest.group.name} comes nearest, with {nearest.weakest:.2f} of what "
            f"{part.measure} under the weakest kind of axis, judged to {resolution:.0f} A"
        )
    return Symmetry(name, reason, pose, tuple(by_fit), part.deviation, resolution)


def _resolution(part: AngularPart, voxel_size_angstrom: float) -> float:
    """Return the finest detail that counts, in Angstrom; infinity if none does."""
    return part.box * voxel_size_angstrom / part.shells if part.shells else math.inf
