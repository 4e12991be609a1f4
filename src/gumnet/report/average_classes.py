"""The classes of an average: how many particles each has, what it looks like and how good it is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from gumnet.averaging.fsc import GOLD_STANDARD_THRESHOLD
from gumnet.report.average_files import class_folder, class_number
from gumnet.report.average_particles import FLAGGED_BELOW, flagged
from gumnet.report.page import Section, Table
from gumnet.report.plots import SERIES, Figure, fsc_figure, resolution_text
from gumnet.report.slices import slices_figure

if TYPE_CHECKING:
    from gumnet.averaging.result import Average

SHOWN_CLASSES = 8
"""Most classes in figures, so that a page of many stays small; tables have all."""


def classes_section(average: Average) -> Section:
    """Return the classes: a row each in the table, a row each of slices, and their correlations."""
    classes, labels = average.classes, average.particles.classes
    made = {class_number(one): one for one in classes}
    numbers = sorted(set(labels.tolist()) | set(made))
    total = len(labels)
    rows = []
    for number in numbers:
        size = int((labels == number).sum())
        one = made.get(number)
        rows.append(
            (
                f"class {number}" if number else "no class",
                str(size),
                f"{100 * size / total:.1f} %",
                "not averaged" if one is None else resolution_text(one.resolution_angstrom),
                "" if one is None else f"{_mean(one):.3f}",
                "" if one is None else str(len(flagged(one))),
                "" if one is None else f"{class_folder(number)}/",
            )
        )
    shown = {f"class {number}": made[number] for number in sorted(made)[:SHOWN_CLASSES]}
    figures: list[Figure] = [
        slices_figure(
            {name: one.map for name, one in shown.items()},
            average.particles.voxel_size_angstrom,
            caption="Central slices of the averages of the classes; each row has a grey scale of its own.",
            name="classes",
        )
    ]
    drawn = dict(list(shown.items())[: len(SERIES)])
    which = "each class" if len(drawn) == len(made) else f"the first {len(drawn)} classes"
    figures.append(
        fsc_figure(
            {name: one.fsc for name, one in drawn.items()},
            voxel_size_angstrom=average.particles.voxel_size_angstrom,
            box=average.particles.box,
            thresholds={name: (GOLD_STANDARD_THRESHOLD, one.resolution_angstrom) for name, one in drawn.items()},
            caption=f"Fourier shell correlation of the half maps of {which}.",
            name="fsc_classes",
        )
    )
    words = f"{total} particles in {len(numbers)} classes; the map above is that of the largest."
    if len(made) > SHOWN_CLASSES:
        words += f" The figure shows the first {SHOWN_CLASSES}; the table has all."
    header = ("Class", "Particles", "Share", "Resolution", "Mean score", f"Confidence below {FLAGGED_BELOW:g}", "Files")
    return Section("Classes", (words,), tuple(figures), (Table("Classes", header, tuple(rows)),))


def _mean(one: Average) -> float:
    """Return the mean score of a class, NaN where it has none."""
    scores = one.particles.poses.scores
    return float(scores.nanmean()) if bool(torch.isfinite(scores).any()) else math.nan
