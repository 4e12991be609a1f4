"""Sums of many parts in one fixed order, whatever the order in which the parts arrive."""

from __future__ import annotations

from gumnet.engine.work import Result


class TreeSum:
    """The sum of parts 0 to n - 1, added in pairs, the pairs in pairs, and so on.

    The order of additions depends on n alone, so one worker and many give the same bits; and rounding grows with the
    logarithm of n. Of parts that arrive in order only one a level is held.

    Parameters
    ----------
    count
        n. Each part is to be added once, or `skip`\\ ped.
    """

    def __init__(self, count: int) -> None:
        self._widths = [count]
        while self._widths[-1] > 1:
            self._widths.append((self._widths[-1] + 1) // 2)
        self._held: dict[tuple[int, int], Result | None] = {}

    def add(self, number: int, part: Result) -> None:
        """Add a part: tensors by name, in float64 or complex128 where thousands are to add up without loss."""
        self._put(0, number, part)

    def skip(self, number: int) -> None:
        """Leave a part out."""
        self._put(0, number, None)

    def result(self) -> Result | None:
        """Return the sum, None of no parts; all must have been added or skipped."""
        if self._widths[-1] == 0:
            return None
        return self._held[(len(self._widths) - 1, 0)]

    def _put(self, level: int, number: int, part: Result | None) -> None:
        while self._widths[level] > 1:
            other = number ^ 1
            if other < self._widths[level]:
                if (level, other) not in self._held:
                    break
                sibling = self._held.pop((level, other))
                part = _plus(part, sibling) if number < other else _plus(sibling, part)
            level, number = level + 1, number // 2
        self._held[(level, number)] = part


def _plus(a: Result | None, b: Result | None) -> Result | None:
    if a is None or b is None:
        return b if a is None else a
    return {name: a[name] + b[name] for name in a}
