"""The resolution of an average: correlations of its half maps, in all directions together and in each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from gumnet.averaging.fsc import GOLD_STANDARD_THRESHOLD
from gumnet.devices import seeded
from gumnet.report.page import Section
from gumnet.report.plots import INK, WIDTH_INCHES, Figure, finish, fsc_figure, resolution_text, style
from gumnet.report.sections import fsc_table
from gumnet.resolution.claim import claimed_resolution_angstrom
from gumnet.resolution.conical import cone_fsc, direction_words
from gumnet.resolution.phase_randomisation import phase_randomisation

if TYPE_CHECKING:
    from torch import Tensor

    from gumnet.averaging.result import Average
    from gumnet.resolution.conical import ConicalFsc

MASKED, WHOLE = "half maps in mask, corrected", "half maps, no mask"
NOT_CORRECTED, RANDOM = "in mask, not corrected", "in mask, random phases"


def half_map_curves(average: Average) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Return the correlation of the half maps and the resolution it gives, by name; with a mask, also without it.

    A mask can correlate two maps by itself, most where the signal is weak; the curve without shows how much.
    """
    size, box = average.particles.voxel_size_angstrom, average.particles.box
    whole = average.fsc_unmasked
    if torch.equal(whole, average.fsc):
        return {"half maps": average.fsc}, {"half maps": average.resolution_angstrom}
    curves = {MASKED: average.fsc, WHOLE: whole}
    reached = (
        average.resolution_angstrom,
        claimed_resolution_angstrom(whole, size, box, shared_shells=average.shared_shells),
    )
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


def resolution_section(average: Average, cones: ConicalFsc, *, seed: int = 0) -> Section:
    """Return the correlation of the half maps: in the mask if there is one, without it, at random, and by direction.

    Parameters
    ----------
    cones
        Of the half maps, without mask.
    seed
        Of the average: random phases are those that its curve was corrected with.
    """
    size, box = average.particles.voxel_size_angstrom, average.particles.box
    curves, reached = half_map_curves(average)
    caption = "Fourier shell correlation of the half maps."
    if average.mask is not None:
        found = phase_randomisation(
            average.half_maps.cpu(), average.mask.cpu(), voxel_size_angstrom=size, generator=seeded(seed)
        )
        curves = {**curves, NOT_CORRECTED: found.masked, RANDOM: found.randomised}
        caption += (
            " In the mask, what the mask adds is taken off: it is what still correlates in it with random phases"
            + (f" from shell {found.randomised_from_shell} on." if found.randomised_from_shell else " (none are here).")
        )
    whole = fsc_figure(
        curves,
        voxel_size_angstrom=size,
        box=box,
        thresholds={name: (GOLD_STANDARD_THRESHOLD, value) for name, value in reached.items()},
        caption=caption,
        name="fsc",
    )
    words: tuple[str, ...] = (half_map_words(average),)
    figures: tuple[Figure, ...] = (whole,)
    if math.isfinite(average.resolution_angstrom):
        words = (*words, cones.words())
        figures = (whole, _cone_curves(average, cones), _cone_map(cones))
    return Section("Resolution", words, figures, (fsc_table(curves, voxel_size_angstrom=size, box=box),))


def _cone_curves(average: Average, cones: ConicalFsc) -> Figure:
    """Return the correlation in the best and in the worst direction, with the resolutions that the words name."""
    first, second = average.half_maps.double().cpu()
    curves = cone_fsc(first, second, cones.axes, cones.half_angle_degrees)
    names = [f"{kind}, along {direction_words(axis)}" for kind, axis in zip(("best", "worst"), cones.axes, strict=True)]
    values = (cones.best_angstrom, cones.worst_angstrom)
    return fsc_figure(
        dict(zip(names, curves, strict=True)),
        voxel_size_angstrom=average.particles.voxel_size_angstrom,
        box=average.particles.box,
        thresholds={name: (cones.threshold, value) for name, value in zip(names, values, strict=True)},
        caption=f"Directional FSC: within {cones.half_angle_degrees:g}° of the best and the worst direction, unmasked.",
        name="fsc_directions",
    )


def _cone_map(cones: ConicalFsc) -> Figure:
    """Return the resolution of every direction on half of the sphere, of equal area (Lambert)."""
    from matplotlib.figure import Figure as Drawing

    x, y, z = cones.directions.T
    radius = (1 / (1 + z)).sqrt()  # sqrt(2 (1 - z)) in the plane, over sqrt(1 - z^2) on the sphere, over sqrt(2)
    finite = cones.resolutions_angstrom.isfinite()
    values = cones.resolutions_angstrom[finite]
    with style():
        drawing = Drawing(figsize=(WIDTH_INCHES, 3.4), layout="constrained")
        axes = drawing.add_subplot()
        axes.scatter((x * radius)[~finite], (y * radius)[~finite], s=90, color="#999999", linewidths=0)
        dots = axes.scatter((x * radius)[finite], (y * radius)[finite], c=values, s=90, cmap="viridis_r", linewidths=0)
        for label, place in {"x": (1.08, 0.0), "y": (0.0, 1.08), "z": (0.0, 0.0)}.items():
            colour = "#c8701c" if label == "z" else INK
            axes.annotate(label, place, ha="center", va="center", fontsize=9, color=colour, weight="bold")
        axes.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal")
        axes.set_axis_off()
        drawing.colorbar(dots, ax=axes, label="resolution (Å)", shrink=0.8)
        none = int((~finite).sum())
        reach = f"from {values.min():.1f} to {values.max():.1f} Å" if len(values) else "no resolution"
        alt = f"Resolution in {len(finite)} directions, {reach}; {none} directions have none."
        caption = (
            f"Resolution in {len(finite)} directions of the map, {reach}, z towards you. Each is noisier than the "
            f"whole: trust the words above. Grey: no resolution ({none})."
        )
        return finish(drawing, alt, caption, "resolution_directions")
