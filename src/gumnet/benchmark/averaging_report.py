"""The table of averages in Markdown, made from its record alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gumnet.benchmark.markdown import number, table
from gumnet.benchmark.paper import TABLE_2
from gumnet.benchmark.record import provenance_words
from gumnet.benchmark.rows import label, left_out

_LEGEND = """\
Every row averages the same particles from nothing, *true poses* at the poses they were made with, *bound* at those that
the search finds when it is told the structure without noise: these two know what no method does. Noise that is aligned
to a structure resembles it, so where most poses of the bound are wrong its resolution says nothing. The methods of
pairs align all particles to their average and average again, from the particles as they are, as in the paper; joint
alignment finds first maps itself. *Structure*: where the mean of the half maps, put where it matches the structure
best, and the structure correlate to 0.5. *Halves*: where the half maps correlate to 0.143; a wrong map can be
repeatable, so it says nothing of truth. *Rotation*: error of the poses after the frame of the average is taken off
(Frobenius, chance 2.40).
"The paper's own" is the first of these on the authors' data."""


def averaging_markdown(record: Mapping[str, Any]) -> str:
    """Return the whole report of a record of ``gumnet benchmark averaging``."""
    options = record["options"]
    quick = " A quick run: too few particles to rank methods." if options["quick"] else ""
    said = (
        f"{record['structures']}; {options['particles']} particles in a set, seed {options['seed']}; boxes of 32 "
        f"voxels of 12 A, tilts of -60 to 60 degrees, shifts of up to {options['max_shift']:g} voxels on each axis; "
        f"{options['iterations']} iterations of the methods of pairs.{quick}"
    )
    parts = ["# Averages from nothing", provenance_words(record) + ".", said, _LEGEND]
    parts += left_out(record["not_run"])
    if record.get("relion"):
        parts.append(f"RELION: {record['relion']}.")
    for snr, colour in dict.fromkeys((cell["snr"], cell["colour"]) for cell in record["cells"]):
        parts += [f"## SNR {snr:g}, {colour}", averaging_table(record, snr, colour)]
    return "\n\n".join(parts) + "\n"


def averaging_table(record: Mapping[str, Any], snr: float, colour: str) -> str:
    """Return the table of one level."""
    rows = []
    for cell in record["cells"]:
        if (cell["snr"], cell["colour"]) != (snr, colour):
            continue
        rotation = "-"
        if "rotation" in cell:
            rotation = f"{cell['rotation']:.3f}, {100 * cell['failure_rate']:.1f} %"
        rows.append(
            [
                label(cell["method"]),
                _angstrom(cell["resolution_truth"]),
                _angstrom(cell["resolution_halves"]),
                rotation,
                number(cell["seconds"]["wall"], 1),
                number(cell["seconds"]["cpu"], 1),
                number(TABLE_2.get(cell["method"], {}).get(snr), 1).replace("-", ""),
            ]
        )
    header = ["", "structure (A)", "halves (A)", "rotation, failures", "s", "CPU s", "the paper's own (A)"]
    return table(header, rows)


def _angstrom(resolution: float | None) -> str:
    return "none" if resolution is None else f"{resolution:.1f}"
