"""What ``gumnet info`` says of a table of tomograms: their sizes, pixels and tilts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gumnet.errors import InputError


def tomogram_facts(path: Path, uses: Iterable[str]) -> dict[str, Any]:
    """Return what a table of tomograms holds, and what is missing for the commands ``uses``, which want the tilts."""
    from gumnet.io.tomograms import read_tomograms, tomogram_sizes_angstrom

    sizes = tomogram_sizes_angstrom(path)
    facts: dict[str, dict[str, Any]] = {
        name: {"size_angstrom": [round(side, 2) for side in size]} for name, size in sizes.items()
    }
    missing: dict[str, str] = {}
    try:
        series = read_tomograms(path).series
    except InputError as error:
        missing = dict.fromkeys(uses, str(error))
    else:
        for name, one in series.items():
            tilts = one.tilts_degrees
            facts[name] = {
                **facts.get(name, {}),
                "pixel_size_angstrom": one.pixel_size_angstrom,
                "tilts": len(one),
                "tilt_range_degrees": [round(float(tilts.min()), 1), round(float(tilts.max()), 1)],
            }
    return {"format": "RELION table of tomograms", "tomograms": facts, "missing": missing}


def tomogram_in_words(facts: Mapping[str, Any]) -> str:
    """Return what is known of one tomogram, in a line."""
    parts = []
    if "size_angstrom" in facts:
        parts.append(" x ".join(f"{side:.0f}" for side in facts["size_angstrom"]) + " Angstrom")
    if "tilts" in facts:
        low, high = facts["tilt_range_degrees"]
        parts.append(f"pixels of {facts['pixel_size_angstrom']:g}, {facts['tilts']} tilts from {low:g} to {high:g}")
    return ", ".join(parts)
