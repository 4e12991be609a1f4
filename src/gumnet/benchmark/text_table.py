"""Rows that the scripts print while they measure, in columns of fixed width."""

from __future__ import annotations

from typing import Any

from gumnet.benchmark.intervals import mean_interval
from gumnet.benchmark.measured import Measured

PAIRS_HEAD = (
    "  SNR noise     method        n  frobenius (95 %)          degrees  shift   fail  s/pair   (cpu)   sure  right"
)


def row(measured: Measured, snr: float, noise: str, method: str) -> str:
    """Return a row of the table whose head is `PAIRS_HEAD`."""
    errors, interval = measured.errors, mean_interval(measured.errors.frobenius)
    of_mean = f"{interval.mean:.3f} ({interval.low:.3f} to {interval.high:.3f})"
    sure = right = "-"
    read = f"  {measured.read} from the cache" if measured.read else ""
    if measured.calibration is not None:
        sure = f"{measured.calibration.sure:.0%}"
        right = "-" if measured.calibration.right is None else f"{measured.calibration.right:.0%}"
    return (
        f"{snr:5g} {noise:9} {method:11} {len(measured.rows):4}  {of_mean:24}{float(errors.degrees.mean()):9.2f} "
        f"{float(errors.shifts.mean()):6.2f} {errors.failure_rate:6.1%} {measured.seconds.wall:7.3f} "
        f"{measured.seconds.cpu:7.3f} {sure:>6} {right:>6}{read}"
    )


def missing_row(snr: float, noise: str, method: str, reason: str) -> str:
    """Return the row of a method that cannot run."""
    return f"{snr:5g} {noise:9} {method:11}    -  {reason}"


def differences_table(found: list[dict[str, Any]]) -> str:
    """Return the table of differences; negative where the first of the two is better."""
    if not found:
        return ""
    lines = [
        "\nDifferences on the same pairs, first less second: negative where the first is better",
        f"{'  SNR noise     first       second         n  frobenius (95 %)':76}p        {'shift (95 %)':28}p",
    ]
    for one in found:
        cells = []
        for kind in ("frobenius", "shifts"):
            each = one[kind]
            interval = f"{each['mean']:+.3f} ({each['low']:+.3f} to {each['high']:+.3f})"
            cells.append(f"{interval:27} {each['p']:.4f}")
        who = f"{one['first']:11} {one['second']:11} {one['n']:4}"
        lines.append(f"{one['snr']:5g} {one['noise']:9} {who}  {cells[0]}   {cells[1]}")
    return "\n".join(lines)
