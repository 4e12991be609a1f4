"""Tables of the records in results/, by kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from which import which

from gumnet.benchmark.accuracy_report import ORDER_LEGEND, level_table, order_words, summary_table
from gumnet.benchmark.averaging_report import averaging_table
from gumnet.benchmark.markdown import number, table, with_interval
from gumnet.benchmark.real_report import order_words as real_order_words
from gumnet.benchmark.real_report import real_table
from gumnet.benchmark.rows import left_out
from gumnet.benchmark.speed_report import boxes_table, methods_table, sets_table

Record = Mapping[str, Any]
_SET = ("particles", "seed", "max_shift")
"""Options of ``gumnet benchmark averaging`` that say which particles."""


def _level(cell: Record) -> str:
    return f"{cell['snr']:g} {cell['noise']}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}".replace("%", " %")


def pairs(records: Sequence[Record]) -> str:
    """Return the table of search.py: every method on pairs, or on particles of one reference."""
    rows = []
    for cell in (cell for record in records for cell in record["cells"]):
        confidence = cell["confidence"] or {"sure": None, "right": None}
        rows.append(
            [
                _level(cell),
                cell["method"],
                str(cell["n"]),
                with_interval(cell["mean"]["frobenius"], cell["frobenius_95"], 3),
                number(cell["mean"]["shifts"], 2),
                f"{100 * cell['failure_rate']:.1f} %",
                number(cell["seconds"]["cpu"], 3),
                _share(confidence["sure"]),
                _share(confidence["right"]),
            ]
        )
    header = ["SNR, noise", "method", "n", "rotation (95 %)", "shift", "failures", "CPU s each", "sure", "right"]
    return table(header, rows)


def differences(records: Sequence[Record]) -> str:
    """Return the paired differences of search.py: of the first method to each other."""
    rows = []
    for one in (one for record in records for one in record["paired_differences"]):
        each = one["frobenius"]
        interval = f"{each['mean']:+.3f} ({each['low']:+.3f} to {each['high']:+.3f})"
        rows.append([_level(one), f"{one['first']} less {one['second']}", str(one["n"]), interval, f"{each['p']:.4f}"])
    return table(["SNR, noise", "difference", "n", "rotation (95 %)", "p"], rows)


def joint(records: Sequence[Record]) -> str:
    """Return the table of joint.py."""
    rows = []
    for record in records:
        for cell in record["cells"]:
            for found in cell["classes"]:
                rows.append(
                    [
                        f"{found['structure']}, SNR {record['options']['snr']}",
                        str(found["particles"]),
                        str(cell["seed"]),
                        number(found["rotation"], 3),
                        number(found["rotation_median"], 3),
                        number(found["shift"], 2),
                        f"{100 * found['failures']:.1f} %",
                        f"{number(found['resolution_halves'], 1)}, {number(found['resolution_truth'], 1)}",
                        number(cell["cpu_seconds"], 0),
                    ]
                )
    header = ["structure", "particles", "seed", "rotation", "median", "shift", "failures", "halves, truth (A)", "CPU s"]
    return table(header, rows)


def joint_time(records: Sequence[Record]) -> str:
    """Return what runs of joint.py on one structure took on the wall, where nothing else ran."""
    rows = [
        [
            ", ".join(found["structure"] for found in cell["classes"]),
            str(cell["seed"]),
            record["commit"],
            number(cell["classes"][0]["rotation"], 3),
            number(cell["classes"][0]["shift"], 2),
            number(cell["wall_seconds"], 0),
            number(cell["cpu_seconds"], 0),
        ]
        for record in records
        for cell in record["cells"]
    ]
    return table(["structure", "seed", "commit", "rotation", "shift", "wall s", "CPU s"], rows)


def _gpu_level(cell: Record) -> str:
    return f"{_level(cell)}{', both' if cell['wedge'] == 'both' else ''}"


def gpu(records: Sequence[Record]) -> str:
    """Return mean rotation errors of gpu.py: a line for each method, a column for each level."""
    cells = [cell for record in records for cell in record["cells"]]
    levels = list(dict.fromkeys(_gpu_level(cell) for cell in cells))
    found = {(cell["method"], _gpu_level(cell)): cell["mean"]["frobenius"] for cell in cells}
    methods = list(dict.fromkeys(cell["method"] for cell in cells))
    return table(["method", *levels], [[m, *(number(found.get((m, level)), 3) for level in levels)] for m in methods])


def gpu_judges(records: Sequence[Record]) -> str:
    """Return what the judges of gpu.py are worth: paired differences with and without."""
    rows = []
    for one in (one for record in records for one in record["paired_differences"]):
        if "without its judge" in one["first"]:
            each = one["frobenius"]
            interval = f"{-each['mean']:+.3f} ({-each['high']:+.3f} to {-each['low']:+.3f})"
            rows.append([_gpu_level(one), f"{one['second']}, less without", interval, f"{each['p']:.4f}"])
    return table(["SNR, noise", "difference", "rotation (95 %)", "p"], rows)


def gpu_speed(records: Sequence[Record]) -> str:
    """Return the table of ``gpu.py --speed``."""
    rows = [
        [
            cell["method"],
            "yes" if cell["refine"] else "no",
            cell["of"],
            ", ".join(number(ms, 3) for ms in cell["milliseconds"]),
        ]
        for record in records
        for cell in record["speed"]
    ]
    return table(["method", "refined", "of a", "milliseconds each"], rows)


def temper(records: Sequence[Record]) -> str:
    """Return the table of temper.py: share given 90 % or more and right of these, by factor."""
    levels = [level for record in records for level in record["levels"]]
    factors = list(levels[0]["shares"])
    rows = [
        [
            _level(level),
            _share(level["right"]),
            *(", ".join(_share(share) for share in level["shares"][factor]) for factor in factors),
        ]
        for level in levels
    ]
    return table(["level", "right in all", *factors], rows)


def noise(records: Sequence[Record]) -> str:
    """Return the table of pure_noise.py."""
    cells = [cell for record in records for cell in record["cells"]]
    rows = [
        [
            cell["start"],
            "none" if math.isinf(cell["resolution"]) else f"{cell['resolution']:.0f} A",
            f"{cell['band']:.0f} A",
            "-" if cell["evidence"] is None else number(cell["evidence"], 2),
            f"{cell['cpu_seconds']:.0f}",
            " ".join(cell["notes"]),
        ]
        for cell in cells
    ]
    return table(["start", "resolution", "band of the start", "evidence", "CPU s", "notes"], rows)


def box_size(records: Sequence[Record]) -> str:
    """Return the table of box_size.py."""
    rows = [
        [
            str(cell["box"]),
            cell["what"],
            str(cell["n"]),
            number(cell["seconds"]["cpu"], 3),
            f"{cell['peak_mebibytes']:.0f} MiB",
        ]
        for record in records
        for cell in record["cells"]
    ]
    return table(["box", "what", "n", "CPU s each", "peak memory"], rows)


def accuracy(records: Sequence[Record]) -> str:
    """Return the summary of ``gumnet benchmark accuracy``, in the shape of the paper's table, and the orders."""
    parts = []
    for record in records:
        parts += [
            f"{record['structures']}; {record['options']['pairs']} pairs in a cell.",
            *left_out(record["not_run"]),
        ]
        for colour in dict.fromkeys(cell["colour"] for cell in record["cells"]):
            parts.append(f"{colour.capitalize()} noise; rotation error, shift error (rounded):")
            parts.append(summary_table(record, colour))
            orders = [order for order in record["orders"] if order["colour"] == colour]
            parts.append("\n".join(f"- SNR {order['snr']:g}: {order_words(order)}" for order in orders))
    return "\n\n".join([*parts, ORDER_LEGEND])


