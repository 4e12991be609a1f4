"""The table of real particles in Markdown, made from its record alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gumnet.benchmark.markdown import number, share_with_interval, table, with_interval
from gumnet.benchmark.rows import label, left_out

_LEGEND = """\
Every method starts from no poses. *Particles*: share whose rotation is within 15 degrees of the file's, against the map
that the other half of the particles gives at the file's poses; for joint alignment, after its own frame is taken off.
*Pairs*: the same for the relative rotations of random pairs. *Correlation*: of the aligned pairs, on what both
observed. *Half maps*: their correlation between 0.06 and 0.3 cycles per voxel, and where it falls below 0.143. The
file's poses are not the truth."""


def real_markdown(real: Mapping[str, Any]) -> str:
    """Return the section of a record of `gumnet.benchmark.real.measure_real`."""
    title = f"## Real particles: {real['table']}"
    counts = f"{real['particles']} particles, {real['pairs']} pairs of them."
    return "\n\n".join([title, f"{counts} {_LEGEND}", *left_out(real["not_run"]), real_table(real), order_words(real)])


def real_table(real: Mapping[str, Any]) -> str:
    """Return its table."""
    rows = []
    for row, each in real["rows"].items():
        particles, pairs = each.get("particles_within"), each["pairs_within"]
        maps = "-"
        if "half_maps" in each:
            maps = f"{number(each['half_maps'], 2)}, {number(each['resolution'], 1)} A"
        rows.append(
            [
                "the file's poses" if row == "file" else label(row),
                "-" if particles is None else share_with_interval(particles["share"], particles["interval_95"]),
                "-" if row == "file" else share_with_interval(pairs["share"], pairs["interval_95"]),
                with_interval(each["correlation"], each["correlation_95"], 4),
                maps,
            ]
        )
    return table(["", "particles", "pairs", "correlation of pairs", "half maps"], rows)


def order_words(real: Mapping[str, Any]) -> str:
    """Return which methods find most particles, and align pairs to the highest correlation, which noise has too."""
    words = ""
    particles = real.get("particles_order")
    if particles:
        words = f"By particles within 15 degrees, the most first: {particles['chain']}. {particles['verdict']} "
    return (
        f"{words}By correlation of pairs, the highest first: {real['order']['chain']}. {real['order']['verdict']} "
        "A search finds a higher correlation in noise, too, so a high one alone does not say that a pose is right."
    )
