"""Which method is best at a level, and which cannot be told from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from torch import Tensor

from gumnet.benchmark.intervals import Difference, holm, paired_difference

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Order:
    """Methods from the least mean error on, and how sure that is.

    All pairs of methods are tested on the same pairs of volumes by permutation of signs, and their p values adjusted
    for that many tests (Holm), so that to pick the best first and to test it then is no fault.

    Parameters
    ----------
    names
        From the least mean error to the largest.
    differences
        Of each two of them, the better named first.
    adjusted
        Adjusted p of each two.
    """

    names: tuple[str, ...]
    differences: Mapping[tuple[str, str], Difference]
    adjusted: Mapping[tuple[str, str], float]

    @classmethod
    def of(cls, errors: Mapping[str, Tensor]) -> Order:
        """Return the order of methods by their errors (n,) on the same n pairs."""
        names = tuple(sorted(errors, key=lambda name: float(errors[name].mean())))
        differences = {
            (first, second): paired_difference(errors[first], errors[second])
            for first, second in combinations(names, 2)
        }
        adjusted = holm([difference.p for difference in differences.values()])
        return cls(names, differences, dict(zip(differences, adjusted, strict=True)))

    def better(self, first: str, second: str) -> bool:
        """Return whether the first of two, by the order, is significantly better."""
        return self.adjusted[first, second] < SIGNIFICANT

    def tied_with_best(self) -> tuple[str, ...]:
        """Return the methods that are not significantly worse than the best."""
        return tuple(name for name in self.names[1:] if not self.better(self.names[0], name))

    def chain(self) -> str:
        """Return the order in one line: ``<`` where a method is significantly better than the next, ``~`` where not."""
        words = self.names[0]
        for before, name in zip(self.names, self.names[1:], strict=False):
            words += f" {'<' if self.better(before, name) else '~'} {name}"
        return words

    def verdict(self) -> str:
        """Return which is best, in words."""
        if len(self.names) == 1:
            return f"Only {self.names[0]} ran."
        best, tied = self.names[0], self.tied_with_best()
        if not tied:
            return f"Best: {best}, significantly better than every other (p < {SIGNIFICANT:g}, adjusted)."
        if len(tied) == len(self.names) - 1:
            return f"No method is significantly better than all others; {best} has the least mean error."
        return f"Best: {best}; not significantly worse: {', '.join(tied)}."

    def figures(self) -> dict[str, Any]:
        """Return what to keep."""
        return {
            "order": list(self.names),
            "chain": self.chain(),
            "verdict": self.verdict(),
            "tied_with_best": list(self.tied_with_best()),
            "differences": [
                {
                    "first": first,
                    "second": second,
                    "mean": difference.mean,
                    "interval_95": [difference.low, difference.high],
                    "p": difference.p,
                    "p_adjusted": self.adjusted[first, second],
                }
                for (first, second), difference in self.differences.items()
            ],
        }
