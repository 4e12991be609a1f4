"""Tables in Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; bars in cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def number(value: float | None, digits: int) -> str:
    """Return a number with so many digits after the point; a dash for none, as JSON keeps what is not finite."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def with_interval(value: float | None, ends: Sequence[float | None], digits: int) -> str:
    """Return a number with its 95 % interval, where it has one."""
    low, high = (number(end, digits) for end in ends)
    return number(value, digits) if "-" in (low, high) else f"{number(value, digits)} ({low} to {high})"


def share_with_interval(value: float, ends: Sequence[float]) -> str:
    """Return a share with its 95 % interval in per cent."""
    low, high = ends
    return f"{100 * value:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
