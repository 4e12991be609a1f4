"""What an average came to, as a program reads it: the numbers of the report's table, without their words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from gumnet.averaging.fsc import GOLD_STANDARD_THRESHOLD
from gumnet.report.average import run_notes
from gumnet.report.average_files import class_folder, class_number
from gumnet.report.average_particles import FLAGGED_BELOW, flagged
from gumnet.report.average_resolution import half_map_curves
from gumnet.report.average_symmetry import symmetry_name

if TYPE_CHECKING:
    from gumnet.averaging.result import Average


def average_facts(average: Average) -> dict[str, Any]:
    """Return what ``gumnet average --json`` prints; a resolution that is not reached is None.

    With a mask ``resolution_angstrom`` is within it, and that without it is there too.
    """
    inside, *whole = half_map_curves(average)[1].values()
    particles = average.particles
    confidences = particles.poses.confidences
    facts: dict[str, Any] = {
        "particles": len(particles),
        "half_sets": [int((particles.half_sets == half).sum()) for half in (1, 2)],
        "box": particles.box,
        "voxel_size_angstrom": particles.voxel_size_angstrom,
        "fsc_threshold": GOLD_STANDARD_THRESHOLD,
        "resolution_angstrom": _number(inside),
        "iterations": max((step.number for step in average.history), default=0),
    }
    if whole:
        facts["resolution_without_mask_angstrom"] = _number(whole[0])
    checks = [part.reproduced for part in average.classes or (average,) if part.reproduced is not None]
    if checks:
        facts["poses_checked"] = sum(check.checked for check in checks)
        facts["poses_found_again"] = sum(check.found_again for check in checks)
    if confidences is not None:
        facts[f"confidence_below_{FLAGGED_BELOW:g}"] = len(flagged(average))
    if average.classes:
        facts["classes"] = [
            {
                "class": class_number(one),
                "particles": len(one.particles),
                "resolution_angstrom": _number(one.resolution_angstrom),
                "folder": class_folder(class_number(one)),
            }
            for one in average.classes
        ]
    symmetry = symmetry_name(average)
    if symmetry is not None:
        facts["symmetry"] = symmetry
    return {**facts, "notes": run_notes(average)}


def _number(value: float) -> float | None:
    """Return a number for JSON, which knows no infinity."""
    return value if math.isfinite(value) else None
