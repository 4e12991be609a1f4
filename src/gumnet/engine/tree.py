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
        n. Each part is to be added once.
    """

    def __init__(self, count: int) -> None:
        self._widths = [count]
        while self._widths[-1] > 1:
            self._widths.append((self._widths[-1] + 1) // 2)
        self._held: dict[tuple[int, int], Result] = {}

    def add(self, number: int, part: Result) -> None:
        """Add a part: tensors by name, in float64 or complex128 where thousands are to add up without loss."""
        level = 0
        while self._widths[level] > 1:
            other = number ^ 1
            if other < self._widths[level]:
                if (level, other) not in self._held:
                    break
                sibling = self._held.pop((level, other))
                part = plus(part, sibling) if number < other else plus(sibling, part)
            level, number = level + 1, number // 2
        self._held[(level, number)] = part

    def result(self) -> Result | None:
        """Return the sum, None of no parts; all must have been added."""
        if self._widths[-1] == 0:
            return None
        return self._held[(len(self._widths) - 1, 0)]


def plus(a: Result, b: Result) -> Result:
    """Return the sum of two parts."""
    return {name: a[name] + b[name] for name in a}
