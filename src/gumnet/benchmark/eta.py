"""How long the rest of a benchmark will take, from what its rows have cost so far."""

from __future__ import annotations

from collections.abc import Mapping


class Eta:
    """Seconds that are left, where tasks of different rows cost very different times.

    Parameters
    ----------
    left
        How many units (pairs, particles) each row still has to do.
    guesses
        Seconds a unit, used for a row until one of its own is measured; 1 for others.
    """

    def __init__(self, left: Mapping[str, int], guesses: Mapping[str, float]) -> None:
        self._left = dict(left)
        self._guesses = guesses
        self._spent: dict[str, float] = {}
        self._done: dict[str, int] = {}

    def done(self, row: str, units: int, seconds: float) -> None:
        """Count units of a row as done, and what they took on the wall."""
        self._left[row] -= units
        self._done[row] = self._done.get(row, 0) + units
        self._spent[row] = self._spent.get(row, 0.0) + seconds

    def seconds(self) -> float:
        """Return how long the rest will take."""
        return sum(units * self._each(row) for row, units in self._left.items())

    def _each(self, row: str) -> float:
        if self._done.get(row):
            return self._spent[row] / self._done[row]
        return self._guesses.get(row, 1.0)

    def words(self) -> str:
        """Return it for people."""
        seconds = self.seconds()
        if seconds < 90:
            return f"about {seconds:.0f} s left"
        if seconds < 5400:
            return f"about {seconds / 60:.0f} min left"
        return f"about {seconds / 3600:.1f} h left"
