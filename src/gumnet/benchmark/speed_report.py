"""The tables of speed in Markdown, made from their record alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gumnet.benchmark.markdown import number, table, with_interval
from gumnet.benchmark.paper import SECONDS_A_PAIR
from gumnet.benchmark.record import provenance_words
from gumnet.benchmark.rows import label, left_out

_LEGEND = """\
Seconds are on the wall, and of all processors, which other work on the machine makes little longer. Peaks are the
fastest product of two large matrices and the fastest copy of a large tensor on this machine, with these threads. A
method's share of them is its matrix products, convolutions and Fourier transforms, and the bytes of the tensors that
its operations read and write. Both go by the time that the threads were at work (on a GPU, by the wall). What stays in
a cache counts too, so a share of the memory's peak can exceed 100 %: then the cache makes it that fast. "The paper's
own" is of 2019: one core, and one GPU for Gum-Net."""


def speed_markdown(record: Mapping[str, Any]) -> str:
    """Return the whole report of a record of ``gumnet benchmark speed``."""
    quick = " A quick run: times of few pairs vary." if record["options"]["quick"] else ""
    parts = ["# Speed", provenance_words(record) + f".{quick}", _LEGEND]
    parts += left_out(record["not_run"])
    for each in record["devices"]:
        parts += [
            f"## {each['device']}",
            f"Peaks: {each['peak_flops'] / 1e9:.0f} GFLOP/s, {each['peak_bytes'] / 1e9:.1f} GB/s.",
            methods_table(each),
            "Seconds of processors a pair (on a GPU, on the wall) in boxes of growing size, all 384 A wide, and the "
            "power of the size that they grow with:",
            boxes_table(each),
            "Sets of growing size, boxes of 32:",
            sets_table(each),
        ]
    return "\n\n".join(parts) + "\n"


def methods_table(device: Mapping[str, Any]) -> str:
    """Return the table of methods on a device."""
    rows = [
        [
            label(row),
            str(each["n"]),
            with_interval(each["seconds"], each["seconds_95"], 4),
            number(each["cpu_seconds"], 4),
            number(1000 * each["seconds"], 1),
            f"{100 * each['of_peak_flops']:.1f} %",
            f"{100 * each['of_peak_bytes']:.1f} %",
            number(SECONDS_A_PAIR.get(row), 4).replace("-", ""),
        ]
        for row, each in device["methods"].items()
    ]
    header = [
        "",
        "pairs",
        "s a pair",
        "CPU s a pair",
        "s for 1000",
        "of matrix peak",
        "of memory peak",
        "the paper's own",
    ]
    return table(header, rows)


def boxes_table(device: Mapping[str, Any]) -> str:
    """Return the table of growth with the size of the box."""
    sizes = list(dict.fromkeys(box for each in device["boxes"].values() for box in each["seconds"]))
    rows = []
    for row, each in device["boxes"].items():
        clock = _clock(device, each)
        rows.append([label(row), *(number(clock.get(box), 4) for box in sizes), number(each["power"], 1)])
    return table(["", *sizes, "power"], rows)


def sets_table(device: Mapping[str, Any]) -> str:
    """Return the table of growth with the number of particles."""
    rows = []
    for name, each in device["sets"].items():
        costs = ", ".join(f"{n}: {seconds:.2f}" for n, seconds in _clock(device, each).items())
        rows.append([name, costs, number(each["once"], 2), number(each["each"], 4)])
    return table(["", "particles: s", "s once", "s a particle"], rows)


def _clock(device: Mapping[str, Any], each: Mapping[str, Any]) -> Mapping[str, float]:
    clock: Mapping[str, float] = each["cpu_seconds" if device["device"] == "cpu" else "seconds"]
    return clock
