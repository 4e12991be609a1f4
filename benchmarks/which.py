"""Which method is best at a level: the order of those that users can choose, from what a record holds of pairs.

Orders are by mean error. Their significance is that of the paired tests that the record keeps, adjusted for as many as
there are pairs of these methods at the level (Holm).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch

from gumnet.benchmark.intervals import Difference, holm, paired_difference
from gumnet.benchmark.markdown import table
from gumnet.benchmark.order import SIGNIFICANT, Order

BASELINES = ("ht", "fa")
METHODS = ("exhaustive", "matched", "gumnet", *BASELINES)
"""What --method takes. Other rows of a record are parts of these, or other programs."""

Record = Mapping[str, Any]
Level = tuple[float, str, str]


@dataclass(frozen=True)
class Ranked:
    """Methods at a level.

    Parameters
    ----------
    snr, noise, wedge
        The level; the wedge is on "b" or on "both".
    n
        Pairs, or particles, that all of them had.
    means
        Mean rotation errors.
    order
        With the significance of each difference.
    """

    snr: float
    noise: str
    wedge: str
    n: int
    means: Mapping[str, float]
    order: Order

    def words(self) -> str:
        """Return the level in words."""
        return f"{self.snr:g} {self.noise}{', both' if self.wedge == 'both' else ''}"

    def chain(self) -> str:
        """Return the order in one line with the errors, ``<`` where a method is significantly better than the next."""
        words = self.order.chain().split()
        return " ".join(f"{word} {self.means[word]:.3f}" if word in self.means else word for word in words)


def ranked(record: Record) -> list[Ranked]:
    """Return the levels of a record of search.py or gpu.py, in order."""
    found = []
    for level in dict.fromkeys(_level(cell) for cell in record["cells"]):
        cells = {cell["method"]: cell for cell in record["cells"] if _level(cell) == level}
        kept = {
            frozenset((one["first"], one["second"])): Difference(**one["frobenius"])
            for one in record["paired_differences"]
            if _level(one) == level
        }
        methods: list[str] = []
        for name in (name for name in METHODS if name in cells):
            # A record of many rows keeps few tests of the baselines, which are far off there.
            if name not in BASELINES or all(frozenset((name, other)) in kept for other in methods):
                methods.append(name)
        if len(methods) < 2:
            continue
        means = {name: float(cells[name]["mean"]["frobenius"]) for name in methods}
        names = tuple(sorted(means, key=lambda name: means[name]))
        tests = {
            two: kept.get(frozenset(two)) or paired_difference(*(_errors(cells[name]) for name in two))
            for two in combinations(names, 2)
        }
        adjusted = holm([test.p for test in tests.values()])
        order = Order(names, tests, dict(zip(tests, adjusted, strict=True)))
        found.append(Ranked(*level, cells[names[0]]["n"], means, order))
    return found


def _level(cell: Record) -> Level:
    return cell["snr"], cell["noise"], cell.get("wedge", "b")


def _errors(cell: Record) -> torch.Tensor:
    return torch.tensor(cell["pairs"]["frobenius"], dtype=torch.float64)


def which(records: Sequence[Record]) -> str:
    """Return the orders at every level of records of search.py and gpu.py."""
    rows = [
        [each.words(), str(each.n), each.chain(), each.order.names[0], ", ".join(each.order.tied_with_best()) or "-"]
        for record in records
        for each in ranked(record)
    ]
    head = ["SNR, noise", "n", "order, with the mean rotation errors", "best", "not significantly worse"]
    return f"{table(head, rows)}\n\n`<`: significantly better than the next (p < {SIGNIFICANT:g}, adjusted); `~`: not."
