"""The report of an average: its parts in order, and the map itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gumnet.averaging.fsc import GOLD_STANDARD_THRESHOLD
from gumnet.devices import seeded
from gumnet.geometry.fourier import resize
from gumnet.report.average_classes import SHOWN_CLASSES, classes_section
from gumnet.report.average_files import class_number
from gumnet.report.average_particles import (
    misfit_words,
    orientation_section,
    orientation_words,
    sureness_section,
    sureness_words,
)
from gumnet.report.average_resolution import half_map_curves, half_map_words, resolution_section
from gumnet.report.average_steps import convergence_section, starts_section
from gumnet.report.average_symmetry import symmetry_name, symmetry_section
from gumnet.report.chimerax import contour_level
from gumnet.report.page import Section, write_report
from gumnet.report.plots import Figure, resolution_text, write_figures
from gumnet.report.render import surface_figure
from gumnet.report.sections import provenance_section
from gumnet.report.slices import slices_figure
from gumnet.report.surface import BOXES, packed_surfaces
from gumnet.report.viewer import Viewer
from gumnet.resolution.conical import conical_fsc

if TYPE_CHECKING:
    from gumnet.averaging.result import Average
    from gumnet.resolution.conical import ConicalFsc

REPORT, FIGURES = "report.html", "figures"
_MOST_MESH_BYTES = 3_000_000
_TIGHTER = 0.35
"""The second level lies this share of the way from the first to the highest density."""


def key_figures(average: Average) -> list[tuple[str, str]]:
    """Return the few numbers that say how an average came out."""
    halves = average.particles.half_sets
    checks = [part.reproduced for part in average.classes or (average,) if part.reproduced is not None]
    again = f"{sum(check.found_again for check in checks)} of {sum(check.checked for check in checks)}"
    return [
        *(
            (f"Resolution, FSC {GOLD_STANDARD_THRESHOLD:g} of {name}", resolution_text(value))
            for name, value in half_map_curves(average)[1].items()
        ),
        ("Particles, in halves of", f"{int((halves == 1).sum())} + {int((halves == 2).sum())}"),
        ("Voxel size", f"{average.particles.voxel_size_angstrom:g} Å"),
        ("Iterations", str(max((step.number for step in average.history), default=0))),
        *([("Poses found again on the other half's map", again)] if checks else []),
        *([("Classes", str(len(average.classes)))] if average.classes else []),
        *([("Symmetry found", name)] if (name := symmetry_name(average)) is not None else []),
    ]


def write_average_report(
    folder: Path,
    average: Average,
    *,
    lead: str,
    command: str,
    versions: Mapping[str, str],
    settings: Mapping[str, str],
    seconds: Mapping[str, float],
    seed: int = 0,
    overwrite: bool = False,
) -> list[str]:
    """Write ``report.html`` and the figures of it, as PNG and SVG, to ``folder``; return the notes at its top.

    Parameters
    ----------
    lead
        What was averaged, in a sentence.
    command, versions, settings, seconds
        How to get the same again, and what took how long.
    seed
        Of the average: random phases are those that the corrected curve was made with.
    """
    cones = conical_fsc(
        average.half_maps, voxel_size_angstrom=average.particles.voxel_size_angstrom, generator=seeded(0)
    )
    sections = [
        map_section(average),
        resolution_section(average, cones, seed=seed),
        orientation_section(average),
        sureness_section(average),
        *([classes_section(average)] if average.classes else []),
        *([symmetry_section(average)] if symmetry_name(average) is not None else []),
        *([starts_section(average)] if average.starts else []),
        *([convergence_section(average)] if len(average.history) > 1 else []),
        provenance_section(command, versions, settings, seconds),
    ]
    write_report(
        folder / REPORT,
        title="Average",
        lead=lead,
        key_figures=key_figures(average),
        sections=sections,
        notes=(said := notes(average, cones)),
        overwrite=overwrite,
    )
    write_figures(folder / FIGURES, figures_of(sections), overwrite=overwrite)
    return said


def notes(average: Average, cones: ConicalFsc) -> list[str]:
    """Return what a reader should know first: what the run said, and what its result gives reason to say."""
    said = run_notes(average)
    if average.resolution_angstrom == float("inf"):
        said.append(half_map_words(average))
    elif cones.is_anisotropic:
        said.append(cones.words())
    return [*said, *orientation_words(average)[1], *sureness_words(average)[1]]


def run_notes(average: Average) -> list[str]:
    """Return what the run said; of several classes, each about its own."""
    said = list(average.notes)
    for part in average.classes:
        said += [f"Class {class_number(part)}: {note}" for note in part.notes if note not in average.notes]
    return [*said, *misfit_words(average)]


def figures_of(sections: Sequence[Section]) -> list[Figure]:
    """Return all figures of sections, those that stand in for what turns too."""
    return [
        figure for section in sections for figure in (*(viewer.still for viewer in section.viewers), *section.figures)
    ]


def map_section(average: Average) -> Section:
    """Return the map and its half maps in slices, and the map as a surface."""
    size = average.particles.voxel_size_angstrom
    slices = slices_figure(
        {"map": average.map, "half map 1": average.half_maps[0], "half map 2": average.half_maps[1]},
        size,
        caption="Central slices. Density is white; each row has a grey scale of its own.",
        name="slices",
    )
    level = contour_level(average.map)
    tight = level + _TIGHTER * (float(average.map.max()) - level)
    parts = {f"level {level:.3g}": (average.map, level), f"level {tight:.3g}": (average.map, tight)}
    if not average.classes:
        halves = zip(("half map 1", "half map 2"), average.half_maps, strict=True)
        parts |= {name: (half, contour_level(half)) for name, half in halves}
    for made in average.classes[:SHOWN_CLASSES]:
        parts[f"class {class_number(made)}"] = (made.map, contour_level(made.map))
    drawn = resize(average.map.double(), min(BOXES[0], average.map.shape[-1]))
    still = surface_figure(
        drawn,
        level,
        caption=f"Surface at a density of {level:.3g}, which encloses 3 % of the box, as in view.cxc for ChimeraX.",
    )
    viewer = Viewer(
        packed_surfaces(parts, _MOST_MESH_BYTES),
        still,
        f"Surface at a density of {level:.3g}, which encloses 3 % of the box, and at {tight:.3g}.",
    )
    return Section("Map", (), (slices,), viewers=(viewer,))
