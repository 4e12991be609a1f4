"""How an average came about: the first maps, and what each iteration did."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gumnet.report.average_classes import SHOWN_CLASSES
from gumnet.report.page import Section, Table
from gumnet.report.plots import Figure, line_figure, resolution_text

if TYPE_CHECKING:
    from gumnet.averaging.result import Average, Iteration
    from gumnet.averaging.start import StartStep


def iteration_words(step: Iteration) -> str:
    """Return what an iteration did, in a line."""
    return (
        f"iteration {step.number}: aligned to {step.band_angstrom:.0f} Å, mean score {step.mean_score:.3f}, rotations "
        f"moved by {step.mean_change_degrees:.1f}°, half maps agree to {resolution_text(step.resolution_angstrom)}"
    )


def searches(starts: tuple[StartStep, ...]) -> list[dict[int, list[StartStep]]]:
    """Return the steps of each search for first maps, by number of the start.

    Searches, such as those of the two halves, follow each other. In one the band never falls, and in its first, where
    all starts take part in order, neither does the number of the start.
    """
    found: list[dict[int, list[StartStep]]] = []
    first, last = None, None
    for step in starts:
        fell = (
            last is not None
            and first is not None
            and (step.shells < last.shells or (step.shells == first.shells and step.start < last.start))
        )
        if first is None or fell:
            found.append({})
            first = step
        found[-1].setdefault(step.start, []).append(step)
        last = step
    return found


def starts_section(average: Average) -> Section:
    """Return the evidence of each random start of the first maps, step by step."""
    figures: list[Figure] = []
    rows: list[tuple[str, ...]] = []
    parts = searches(average.starts)
    for number, search in enumerate(parts, start=1):
        longest = max(map(len, search.values()))
        which = f" of search {number} of {len(parts)}" if len(parts) > 1 else ""
        bands = {steps[-1].shells for steps in search.values()}
        given_up = " Starts that end in a coarser band than others were behind, and given up." if len(bands) > 1 else ""
        figures.append(
            line_figure(
                list(range(1, longest + 1)),
                {f"start {start}": [step.evidence for step in steps] for start, steps in sorted(search.items())},
                xlabel="step",
                ylabel="evidence a particle",
                caption=f"Evidence of each random start{which}.{given_up}",
                name=f"starts_{number}" if len(parts) > 1 else "starts",
            )
        )
        for start, steps in sorted(search.items()):
            end = steps[-1]
            shares = ", ".join(f"{100 * share:.0f} %" for share in end.shares)
            rows.append(
                (
                    f"{number}, start {start}",
                    str(len(steps)),
                    str(end.shells),
                    f"{end.evidence:.3f}",
                    f"{end.sureness:.2f}",
                    shares,
                )
            )
    header = ("Search and start", "Steps", "Last shell", "Evidence", "Sureness", "Shares of classes")
    words = (
        "First maps grow from random orientations, or from pairs where a note says so. Evidence is the mean logarithm "
        "of how much likelier maps of the other particles make a particle than no structure does; it may fall where "
        "the band widens."
    )
    if len(parts) == 2:
        words += " Half 1 and half 2 searched apart from each other."
    elif len(parts) == 3:
        words += " Half 1 and half 2 searched apart from each other, then all particles together."
    return Section(
        "First maps", (words,), tuple(figures), (Table("How starts ended", header, tuple(rows), folded=True),)
    )


def convergence_section(average: Average) -> Section:
    """Return what each iteration did, of each class apart from the others."""
    figures: list[Figure] = []
    classes = sorted({step.class_number for step in average.history})
    for number in classes[:SHOWN_CLASSES]:
        history = [step for step in average.history if step.class_number == number]
        which = f" Class {number}." if len(classes) > 1 else ""
        numbers = [step.number for step in history]
        resolutions = [
            step.resolution_angstrom if math.isfinite(step.resolution_angstrom) else math.nan for step in history
        ]
        ending = f"_class_{number}" if len(classes) > 1 else ""
        figures.append(
            line_figure(
                numbers,
                {"half maps agree to": resolutions, "used to align": [step.band_angstrom for step in history]},
                xlabel="iteration",
                ylabel="resolution (Å)",
                caption=f"Resolution of the half maps after each iteration, and the band it was aligned in.{which}",
                name=f"convergence{ending}",
            )
        )
        if len(history) > 1:
            figures.append(
                line_figure(
                    numbers[1:],
                    {"rotation": [step.mean_change_degrees for step in history[1:]]},
                    xlabel="iteration",
                    ylabel="mean change (degrees)",
                    caption=f"How far rotations moved from one iteration to the next.{which}",
                    name=f"changes{ending}",
                )
            )
    rows = tuple(
        (
            f"{step.number}" + (f", class {step.class_number}" if len(classes) > 1 else ""),
            f"{step.band_angstrom:.1f}",
            resolution_text(step.resolution_angstrom),
            f"{step.mean_score:.3f}",
            f"{step.mean_change_degrees:.2f}",
            f"{step.mean_change_voxels:.2f}",
        )
        for step in average.history
    )
    header = ("Iteration", "Band (Å)", "Resolution", "Mean score", "Change (degrees)", "Change (voxels)")
    return Section("Convergence", (), tuple(figures), (Table("What each iteration did", header, rows, folded=True),))
