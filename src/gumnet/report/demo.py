"""The report of the demonstration, and its key picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gumnet.averaging.fsc import GOLD_STANDARD_THRESHOLD, KNOWN_STRUCTURE_THRESHOLD
from gumnet.report.average_resolution import half_map_curves, half_map_words
from gumnet.report.average_steps import convergence_section
from gumnet.report.page import Section, write_report
from gumnet.report.plots import PAGE_INK, fsc_figure, resolution_text, save, style
from gumnet.report.sections import errors_section, fsc_table, provenance_section
from gumnet.report.slices import central_slices, draw_strip, slices_figure

if TYPE_CHECKING:
    from gumnet.demo import DemoResult

NEXT_STEPS = (
    "gumnet info particles.star",
    "gumnet average particles.star --out check --iterations 0",
    "gumnet average particles.star --out average",
    "gumnet align particles.star --reference average/map.mrc --out aligned.star",
    "gumnet fsc average/half1.mrc average/half2.mrc",
)
"""What to run on one's own data, in this order."""


def demo_key_figures(result: DemoResult) -> list[tuple[str, str]]:
    """Return the few numbers that say how the demonstration came out."""
    pairs, particles = result.pair_errors.summary(), result.set_errors.summary()
    return [
        ("Resolution, FSC 0.143 of the half maps", resolution_text(result.average.resolution_angstrom)),
        ("Resolution, FSC 0.5 against the truth", resolution_text(result.truth_resolution_angstrom)),
        ("Rotation error of particles, median", f"{particles['degrees']['median']:.1f}°"),
        ("Rotation error of pairs, median", f"{pairs['degrees']['median']:.1f}°"),
        ("Time", f"{sum(result.seconds.values()):.0f} s"),
    ]


def write_demo_report(path: Path, result: DemoResult, *, command: str, versions: Mapping[str, str]) -> None:
    """Write the report of the demonstration, replacing an older one."""
    config = result.config
    settings = {
        "Pairs": f"{config.pairs} at SNR {config.pair_snr:g}",
        "Particles": f"{config.particles} at SNR {config.particle_snr:g}",
        "Box": f"{config.box} voxels of {config.voxel_size_angstrom:g} Å",
        "Iterations": str(config.iterations),
        "Seed": str(config.seed),
        "Device": config.device,
    }
    sections = [
        _map_section(result),
        errors_section(
            "Poses of the particles",
            f"The average was made from {config.particles} particles without a reference, so it may lie turned and "
            "shifted as a whole. That one rigid transformation was found and removed before poses were compared.",
            result.set_errors,
        ),
        convergence_section(result.average),
        errors_section(
            "Poses of the pairs",
            f"{config.pairs} pairs of noisy volumes, each pair aligned on its own by exhaustive search. Expect "
            "larger errors than those of the particles: here noise is in both volumes, while those were aligned to "
            "an average of many.",
            result.pair_errors,
        ),
        Section(
            "On your own data",
            (
                "Give a RELION table of subtomograms (version 3.0 to 5, 3D or 2D tilt stacks). These say what it "
                "holds, average it at its own poses, average it without a reference, align it to a map, and compare "
                "half maps:",
            ),
            commands=NEXT_STEPS,
        ),
        provenance_section(command, versions, settings, result.seconds),
    ]
    write_report(
        path,
        title="gumnet demo",
        lead=f"{config.particles} noisy volumes of a phantom became one map. The truth is known, so it can be checked.",
        key_figures=demo_key_figures(result),
        sections=sections,
        notes=result.average.notes,
        overwrite=True,
    )


def write_overview(path: Path, result: DemoResult) -> None:
    """Write the key picture as PNG, on white: one particle, the map and the truth, each in one slice."""
    # The slice in which the structure shows most.
    across = int(torch.stack([plane.std() for plane in central_slices(result.truth)]).argmax())
    maps = {
        f"one of {result.config.particles} particles": result.particle,
        f"their average, {resolution_text(result.truth_resolution_angstrom)}": result.on_truth[0],
        "the truth": result.truth,
    }
    with style(PAGE_INK):
        drawing = draw_strip(maps, result.config.voxel_size_angstrom, across=across, ink=PAGE_INK)
        save(drawing, path, overwrite=True)


def _map_section(result: DemoResult) -> Section:
    size, box = result.config.voxel_size_angstrom, result.config.box
    curves, reached = half_map_curves(result.average)
    curves["map and truth"] = result.truth_curve
    maps = {
        "one particle": result.particle,
        "map": result.on_truth[0],
        "half map 1": result.on_truth[1],
        "half map 2": result.on_truth[2],
        "truth": result.truth,
    }
    slices = slices_figure(
        maps,
        size,
        caption="Central slices; density is white, each row has a grey scale of its own. Maps were turned onto the "
        "truth; the particle is as it was simulated, in a pose of its own.",
    )
    curve = fsc_figure(
        curves,
        voxel_size_angstrom=size,
        box=box,
        thresholds={
            **{name: (GOLD_STANDARD_THRESHOLD, value) for name, value in reached.items()},
            "map and truth": (KNOWN_STRUCTURE_THRESHOLD, result.truth_resolution_angstrom),
        },
        caption="Fourier shell correlation of the half maps, and of the map with the phantom.",
    )
    words = (
        half_map_words(result.average)
        + f" With the phantom itself the map agrees to {resolution_text(result.truth_resolution_angstrom)} "
        f"(FSC {KNOWN_STRUCTURE_THRESHOLD:g})."
    )
    table = fsc_table(curves, voxel_size_angstrom=size, box=box)
    return Section("Map", (words,), (slices, curve), (table,))
