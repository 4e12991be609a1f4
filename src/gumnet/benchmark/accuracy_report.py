"""The accuracy table in Markdown, made from its record alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gumnet.benchmark.markdown import number, share_with_interval, table, with_interval
from gumnet.benchmark.paper import TABLE_1
from gumnet.benchmark.record import provenance_words
from gumnet.benchmark.rows import BOUND, JOINT, MIXED, label, left_out

_LEGEND = """\
Rotation error: Frobenius norm of the difference of two rotation matrices, as in the paper, 0 to 2.83, chance 2.40; and
in degrees. Shift error: distance in voxels, of shifts rounded to whole voxels as in the paper, and of unrounded ones. A
failure is a rotation error above 1. In brackets are 95 % intervals: of failures by Wilson, of seconds by the bootstrap
over batches (none where there is one batch), of all others by the bootstrap over pairs. Pairs of joint alignment share
maps, so its intervals hold for these sets of particles. Seconds are on the wall; accuracy.csv has those of processors
too. "The paper's own" was measured by its authors on other data: it is no baseline here."""

ORDER_LEGEND = """\
Orders are by mean rotation error: `<` where a method is significantly better than the next, `~` where it is not (paired
permutation tests of all pairs of methods, adjusted by Holm). The bound is told more than a method and is in none."""

_ROWS = {
    BOUND: "knows the noise-free structure, which no method is given; errors of a and b both, as in joint alignment",
    JOINT: "one set a structure, so it is told which particles are alike, as pairs are",
    MIXED: "all structures in one set, sorted into as many classes",
}


def accuracy_markdown(record: Mapping[str, Any]) -> str:
    """Return the whole report of a record that `gumnet.benchmark.accuracy_record` made."""
    parts = ["# Accuracy of alignment", provenance_words(record) + ".", header_words(record), _LEGEND, ORDER_LEGEND]
    used = {cell["method"] for cell in record["cells"]}
    parts += [f"*{label(row)}*: {words}." for row, words in _ROWS.items() if row in used]
    parts += left_out(record["not_run"])
    for colour in dict.fromkeys(cell["colour"] for cell in record["cells"]):
        parts += [f"## {colour.capitalize()} noise", "Rotation error, shift error (rounded):"]
        parts.append(summary_table(record, colour))
        for order in record["orders"]:
            if order["colour"] == colour:
                parts.append(f"### SNR {order['snr']:g}, {colour}")
                parts += [order_words(order), level_table(record, order["snr"], colour)]
    if record.get("real"):
        from gumnet.benchmark.real_report import real_markdown

        parts.append(real_markdown(record["real"]))
    return "\n\n".join(parts) + "\n"


def header_words(record: Mapping[str, Any]) -> str:
    """Return what was measured: structures, pairs and seed."""
    options = record["options"]
    quick = " A quick run: too few pairs to tell methods apart that are near to each other." if options["quick"] else ""
    return (
        f"{record['structures']}; {options['pairs']} pairs in a cell, seed {options['seed']}; boxes of 32 voxels of "
        f"12 A, tilts of -60 to 60 degrees on b alone, whole shifts of up to 6 voxels on each axis.{quick}"
    )


def summary_table(record: Mapping[str, Any], colour: str) -> str:
    """Return the table in the shape of the paper's: a row a method, a column a level."""
    cells = [cell for cell in record["cells"] if cell["colour"] == colour]
    snrs = list(dict.fromkeys(cell["snr"] for cell in cells))
    rows = []
    for method in dict.fromkeys(cell["method"] for cell in cells):
        at = {cell["snr"]: cell["mean"] for cell in cells if cell["method"] == method}
        figures = [f"{at[s]['frobenius']:.2f}, {at[s]['shifts_rounded']:.2f}" if s in at else "-" for s in snrs]
        rows.append([label(method), *figures])
    return table(["", *(f"SNR {snr:g}" for snr in snrs)], rows)


def level_table(record: Mapping[str, Any], snr: float, colour: str) -> str:
    """Return the table of one level, with intervals and times."""
    rows = []
    for cell in record["cells"]:
        if (cell["snr"], cell["colour"]) != (snr, colour):
            continue
        mean, ends = cell["mean"], cell["interval_95"]
        own = TABLE_1.get(cell["method"], {}).get(snr)
        rows.append(
            [
                label(cell["method"]),
                str(cell["n"]),
                with_interval(mean["frobenius"], ends["frobenius"], 3),
                with_interval(mean["degrees"], ends["degrees"], 1),
                with_interval(mean["shifts_rounded"], ends["shifts_rounded"], 2),
                with_interval(mean["shifts"], ends["shifts"], 2),
                share_with_interval(mean["failure_rate"], ends["failure_rate"]),
                with_interval(mean["seconds"], ends["seconds"], 3),
                "" if own is None else f"{own[0]:.2f}, {own[1]:.2f}",
            ]
        )
    header = ["", "pairs", "rotation", "degrees", "shift, rounded", "shift", "failures", "s a pair", "the paper's own"]
    return table(header, rows)


def order_words(order: Mapping[str, Any]) -> str:
    """Return which method is best at a level, and how joint alignment lies to the bound."""
    words = []
    methods = [word for word in order.get("chain", "").split() if word not in ("<", "~")]
    if not methods:
        words.append("only the bound was measured.")
    elif len(methods) == 1:
        words.append(f"no order: only {label(methods[0])} was measured.")
    else:
        chain = " ".join(label(word) if word not in ("<", "~") else word for word in order["chain"].split())
        words.append(f"{chain}.")
        words.append(str(order["verdict"]))
    if order.get("joint_over_bound") is not None:
        words.append(f"Joint alignment has {number(order['joint_over_bound'], 2)} times the error of the bound.")
    return " ".join(words)
