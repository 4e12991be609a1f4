"""An average as files, and as the parts of a report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gumnet.averaging.fsc import GOLD_STANDARD_THRESHOLD, resolution_angstrom
from gumnet.devices import seeded
from gumnet.io.mrc import write_map
from gumnet.io.relion_write import write_particles
from gumnet.io.star import write_star
from gumnet.report.page import Section, Table
from gumnet.report.plots import fsc_figure, line_figure, resolution_text
from gumnet.report.sections import fsc_table
from gumnet.report.slices import slices_figure
from gumnet.resolution.conical import conical_fsc

if TYPE_CHECKING:
    from torch import Tensor

    from gumnet.averaging.result import Average, Iteration

MAP, HALF_MAPS, FSC, PARTICLES, REPORT = (
    "map.mrc",
    ("half1.mrc", "half2.mrc"),
    "fsc.star",
    "particles.star",
    "report.html",
)

_NO_RESOLUTION = 999.0
"""What RELION writes for the resolution of shell 0."""


def write_average(folder: Path, average: Average, *, overwrite: bool = False) -> None:
    """Write the map, the half maps, their correlation and the particles to ``folder``.

    ``fsc.star`` has the columns of RELION: shell, 1/Å, Å and correlation.
    """
    import pandas as pd

    size, box = average.particles.voxel_size_angstrom, average.particles.box
    write_map(folder / MAP, average.map, size, overwrite=overwrite)
    for name, half in zip(HALF_MAPS, average.half_maps, strict=True):
        write_map(folder / name, half, size, overwrite=overwrite)
    shells = range(box // 2 + 1)
    table = pd.DataFrame(
        {
            "rlnSpectralIndex": list(shells),
            "rlnResolution": [shell / (box * size) for shell in shells],
            "rlnAngstromResolution": [box * size / shell if shell else _NO_RESOLUTION for shell in shells],
            "rlnFourierShellCorrelation": average.fsc.tolist(),
        }
    )
    blocks: dict[str, pd.DataFrame | dict[str, float]] = {"fsc": table}
    if math.isfinite(average.resolution_angstrom):
        blocks = {"general": {"rlnFinalResolution": average.resolution_angstrom}, **blocks}
    write_star(folder / FSC, blocks, overwrite=overwrite)
    write_particles(folder / PARTICLES, average.particles, overwrite=overwrite)


def key_figures(average: Average) -> list[tuple[str, str]]:
    """Return the few numbers that say how an average came out."""
    halves = average.particles.half_sets
    return [
        *(
            (f"Resolution, FSC {GOLD_STANDARD_THRESHOLD:g} of {name}", resolution_text(value))
            for name, value in half_map_curves(average)[1].items()
        ),
        ("Particles, in halves of", f"{int((halves == 1).sum())} + {int((halves == 2).sum())}"),
        ("Voxel size", f"{average.particles.voxel_size_angstrom:g} Å"),
        ("Iterations", str(len(average.history))),
    ]


def map_section(average: Average) -> Section:
    """Return the map and its half maps in slices, and their correlation."""
    size, box = average.particles.voxel_size_angstrom, average.particles.box
    curves, reached = half_map_curves(average)
    slices = slices_figure(
        {"map": average.map, "half map 1": average.half_maps[0], "half map 2": average.half_maps[1]},
        size,
        caption="Central slices. Density is white; each row has a grey scale of its own.",
    )
    curve = fsc_figure(
        curves,
        voxel_size_angstrom=size,
        box=box,
        thresholds={name: (GOLD_STANDARD_THRESHOLD, value) for name, value in reached.items()},
        caption="Fourier shell correlation of the half maps.",
    )
    words: tuple[str, ...] = (half_map_words(average),)
    if math.isfinite(average.resolution_angstrom):
        words = (*words, direction_words(average))
    return Section("Map", words, (slices, curve), (fsc_table(curves, voxel_size_angstrom=size, box=box),))


def half_map_curves(average: Average) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Return the correlation of the half maps and the resolution it gives, by name; with a mask, also without it.

    A mask can correlate two maps by itself, most where the signal is weak; the curve without shows how much.
    """
    size, box = average.particles.voxel_size_angstrom, average.particles.box
    whole = average.fsc_unmasked
    if torch.equal(whole, average.fsc):
        return {"half maps": average.fsc}, {"half maps": average.resolution_angstrom}
    curves = {"half maps in mask": average.fsc, "half maps, no mask": whole}
    reached = (average.resolution_angstrom, resolution_angstrom(whole, size, box))
    return curves, dict(zip(curves, reached, strict=True))


def half_map_words(average: Average) -> str:
    """Return what the correlation of the half maps says, in a sentence or two."""
    _, reached = half_map_curves(average)
    if not math.isfinite(average.resolution_angstrom):
        return "The half maps do not agree at any resolution: the poses are not right, or there are too few particles."
    size = average.particles.voxel_size_angstrom
    alone = (
        "They were aligned and averaged apart from each other, so noise that fits itself does not count; what putting "
        "one half on the other adds is taken off."
        if average.history
        else "They are as independent as the poses of the table are."
    )
    inside, *whole = map(resolution_text, reached.values())
    agree = f"{inside} within the mask and to {whole[0]} without it" if whole else inside
    return (
        f"The half maps agree to {agree} (FSC {GOLD_STANDARD_THRESHOLD:g}; voxels of {size:g} Å hold no more than "
        f"{2 * size:g} Å). {alone}"
    )


def direction_words(average: Average) -> str:
    """Return whether the resolution depends on the direction, in a sentence."""
    size = average.particles.voxel_size_angstrom
    found = conical_fsc(average.half_maps, voxel_size_angstrom=size, generator=seeded(0))
    return found.words()


def iteration_words(step: Iteration) -> str:
    """Return what an iteration did, in a line."""
    return (
        f"iteration {step.number}: aligned to {step.band_angstrom:.0f} Å, mean score {step.mean_score:.3f}, rotations "
        f"moved by {step.mean_change_degrees:.1f}°, half maps agree to {resolution_text(step.resolution_angstrom)}"
    )


def convergence_section(average: Average) -> Section:
    """Return what each iteration did."""
    history = average.history
    numbers = [step.number for step in history]
    resolutions = [
        step.resolution_angstrom if math.isfinite(step.resolution_angstrom) else math.nan for step in history
    ]
    figures = (
        line_figure(
            numbers,
            {"half maps agree to": resolutions, "used to align": [step.band_angstrom for step in history]},
            xlabel="iteration",
            ylabel="resolution (Å)",
            caption="Resolution of the half maps after each iteration, and the band that its alignment used.",
        ),
        line_figure(
            numbers[1:],
            {"rotation": [step.mean_change_degrees for step in history[1:]]},
            xlabel="iteration",
            ylabel="mean change (degrees)",
            caption="How far rotations moved from one iteration to the next. The first starts from none.",
        ),
    )
    rows = tuple(
        (
            str(step.number),
            f"{step.band_angstrom:.1f}",
            resolution_text(step.resolution_angstrom),
            f"{step.mean_score:.3f}",
            f"{step.mean_change_degrees:.2f}",
            f"{step.mean_change_voxels:.2f}",
        )
        for step in history
    )
    header = ("Iteration", "Band (Å)", "Resolution", "Mean score", "Change (degrees)", "Change (voxels)")
    return Section("Convergence", (), figures, (Table("What each iteration did", header, rows, folded=True),))