def accuracy_levels(records: Sequence[Record]) -> str:
    """Return every level of ``gumnet benchmark accuracy``, with intervals, times and orders."""
    parts = []
    for record in records:
        parts.append(f"{record['structures']}; {record['options']['pairs']} pairs in a cell.")
        for order in record["orders"]:
            level = f"SNR {order['snr']:g}, {order['colour']}"
            parts += [f"{level}: {order_words(order)}", level_table(record, order["snr"], order["colour"])]
    return "\n\n".join(parts)


def averaging(records: Sequence[Record]) -> str:
    """Return the tables of ``gumnet benchmark averaging``; rows of the same particles stand in one."""
    sets: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        options = record["options"]
        sets.setdefault((record["structures"], *(options[name] for name in _SET)), []).append(record)
    parts = []
    for (structures, particles, seed, max_shift), same in sets.items():
        parts.append(f"{structures}; {particles} particles, seed {seed}, shifts to {max_shift:g} voxels.")
        parts += [f"RELION: {record['relion']}." for record in same if record.get("relion")]
        # Each row once: the true poses come with every run.
        cells = {(c["snr"], c["colour"], c["method"]): c for record in reversed(same) for c in record["cells"]}
        methods = [cell["method"] for record in same for cell in record["cells"]]
        for snr, colour in sorted({key[:2] for key in cells}, reverse=True):
            rows = [cells[snr, colour, m] for m in dict.fromkeys(methods) if (snr, colour, m) in cells]
            parts += [f"SNR {snr:g}, {colour}:", averaging_table({"cells": rows}, snr, colour)]
    return "\n\n".join(parts)


def beats_random(records: Sequence[Record]) -> str:
    """Return the table of beats_random.py: how often the true rotation wins, by score."""
    rows = []
    for cell in (cell for record in records for cell in record["cells"]):
        won, near = (with_interval(share[0], share[1:], 2) for share in (cell["won"], cell["within_15"]))
        rows.append(
            [f"{cell['snr']:g}", str(cell["box"]), str(cell["shells"]), cell["score"], str(cell["pairs"]), won, near]
        )
    return table(["SNR", "box", "shells", "score", "pairs", "true one wins", "or one within 15 degrees"], rows)


