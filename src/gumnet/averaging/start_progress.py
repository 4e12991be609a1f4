"""How far the search for first maps is, on the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gumnet.averaging.start import OnStep, StartConfig, StartStep
from gumnet.progress import progress

_COST_POWER = 6
"""A step costs about this power of its highest shell: rotations and coefficients both grow with the third."""


class StartShare:
    """What share of a search is done after a step, as a number that never falls.

    Steps are weighed by what they cost. A phase may end early, so the share leaps at its end, and an estimate of the
    time left that comes from it is one of the longest that it can take.
    """

    def __init__(self, config: StartConfig) -> None:
        self._config = config
        starts = [config.starts_after(done) for done in range(len(config.schedule))]
        costs = [float(phase.shells**_COST_POWER) for phase in config.schedule]
        self._phases: list[float] = [n * c * p.steps for n, c, p in zip(starts, costs, config.schedule, strict=True)]
        self._number, self._seen, self._steps = 0, [0], 0

    def after(self, step: StartStep) -> float:
        """Return the share, 0 to 1, after a step of the search; steps are told in their order."""
        schedule = self._config.schedule
        while schedule[self._number].shells != step.shells:
            self._number, self._seen, self._steps = self._number + 1, [0], 0
        if step.start != self._seen[-1]:
            self._seen, self._steps = [*self._seen, step.start], 0
        self._steps += 1
        starts = len(self._seen) - 2 + self._steps / schedule[self._number].steps
        share = min(1.0, starts / self._config.starts_after(self._number))
        done = sum(self._phases[: self._number]) + share * self._phases[self._number]
        return float(done / sum(self._phases))


@contextmanager
def start_progress(description: str, config: StartConfig) -> Iterator[OnStep]:
    """Show how far a search is while the block runs, on a terminal; yield what to call after each step."""
    share = StartShare(config)
    with progress(description, 100, unit="%") as display:
        shown = 0

        def tell(step: StartStep) -> None:
            nonlocal shown
            now = int(100 * share.after(step))
            note = f"start {step.start}, shells up to {step.shells}, evidence {step.evidence:.2f} a particle"
            display.advance(now - shown, note)
            shown = now

        yield tell
