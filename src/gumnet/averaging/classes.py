"""Averages of several classes: sorted by first maps of all particles, then each averaged by itself.

The first map of a class goes on to finer shells with its own particles (`gumnet.averaging.first_search.finer`).

Classes that come out as one structure are noticed (`gumnet.averaging.duplicates`), and put together if asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gumnet.averaging.begin import Beginning
from gumnet.averaging.checkpoint import Checkpoint
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.cross_check import cross_checked
from gumnet.averaging.duplicates import Pair, duplicate_words, duplicates
from gumnet.averaging.first_search import find, finer
from gumnet.averaging.found_symmetry import with_found_symmetry
from gumnet.averaging.iterate import iterate
from gumnet.averaging.result import Average, OnIteration, OnStart
from gumnet.engine.place import Place
from gumnet.errors import InputError
from gumnet.particles import Particles, Poses
from gumnet.types import Labels

_LEAST_PARTICLES = 2
_STARTED_TOGETHER = (
    "Both halves of a class start from one map of all its particles, up to shell {}: only finer shells are independent."
)
_MERGED_ITERATIONS = 1
"""Iterations of classes that were put together: one search, on the map of the first."""


@dataclass(frozen=True)
class OneClass:
    """How the particles of one class are averaged.

    Parameters
    ----------
    settings
        All that was asked for.
    on_iteration, kept, place
        See `iterate`.
    """

    settings: AverageConfig
    on_iteration: OnIteration | None
    kept: Checkpoint
    place: Place | None

    @property
    def config(self) -> AverageConfig:
        """The settings until there are half maps to find a symmetry from."""
        return replace(self.settings, symmetry="C1") if self.settings.finds_symmetry else self.settings

    def average(self, particles: Particles, beginning: Beginning | None, *, class_number: int = 1) -> Average:
        """Return the average of particles from what they begin with."""
        return iterate(
            particles,
            self.config,
            beginning,
            class_number=class_number,
            on_iteration=self.on_iteration,
            kept=self.kept,
            place=self.place,
        )

    def merged(self, particles: Particles, before: Average, *, class_number: int) -> Average:
        """Return the average of the particles of several classes, at poses on the map of the first, ``before``."""
        iterations = len(before.history) + _MERGED_ITERATIONS if self.config.iterations else 0
        return iterate(
            particles,
            replace(self.config, iterations=iterations),
            None,
            class_number=class_number,
            on_iteration=self.on_iteration,
            kept=self.kept.within("merged"),
            place=self.place,
            before=before,
        )

    def finished(self, made: Average, particles: Particles, *, class_number: int = 1) -> Average:
        """Return an average with the symmetry that it has, if that is to be found."""
        if not self.settings.finds_symmetry:
            return made
        return with_found_symmetry(
            made,
            particles,
            self.config,
            class_number=class_number,
            on_iteration=self.on_iteration,
            kept=self.kept,
            place=self.place,
        )


def average_classes(particles: Particles, one: OneClass, on_start: OnStart | None) -> Average:
    """Return the averages of several classes; the first is that of the largest class, with all particles."""
    config, first = one.config, None
    if config.iterations:
        first = find(particles, config, "all particles", config.classes, on_start, one.kept)
        labels = first.classes.argmax(dim=1) + 1
        # Where no average gives them others, particles stay where the first map of their class has them.
        particles = particles.with_poses(Poses.of(first.poses.rotations, first.poses.shifts))
    else:
        labels = particles.classes
        if not bool(((labels >= 1) & (labels <= config.classes)).all()):
            raise InputError(
                f"the particles' classes are not 1 to {config.classes}", cure="give the number of classes of the table"
            )
    particles = replace(particles, classes=labels)
    notes: list[str] = [] if first is None else list(first.notes)
    parts: dict[int, Average] = {}
    shells: dict[int, int] = {}
    for number in range(1, config.classes + 1):
        rows = rows_of(labels, number)
        some = particles.select(rows)
        if min(int((some.half_sets == half).sum()) for half in (1, 2)) < _LEAST_PARTICLES:
            notes.append(f"Class {number} has {len(some)} particles, too few for two halves: it was not averaged.")
            continue
        beginning = None
        if first is not None:
            sorted_map = first.of_class(number - 1, rows)
            of_class = finer(some, config, sorted_map, f"class {number}", on_start, one.kept)
            beginning = Beginning((of_class.maps[0],) * 2, of_class.shells, True, of_class.history, ())
            shells[number] = of_class.shells
        parts[number] = one.average(some, beginning, class_number=number)
    if shells:
        notes.insert(0, _started_together(shells))
    if not parts:
        raise InputError("no class has particles in both halves", cure="ask for fewer classes")
    pairs = duplicates(list(parts.values()), list(parts))
    notes += duplicate_words(pairs, merged=config.merge)
    if config.merge:
        particles = _merge(particles, parts, pairs, one)
    for number, made in parts.items():
        some = particles.select(rows_of(particles.classes, number))
        parts[number] = cross_checked(one.finished(made, some, class_number=number), some, one.settings, one.place)
    largest = max(parts.values(), key=lambda part: len(part.particles))
    return replace(
        largest,
        particles=particles.with_poses(_poses_of_all(particles, parts)),
        history=tuple(step for part in parts.values() for step in part.history),
        starts=() if first is None else first.history,
        notes=(*notes, *largest.notes),
        classes=tuple(parts.values()),
    )


def rows_of(labels: Labels, number: int) -> Tensor:
    """Return the rows (k,) of a class."""
    return torch.nonzero(labels == number)[:, 0]


def _started_together(shells: dict[int, int]) -> str:
    """Return up to which shells the halves of the classes, by their numbers, have their start in common."""
    words = str(min(shells.values()))
    if len(set(shells.values())) > 1:
        words = ", ".join(f"{shell} (class {number})" for number, shell in shells.items())
    return _STARTED_TOGETHER.format(words)


def _merge(particles: Particles, parts: dict[int, Average], pairs: Sequence[Pair], one: OneClass) -> Particles:
    """Put classes that are one structure together in ``parts``, and return the particles with the classes that stay."""
    labels, poses = particles.classes.clone(), _poses_of_all(particles, parts)
    for pair in pairs:
        rows = rows_of(labels, pair.second)
        labels[rows] = pair.first
        poses = replaced(poses, rows, poses[rows].compose(pair.pose))
        del parts[pair.second]
    together = replace(particles, classes=labels, poses=poses)
    for number in sorted({pair.first for pair in pairs}):
        some = together.select(rows_of(labels, number))
        parts[number] = one.merged(some, parts[number], class_number=number)
    return replace(particles, classes=labels)


def _poses_of_all(particles: Particles, parts: dict[int, Average]) -> Poses:
    """Return the poses of all particles: those of the averages, and their own where there is none."""
    poses = particles.poses
    for number, part in parts.items():
        poses = replaced(poses, rows_of(particles.classes, number), part.particles.poses)
    return poses


def replaced(poses: Poses, rows: Tensor, by: Poses) -> Poses:
    """Return n poses with those of some rows (k,) replaced by others (k)."""
    order = torch.arange(len(poses))
    order[rows] = len(poses) + torch.arange(len(rows))
    return Poses.concatenate([poses, by])[order]
