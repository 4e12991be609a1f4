"""The particles of an average: where they are seen from, and how sure their poses are."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import torch

from gumnet.averaging.misfits import fits
from gumnet.report.average_files import FITS, class_number
from gumnet.report.page import Section, Table
from gumnet.report.plots import histogram_figure
from gumnet.report.sphere import coverage, seen_from, sphere_figure

if TYPE_CHECKING:
    from torch import Tensor

    from gumnet.averaging.result import Average
    from gumnet.report.plots import Figure

FLAGGED_BELOW = 0.5
"""Confidence below which a particle is flagged: its rotation is as likely wrong as right."""
_MOST_LISTED = 200


def orientation_words(average: Average) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return how viewing directions cover the sphere, in words, and as notes those that are not even.

    Each class has a frame of its own, so each is looked at by itself.
    """
    parts = average.classes or (average,)
    found = [coverage(seen_from(part.particles.poses.rotations)) for part in parts]
    said = [
        f"Class {class_number(part)}: {each.words()}" if average.classes else each.words()
        for part, each in zip(parts, found, strict=True)
    ]
    return tuple(said), tuple(words for words, each in zip(said, found, strict=True) if each.is_preferred)


def orientation_section(average: Average) -> Section:
    """Return the distribution of orientations; of several classes the figure shows the largest."""
    shown = max(average.classes, key=lambda part: len(part.particles), default=average)
    caption = (
        "Directions of the beam and of the tilt axis of the particles, in the map's frame (Mollweide: equal areas; "
        "z is up). Colour is the density, smoothed; points are particles. Symmetry, if there is any, is not applied."
    )
    if average.classes:
        caption += " Of the largest class: each class has a frame of its own."
    figure = sphere_figure(shown.particles.poses.rotations, caption=caption)
    return Section("Orientations", orientation_words(average)[0], (figure,))


def flagged(average: Average) -> Tensor:
    """Return the rows of particles whose confidence is below `FLAGGED_BELOW`, least sure first."""
    confidences = average.particles.poses.confidences
    if confidences is None:
        return torch.zeros(0, dtype=torch.int64)
    order = confidences.nan_to_num(nan=torch.inf).argsort(stable=True)
    return order[confidences[order] < FLAGGED_BELOW]


def sureness_words(average: Average) -> tuple[str, tuple[str, ...]]:
    """Return how sure poses are, in words, and a note where particles are flagged."""
    confidences = average.particles.poses.confidences
    if confidences is None or not bool(confidences.isfinite().any()):
        return "Poses have no confidences: none were computed in this run.", ()
    n, low = len(confidences), len(flagged(average))
    unknown = int(confidences.isnan().sum())
    rest = f" {unknown} have none." if unknown else ""
    if not low:
        return f"All confidences are {FLAGGED_BELOW:g} or more.{rest}", ()
    note = (
        f"{low} of {n} particles ({100 * low / n:.0f} %) have a confidence below {FLAGGED_BELOW:g}: they are flagged "
        f"by column gumnetConfidence of particles.star, and are in the average, not dropped.{rest}"
    )
    return note, (note,)


def misfit_words(average: Average) -> tuple[str, ...]:
    """Return how many particles fit none of the classes, as a note; nothing where all fit, or none has a score."""
    particles = average.particles
    found = fits(particles)
    if found is None or bool(found.all()):
        return ()
    n, low = len(found), int((~found).sum())
    kind = "fit no class" if average.classes else "do not fit the map"
    of_class = ""
    if average.classes:
        sizes = Counter(sorted(particles.classes[~found].tolist()))
        of_class = f" ({', '.join(f'{size} of class {number}' for number, size in sizes.items())})"
    return (
        f"{low} of {n} particles ({100 * low / n:.0f} %){of_class} {kind}: their "
        f"scores are far below those of the others. Column {FITS} of particles.star has 0 for them; they are in the "
        "average, not dropped.",
    )


def reproduced_words(average: Average) -> tuple[str, ...]:
    """Return how many poses were found again on the map of the other half, of each class by itself."""
    parts = average.classes or (average,)
    return tuple(
        f"Class {class_number(part)}: {part.reproduced.words()}" if average.classes else part.reproduced.words()
        for part in parts
        if part.reproduced is not None
    )


def sureness_section(average: Average) -> Section:
    """Return scores, confidences and shifts as histograms, and the flagged particles by name."""
    particles = average.particles
    poses = particles.poses
    figures = [
        figure
        for figure in (
            _histogram(poses.scores, "score", "Scores of the particles with their half's map.", "scores"),
            _histogram(
                poses.confidences,
                "confidence",
                "How probable it is that a rotation is right to 15°, if the particle is of this structure.",
                "confidences",
                (0.0, 1.0),
            ),
            _histogram(
                torch.linalg.vector_norm(poses.shifts, dim=-1),
                "shift (voxels)",
                "Lengths of the shifts of the particles.",
                "shifts",
            ),
        )
        if figure is not None
    ]
    rows = flagged(average).tolist()
    tables: tuple[Table, ...] = ()
    if rows and poses.confidences is not None:
        cells = tuple(
            (particles.names[i], f"{float(poses.confidences[i]):.3f}", f"{float(poses.scores[i]):.3f}")
            for i in rows[:_MOST_LISTED]
        )
        which = f", the {_MOST_LISTED} least sure" if len(rows) > _MOST_LISTED else ""
        tables = (Table(f"Flagged particles{which}", ("Particle", "Confidence", "Score"), cells, folded=True),)
    found = fits(particles)
    misfits = [] if found is None else torch.nonzero(~found)[:, 0].tolist()
    if misfits:
        misfits.sort(key=lambda row: float(poses.scores[row]))
        listed = tuple(
            (particles.names[row], f"{float(poses.scores[row]):.3f}", str(int(particles.classes[row]) or ""))
            for row in misfits[:_MOST_LISTED]
        )
        which = f", the {_MOST_LISTED} lowest" if len(misfits) > _MOST_LISTED else ""
        tables += (Table(f"Particles that do not fit{which}", ("Particle", "Score", "Class"), listed, folded=True),)
    words = (sureness_words(average)[0], *reproduced_words(average), *misfit_words(average))
    return Section("Scores and confidence", words, tuple(figures), tables)


def _histogram(
    values: Tensor | None, what: str, caption: str, name: str, span: tuple[float, float] | None = None
) -> Figure | None:
    """Return a histogram of the finite values, None where there are none."""
    finite = torch.zeros(0) if values is None else values[values.isfinite()].double().cpu()
    if not len(finite):
        return None
    low, high = (min(0.0, float(finite.min())), float(finite.max())) if span is None else span
    marks = {"mean": float(finite.mean()), "median": float(finite.median())}
    high = high if high > low else low + 1.0
    return histogram_figure(finite, limit=high, start=low, xlabel=what, marks=marks, caption=caption, name=name)
