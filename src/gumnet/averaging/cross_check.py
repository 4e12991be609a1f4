"""The poses of a finished average, checked on the map of the other half: see `gumnet.averaging.reproduced`."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from gumnet.alignment.to_reference import align
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.halves import rows_of_half
from gumnet.averaging.mask import low_pass
from gumnet.averaging.reproduced import MOST_CHECKED, Reproduced, same_rotations
from gumnet.averaging.result import Average
from gumnet.devices import seeded
from gumnet.engine.place import Place
from gumnet.geometry.symmetry import PointGroup, point_group
from gumnet.particles import Particles
from gumnet.symmetry.angular import angular_part
from gumnet.symmetry.find import LEAST_PERIODS
from gumnet.symmetry.judge import CHANCE, CHANCE_DEVIATIONS, LEAST_AGREEMENT, agreements
from gumnet.types import Mask, Rotations, Volumes

_ONLY_BAND = (
    "The halves agree no further than the map that both started from, {:.0f} A: its own detail may do as much, so this "
    "agreement does not show that the poses are right."
)
_SAME_ANGSTROM = 1e-6


def cross_checked(made: Average, particles: Particles, config: AverageConfig, place: Place | None = None) -> Average:
    """Return an average that knows how many of its poses are found again, with a note where they are too few.

    Parameters
    ----------
    made
        Average of ``particles``, with its poses and half maps in one frame.
    particles
        n particles, all in half set 1 or 2.
    config
        As ``made`` was made.
    """
    if not made.history:
        return made
    group = _group(made, config)
    own, other = [], []
    for half in (1, 2):
        rows = rows_of_half(particles, half)
        drawn = torch.randperm(len(rows), generator=seeded(config.seed))[:MOST_CHECKED]
        rows = rows[drawn.sort().values]
        elsewhere = _searched(particles.select(rows), made, half, config, group, place)
        own.append(made.particles.poses.rotations[rows])
        other.append(elsewhere.poses.rotations)
    first, second = torch.cat(own), torch.cat(other)
    same = same_rotations(first, second, group)
    found = Reproduced(len(same), int(same.sum()))
    if found.is_doubtful and group.order == 1:
        # Of a symmetric structure that was averaged without its symmetry, equivalent poses are as right.
        same |= looks_same(made.half_maps, first, second)
        found = Reproduced(len(same), int(same.sum()))
    notes = made.notes
    box, voxel = particles.box, particles.voxel_size_angstrom
    if found.is_doubtful:
        notes = (*notes, found.words(given=config.initial is not None))
    elif (
        made.shared_shells and voxel * box / made.shared_shells - _SAME_ANGSTROM <= made.resolution_angstrom < math.inf
    ):
        notes = (*notes, _ONLY_BAND.format(voxel * box / made.shared_shells))
    return replace(made, notes=notes, reproduced=found)


def _group(made: Average, config: AverageConfig) -> PointGroup:
    """Return the symmetry that an average was made with."""
    if not config.finds_symmetry:
        return point_group(config.symmetry)
    found = None if made.symmetry is None else made.symmetry.found
    return point_group("C1") if found is None else found.group


def _searched(
    some: Particles, made: Average, half: int, config: AverageConfig, group: PointGroup, place: Place | None
) -> Particles:
    """Return particles of a half at the best of all poses on the map of the other one, in the last iteration's band."""
    band = made.history[-1].band_angstrom
    settings = config.alignment(band, symmetry=group.name)
    reference = low_pass(made.half_maps[2 - half].float(), some.voxel_size_angstrom / band)
    return align(some, reference, settings, place=place)


def looks_same(half_maps: Volumes, first: Rotations, second: Rotations) -> Mask:
    """Return whether half maps (2, N, N, N) look the same from one rotation of a particle and from another, (n,).

    As under a turn that is a symmetry: to `LEAST_AGREEMENT` of what the halves reach with each other, spherical
    averages left out, and more where noise may give that much. Never where the maps are so coarse that all shapes do.
    """
    part = angular_part(half_maps)
    if part.shells == 0 or part.periods < LEAST_PERIODS:
        return torch.zeros(len(first), dtype=torch.bool)
    turns = first.double().mT @ second.double()
    least = max(LEAST_AGREEMENT, CHANCE + CHANCE_DEVIATIONS * part.deviation)
    return agreements(part.comparison(), turns, torch.zeros(3), part.shells) >= least
