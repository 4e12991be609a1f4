"""The average of a particle set: at given poses, or joint alignment from nothing, with classes.

First maps come from posteriors over all poses in low shells (`gumnet.averaging.start`), each half by itself; then each
half is aligned to its own average in turn (`gumnet.averaging.iterate`). Several classes are sorted by first maps of all
particles, K at a time, and each is then averaged by itself, its halves starting from its map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from gumnet.alignment.learned import as_network, check_box
from gumnet.alignment.matched import as_filter
from gumnet.averaging.begin import STARTED_TOGETHER, Beginning, begin, find
from gumnet.averaging.checkpoint import Checkpoint
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.found_symmetry import with_found_symmetry
from gumnet.averaging.halves import assign_half_sets, rows_of_half
from gumnet.averaging.iterate import START_SHELLS, iterate
from gumnet.averaging.result import Average, OnIteration, OnStart
from gumnet.engine.place import Place
from gumnet.errors import InputError
from gumnet.journal import Journal
from gumnet.particles import Particles, Poses

_LEAST_PARTICLES = 2
_GIVEN = "Both halves start from the map that was given: detail that it holds may be in both for that reason."


def average(
    particles: Particles,
    config: AverageConfig | None = None,
    *,
    on_iteration: OnIteration | None = None,
    on_start: OnStart | None = None,
    journal: Journal | None = None,
    place: Place | None = None,
) -> Average:
    """Return the average of particles, with half maps that were made independently of each other.

    Parameters
    ----------
    particles
        n particles, two or more. Half sets that they have are kept.
    config
        How; the defaults unless given.
    on_iteration, on_start
        Called after each iteration, and after each step towards first maps, to show or save them.
        Not called for what ``journal`` has already.
    journal
        Keeps first maps and the poses of each iteration, and gives those of an earlier run of the same particles and
        settings (`gumnet.journal.Journal.open` checks that they are): on a CPU the result is that of a run that was not
        stopped, to the bit.
    place
        Where particles are aligned and summed, after the first maps; in this process, on the device of ``config``,
        unless given. The result is the same on one worker and on many.

    Raises
    ------
    InputError
        If the mask or the initial map do not fit the particles, or there are too few of them.
    """
    config = AverageConfig() if config is None else config
    box = particles.box
    for name, volume in (("mask", config.mask), ("initial map", config.initial)):
        if isinstance(volume, Tensor) and tuple(volume.shape) != (box,) * 3:
            raise InputError(
                f"the {name} has shape {tuple(volume.shape)}, the particles have boxes of {box}",
                cure="crop, pad or resample it to the box and voxel size of the particles",
            )
    # Loaded once, and not for each half and iteration; and looked at before first maps take their time.
    if config.method == "gumnet":
        model = as_network(config.model)
        check_box(model, box)
        config = replace(config, model=model)
    elif config.method == "matched":
        config = replace(config, model=as_filter(config.model))
    place = Place(config.device, workers=1) if place is None else place
    with place.keeping() as place:
        return _average(particles, config, on_iteration, on_start, Checkpoint(journal), place)


def _average(
    particles: Particles,
    config: AverageConfig,
    on_iteration: OnIteration | None,
    on_start: OnStart | None,
    kept: Checkpoint,
    place: Place,
) -> Average:
    particles = assign_half_sets(particles, config.seed)
    # Every iteration reads them twice or more. The result holds them as they came, so that nothing stays in memory.
    # What is kept would travel to workers, who read for themselves.
    alone = place.cluster is None and place.count() == 1
    read = particles.cached() if config.iterations and alone else particles
    average_of = partial(_average_of, config=config, on_iteration=on_iteration, kept=kept, place=place)
    if config.finds_symmetry:
        config = replace(config, symmetry="C1")  # until there are half maps to find it from
    if config.classes > 1:
        found = _classes(read, config, average_of, on_start, kept)
    else:
        found = average_of(read, _beginning(read, config, on_start, kept))
    return replace(found, particles=replace(particles, poses=found.particles.poses, classes=found.particles.classes))


def _average_of(
    particles: Particles,
    beginning: Beginning | None,
    *,
    config: AverageConfig,
    on_iteration: OnIteration | None,
    kept: Checkpoint,
    place: Place | None,
    class_number: int = 1,
) -> Average:
    """Return the average of particles of one class, with the symmetry that it has if that is to be found."""
    plain = replace(config, symmetry="C1") if config.finds_symmetry else config
    made = iterate(
        particles,
        plain,
        beginning,
        class_number=class_number,
        on_iteration=on_iteration,
        kept=kept,
        place=place,
    )
    if not config.finds_symmetry:
        return made
    return with_found_symmetry(
        made, particles, plain, class_number=class_number, on_iteration=on_iteration, kept=kept, place=place
    )


def _beginning(
    particles: Particles, config: AverageConfig, on_start: OnStart | None, kept: Checkpoint
) -> Beginning | None:
    """Return what the halves of one class start from; None where they start from their own averages or poses."""
    if not config.iterations or (config.start == "blob" and config.initial is None):
        return None
    if config.initial is not None:
        return Beginning((config.initial, config.initial), START_SHELLS, True, (), (_GIVEN,))
    halves = [particles.select(rows_of_half(particles, half)) for half in (1, 2)]
    return begin(halves, particles, config, on_start, kept)


def _classes(
    particles: Particles,
    config: AverageConfig,
    average_of: Callable[..., Average],
    on_start: OnStart | None,
    kept: Checkpoint,
) -> Average:
    """Return the averages of several classes; the first is that of the largest class, with all particles."""
    first = None
    if config.iterations:
        first = find(particles, config, "all particles", config.classes, on_start, kept)
        labels = first.classes.argmax(dim=1) + 1
    else:
        labels = particles.classes
        if not bool(((labels >= 1) & (labels <= config.classes)).all()):
            raise InputError(
                f"the particles' classes are not 1 to {config.classes}", cure="give the number of classes of the table"
            )
    particles = replace(particles, classes=labels)
    parts: list[Average] = []
    posed: list[tuple[Tensor, Poses]] = []
    notes: list[str] = [] if first is None else [STARTED_TOGETHER.format(first.shells), *first.notes]
    for number in range(1, config.classes + 1):
        rows = torch.nonzero(labels == number)[:, 0]
        some = particles.select(rows)
        if min(int((some.half_sets == half).sum()) for half in (1, 2)) < _LEAST_PARTICLES:
            notes.append(f"Class {number} has {len(rows)} particles, too few for two halves: it was not averaged.")
            # Its particles stay where the first map of the class, or the table, has them.
            found_at = some.poses if first is None else Poses.of(first.poses.rotations[rows], first.poses.shifts[rows])
            posed.append((rows, found_at))
            continue
        start = None if first is None else Beginning((first.maps[number - 1],) * 2, first.shells, True, (), ())
        made = average_of(some, start, class_number=number)
        parts.append(made)
        posed.append((rows, made.particles.poses))
    if not parts:
        raise InputError("no class has particles in both halves", cure="ask for fewer classes")
    order = torch.argsort(torch.cat([rows for rows, _ in posed]))
    poses = Poses.concatenate([of_class for _, of_class in posed])[order]
    largest = max(parts, key=lambda part: len(part.particles))
    return replace(
        largest,
        particles=particles.with_poses(poses),
        history=tuple(step for part in parts for step in part.history),
        starts=() if first is None else first.history,
        notes=(*notes, *largest.notes),
        classes=tuple(parts),
    )