def speed(records: Sequence[Record]) -> str:
    """Return the tables of ``gumnet benchmark speed``."""
    parts = []
    for device in (device for record in records for device in record["devices"]):
        peaks = f"{device['peak_flops'] / 1e9:.0f} GFLOP/s, {device['peak_bytes'] / 1e9:.1f} GB/s"
        parts += [f"{device['device']}, {peaks}:", methods_table(device), boxes_table(device), sets_table(device)]
    return "\n\n".join(parts)


def real(records: Sequence[Record]) -> str:
    """Return the tables of real particles of ``gumnet benchmark accuracy``, and the orders."""
    return "\n\n".join(
        f"{each['table']}, {each['particles']} particles, {each['pairs']} pairs of them:\n\n{real_table(each)}\n\n"
        f"{real_order_words(each)}"
        for each in (record["real"] for record in records)
    )


def promises(records: Sequence[Record]) -> str:
    """Return the figures of promises.py on real data."""
    rows = []
    for record in records:
        tilt, one = record["real tilt particles"], record["real subtomogram, five starts"]
        for words, key in (("at the file's poses", "halves"), ("at shuffled poses", "shuffled")):
            values = ", ".join(number(value, 2) for value in tilt[key])
            rows.append([f"real-tilt-particles, half maps correlate {words}, four seeds", values])
        for words, count in tilt["within 15 degrees"].items():
            rows.append([f"within 15 degrees of the file, map {words}", f"{count} of {tilt['particles']}"])
        spread = f"{number(one['degrees'], 1)} degrees, {number(one['voxels'], 2)} voxels"
        rows.append(["one real subtomogram, poses of five starts differ by", spread])
    return table(["", ""], rows)


def everyday(records: Sequence[Record]) -> str:
    """Return what tables take to be read and converted, and a page to open, by everyday.py."""
    rows = []
    for record in records:
        for one in record["tables"]:
            for what, cell in one["cells"].items():
                done = "read" if what == "read" else f"convert to {what}, whole process"
                took = [number(cell["cpu_seconds"], 1), number(cell["seconds"], 1), number(cell["peak_bytes"] / 1e9, 2)]
                rows.append([record["commit"], f"{one['rows']:,} rows, {done}", *took])
        if "page" in record:
            page = record["page"]
            what = f"report of {page['bytes'] / 1e6:.1f} MB, loaded in the browser"
            rows.append([record["commit"], what, "-", number(page["seconds"], 1), "-"])
    return table(["commit", "", "CPU s", "s", "GB"], rows)


def scale(records: Sequence[Record]) -> str:
    """Return the table of scale.py: what each command took at each size, and each particle more than at the last."""
    rows = []
    for record in records:
        for row in record["rows"]:
            smaller = _smaller(record["rows"], row)
            more = None
            if smaller is not None:
                more = 1e3 * (row["cpu"] - smaller["cpu"]) / (row["particles"] - smaller["particles"])
            growth = row["growth"] or [None, None]
            rows.append(
                [
                    row["command"],
                    str(row["workers"]),
                    f"{row['particles']:,}",
                    number(row["cpu"], 1),
                    number(1e3 * row["cpu"] / row["particles"], 2),
                    number(more, 2),
                    number(row["pace_ms"], 0),
                    number(growth[1], 2),
                    number(row["wall"], 0),
                    f"{row['peak_gigabytes']:.2f} GB",
                    number(row["efficiency"][0], 2),
                ]
            )
    header = [
        "command",
        "workers",
        "particles",
        "CPU s",
        "ms each",
        "ms each more",
        "pace (ms)",
        "growth",
        "s on the wall",
    ]
    return table([*header, "peak", "efficiency"], rows)


def _smaller(rows: Sequence[Record], row: Record) -> Record | None:
    """Return the row of the next smaller size of the same command by as many workers."""
    same = [r for r in rows if all(r[name] == row[name] for name in ("command", "workers"))]
    return max((r for r in same if r["particles"] < row["particles"]), key=lambda r: int(r["particles"]), default=None)


KINDS: dict[str, Callable[[Sequence[Record]], str]] = {
    "pairs": pairs,
    "differences": differences,
    "joint": joint,
    "joint-time": joint_time,
    "gpu": gpu,
    "gpu-judges": gpu_judges,
    "gpu-speed": gpu_speed,
    "temper": temper,
    "box-size": box_size,
    "noise": noise,
    "accuracy": accuracy,
    "accuracy-levels": accuracy_levels,
    "averaging": averaging,
    "beats-random": beats_random,
    "speed": speed,
    "real": real,
    "promises": promises,
    "which": which,
    "everyday": everyday,
    "scale": scale,
}
