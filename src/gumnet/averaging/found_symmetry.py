"""An average that finds its symmetry itself: without any first, then with the one that its half maps have.

What both halves share of it is the name of the group and its frame, six numbers, as they share their common frame
before. That they have it is judged by the correlation of one half with the other one turned, and each half's map is
then made symmetric by itself.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from gumnet.averaging.checkpoint import Checkpoint
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.iterate import iterate
from gumnet.averaging.result import Average, OnIteration
from gumnet.engine.place import Place
from gumnet.geometry.warp import warp
from gumnet.particles import Particles, Poses
from gumnet.symmetry.find import find_symmetry

ITERATIONS = 2
"""Iterations with the symmetry, the first a search: under it, one pose of each that are the same is to be found."""

MAX_FOLD = 14


def with_found_symmetry(
    made: Average,
    particles: Particles,
    config: AverageConfig,
    *,
    class_number: int = 1,
    on_iteration: OnIteration | None = None,
    kept: Checkpoint | None = None,
    place: Place | None = None,
) -> Average:
    """Return an average with the symmetry imposed that its half maps have, in RELION's setting, or as it was.

    Parameters
    ----------
    made
        Average of ``particles`` without symmetry.
    config
        As ``made`` was made. Without iterations, poses are only put into the new frame. A mask is, too.
    class_number, on_iteration, kept, place
        See `iterate`.
    """
    size = particles.voxel_size_angstrom
    found = find_symmetry(made.half_maps, voxel_size_angstrom=size, max_fold=MAX_FOLD)
    if found.found is None:
        words = f"{found.words()} No symmetry is imposed." if found.name is None else found.words()
        return replace(made, notes=(*made.notes, words), symmetry=found)
    settings = replace(
        config,
        symmetry=found.found.group.name,
        iterations=len(made.history) + ITERATIONS if config.iterations else 0,
        mask=moved_mask(config.mask, found.pose) if isinstance(config.mask, Tensor) else config.mask,
        initial=None,
    )
    posed = particles.with_poses(made.particles.poses.compose(found.pose))
    kept = (Checkpoint() if kept is None else kept).within("with symmetry")
    again = iterate(
        posed, settings, None, class_number=class_number, on_iteration=on_iteration, kept=kept, place=place, before=made
    )
    words = f"{found.words()} It was imposed; axes and poses are in RELION's setting, and the hand is as it was."
    return replace(again, starts=made.starts, notes=(*made.notes, words, *again.notes), symmetry=found)


def moved_mask(mask: Tensor, pose: Poses) -> Tensor:
    """Return a mask (N, N, N) in the frame that a pose of it is on."""
    moved = warp(mask[None].float(), pose.rotations.float(), pose.shifts.float(), oversampling=1)[0]
    return moved.clamp(0, 1)
