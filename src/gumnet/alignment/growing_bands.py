"""Refinement in growing bands: many candidates in the lowest, a few in the next, the best in the whole.

The peak of a low band is wide enough to be climbed from the spacing of a coarse grid; that of the whole band is sharp
enough to end on. How many candidates a particle keeps hangs on its own scores alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gumnet.alignment.likelihood import sharpness
from gumnet.alignment.narrowing import Stage, contenders, together
from gumnet.alignment.refine import refine
from gumnet.alignment.score import Candidates, Comparison
from gumnet.alignment.spectrum import TurnedSpectra
from gumnet.types import Rotations

_ONE_PEAK_DEGREES = 4.0
"""Refined candidates closer than this are on one peak: those of a grid are further apart, peaks of low bands wider."""
LEAST_SHELLS = 3
"""Shells that a low band has above the lowest that counts, where a high pass leaves out those that it would use."""
LOW_STAGES = (Stage(7, 64, 1, 6.0, least=32), Stage(7, 16, 3, 3.5, least=6))
_MAP_LOW_SHELLS = 8
_MIDDLE_STAGES = (Stage(11, 12, 1, 3.5, least=4), Stage(11, 4, 3, 2.5, least=2))
"""The cost of a step grows with the cube of the shells. One step shows which peaks of a grid are high, since the grid
itself may have missed the top of the highest, and one in the middle band which of the low one are. Shell 7 tells most
of them apart, and shell 11 nearly all. With 32, 12 and 4 candidates the true pose of one in eight particles of SNR 0.05
was lost though the whole band knew it: half were the 5th to 12th of the low band, a third beyond the 32nd of the grid.
Clean pairs were lost with fewer than 32, whose scores noise does not explain. A map has less noise than a particle, and
one more shell tells more of it (docs/design.md)."""


@dataclass(frozen=True)
class LowPeaks:
    """What the lowest band made of the candidates of n particles.

    Parameters
    ----------
    all
        Shape (n, k). What was not climbed is as far below the best as it was.
    distinct
        The same, those of score minus infinity that climbed the peak of another.
    sharp
        What scores are multiplied by to be log likelihoods, (n,).
    shells, turned
        Of the band, and the reference for it.
    """

    all: Candidates
    distinct: Candidates
    sharp: Tensor
    shells: int
    turned: TurnedSpectra

    def __getitem__(self, rows: Tensor) -> LowPeaks:
        turned = self.turned.of_rows(rows)
        return LowPeaks(self.all[rows], self.distinct[rows], self.sharp[rows], self.shells, turned)

    @property
    def several(self) -> bool:
        """Whether particles have rivals to be weighed against: a pose that is only refined has none."""
        return self.all.scores.shape[1] > 1


@dataclass(frozen=True)
class Refined:
    """The best pose of each particle, (n, 1), with the reference of the whole band that it was refined on.

    And the peaks of the lowest band that it was chosen from, (n, k), with that band, and their log likelihoods where a
    network judged them.
    """

    best: Candidates
    turned: TurnedSpectra
    peaks: Candidates
    peak_shells: int
    judged: Tensor | None = None


@dataclass(frozen=True)
class GrowingBands:
    """Refinement from the lowest band to the whole.

    Parameters
    ----------
    shells, lowest_shell
        The last and the first that count.
    max_shift
        Largest shift along each axis, in voxels.
    within
        Puts rotations (m, k, 3, 3) of some of the particles back where a step may lead; anywhere unless given.
    to_map
        Whether the reference is a map that many particles share.
    """

    shells: int
    max_shift: float
    lowest_shell: int = 1
    within: Callable[[Rotations, slice], Rotations] | None = None
    to_map: bool = False

    def refined(self, comparison: Comparison, start: Candidates) -> Refined:
        """Return the best pose of each particle, from candidates (n, k)."""
        return self.whole(comparison, self.low(comparison, start))

    def low(self, comparison: Comparison, start: Candidates) -> LowPeaks:
        """Return what the lowest band makes of candidates (n, k)."""
        plan = stages(self.shells, self.lowest_shell, to_map=self.to_map)
        lowest = plan[0].shells
        # The lowest band has a smaller grid of its own, which stays in a CPU's cache; the others share one.
        turned = comparison.turned_reference(lowest, gradient=True)
        found = peaks = start
        several = start.scores.shape[1] > 1
        sharp = sharpness(comparison, start, lowest, turned) if several else start.scores.new_ones(len(comparison))
        for stage in (stage for stage in plan if stage.shells == lowest):
            before = found.best(found.scores.shape[1])
            found = self._climbed(comparison, before, stage, sharp, turned)
            # What was not climbed is as far below the best as it was.
            rest = before.scores - before.scores[:, :1] + found.scores.amax(dim=1, keepdim=True)
            rest = rest.where(before.scores.isfinite(), -torch.inf)
            found = peaks = replace(found, scores=found.scores.where(found.scores.isfinite(), rest))
            found = without_repeats(found, comparison.box / stage.shells / 2)
        return LowPeaks(peaks, found, sharp, lowest, turned)

    def whole(self, comparison: Comparison, low: LowPeaks) -> Refined:
        """Return the best of the peaks of the lowest band, refined in the whole; where there is a judge, it chooses."""
        plan = [
            stage for stage in stages(self.shells, self.lowest_shell, to_map=self.to_map) if stage.shells > low.shells
        ]
        if not plan:
            return Refined(low.distinct.best(1), low.turned, low.all, low.shells)
        turned = comparison.turned_reference(self.shells, gradient=True)
        found, judged = low.distinct, None
        if low.several and comparison.judging is not None:
            # Those that came as far are looked at; the rest count for the confidence.
            most = min(LOW_STAGES[-1].candidates, low.all.scores.shape[1])
            judged, _ = comparison.judging.judged(comparison, low.all, most=most)
            found = Candidates(low.all.rotations[:, :most], low.all.shifts[:, :most], judged[:, :most]).best(1)
        for stage in plan:
            found = self._climbed(comparison, found.best(found.scores.shape[1]), stage, low.sharp, turned)
            found = without_repeats(found, comparison.box / stage.shells / 2)
        return Refined(found.best(1), turned, low.all, low.shells, judged)

    def _climbed(
        self, comparison: Comparison, before: Candidates, stage: Stage, sharp: Tensor, turned: TurnedSpectra
    ) -> Candidates:
        """Return candidates (n, k), of each particle the first few refined, the others of score minus infinity."""
        counts = contenders(before.scores, stage, sharp.to(before.scores))
        rotations, shifts = before.rotations.clone(), before.shifts.clone()
        scores = torch.full_like(before.scores, -torch.inf)
        for rows in together(counts):
            width = int(counts[rows].max())
            found = refine(
                comparison[rows],
                Candidates(rotations[rows, :width], shifts[rows, :width], scores[rows, :width]),
                shells=stage.shells,
                max_shift=self.max_shift,
                iterations=stage.steps,
                within=_of_rows(self.within, rows),
                turned=turned.of_rows(rows),
            )
            rotations[rows, :width], shifts[rows, :width] = found.rotations, found.shifts
            own = torch.arange(width, device=counts.device) < counts[rows, None]
            scores[rows, :width] = found.scores.masked_fill(~own, -torch.inf)
        return Candidates(rotations, shifts, scores)


def without_repeats(found: Candidates, shift: float) -> Candidates:
    """Return candidates (n, k), those of score minus infinity that climbed the peak of one with a higher score.

    Parameters
    ----------
    shift
        Poses that are further apart than this, in voxels, are not on one peak, however close their rotations.
    """
    scores = found.scores
    place = torch.arange(scores.shape[1], device=scores.device)
    tied = (scores[:, None] == scores[:, :, None]) & (place < place[:, None])
    higher = (scores[:, None] > scores[:, :, None]) | tied
    flat = found.rotations.flatten(2)
    near = (flat @ flat.mT) > 1 + 2 * math.cos(math.radians(_ONE_PEAK_DEGREES))
    near = near & (torch.cdist(found.shifts, found.shifts) < shift)
    return replace(found, scores=scores.masked_fill((near & higher).any(dim=2), -torch.inf))


def _of_rows(
    within: Callable[[Rotations, slice], Rotations] | None, rows: slice
) -> Callable[[Rotations], Rotations] | None:
    return None if within is None else lambda rotations: within(rotations, rows)


def raised(shells: int, lowest_shell: int) -> int:
    """Return the highest shell of a low band that begins with ``lowest_shell``: at least a few shells above it."""
    return max(shells, lowest_shell + LEAST_SHELLS)


def stages(shells: int, lowest_shell: int = 1, *, to_map: bool = False) -> list[Stage]:
    """Return the stages of a refinement that ends with the shells up to ``shells``."""
    low = raised(_MAP_LOW_SHELLS if to_map else LOW_STAGES[0].shells, lowest_shell)
    found = [replace(stage, shells=min(low, shells)) for stage in LOW_STAGES]
    middle = raised(_MIDDLE_STAGES[0].shells, lowest_shell + LEAST_SHELLS)
    # A band that ends below the middle one decides among as many: the lowest alone does not tell them apart.
    if shells > found[-1].shells:
        found += [replace(s, shells=min(middle, shells)) for s in _MIDDLE_STAGES]
    last = 2 * middle
    while last < shells:
        found.append(Stage(last, 1, 3))
        last *= 2
    return [*found, Stage(shells, 1, 4)]
