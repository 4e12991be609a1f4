"""Hypothetical poses judged by a network that sees both volumes in them (`gumnet.model.judge`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.alignment.band import Band
from gumnet.alignment.narrowing import together
from gumnet.alignment.score import Candidates, Comparison, read_at, rescored
from gumnet.alignment.spectrum import as_complex
from gumnet.model.judge import SHELLS, Judge, Verdict, put_together

_AT_ONCE = {"cpu": 64, "cuda": 4096}
"""Poses that are looked at together."""
_WORTH_READING = 10.0
"""Poses count if their log likelihood, in the band that they come from, is less than this below the best: of the others
each has less than a ten thousandth of its probability. With 6, poses of very noisy pairs had too much confidence."""


@dataclass(frozen=True)
class Judging:
    """A judge, and what it is told of the n pairs of a comparison.

    Parameters
    ----------
    judge
        The network.
    described
        Shape (n, d), see `MatchedFilter.described_pairs`.
    shells
        Highest shell of the scores that it is told.
    half_precision
        Whether it runs in bfloat16.
    """

    judge: Judge
    described: Tensor
    shells: int
    half_precision: bool = False

    def looked_at(
        self, comparison: Comparison, poses: Candidates, *, shells: int | None = None, most: int | None = None
    ) -> tuple[Tensor, Verdict]:
        """Return the log likelihoods (n, k) that the search gives poses, and the verdict on the first of them.

        Arguments are those of `judged`.
        """
        band = Band.up_to(comparison.box, SHELLS, comparison.reference.device)
        count = poses.scores.shape[1]
        k = count if most is None else min(most, count)
        worth = (
            torch.full_like(poses.scores[:, 0], count, dtype=torch.int64) if most is None else _worth(comparison, poses)
        )
        searched = _searched(comparison, poses, self.shells if shells is None else shells, worth)
        best = searched.amax(dim=1, keepdim=True)
        data = comparison.within(band)
        weights = comparison.shell_weights[:, band.shell]
        particle = band.take(comparison.spectra)
        seen = torch.ones_like(weights) if comparison.transfer is None else band.take(comparison.transfer)
        turned = comparison.turned_reference(band.shells)
        n, kind = len(data.matched), particle.device.type
        said = Verdict(searched.new_zeros(n, k), searched.new_zeros(n, k, 3), searched.new_zeros(n, k, 3))
        for some, looks in _looks(worth, k, kind):
            own = turned.of_rows(some)
            values, transfer = read_at(own, poses.rotations[some, :looks], band)
            spectra = as_complex(values)
            transfer = torch.ones_like(spectra.real) if transfer is None else transfer
            known = seen[some] if len(seen) == len(weights) else seen.expand_as(weights)[some]
            shifts = poses.shifts[some, :looks]
            put = put_together(spectra, transfer, particle[some], known, weights[some], shifts, band)
            told = (searched - best)[some, :looks].clamp_min(-1e3)
            with torch.autocast(kind, torch.bfloat16, enabled=self.half_precision):
                said.write(some, looks, self.judge(*put, self.described[some], told))
        return searched, said

    def judged(
        self, comparison: Comparison, poses: Candidates, *, shells: int | None = None, most: int | None = None
    ) -> tuple[Tensor, Candidates]:
        """Return the log likelihoods (n, k) of poses, up to a constant a pair, and the poses corrected, in their order.

        Places that a search left over, of score minus infinity, keep it.

        Parameters
        ----------
        shells
            Highest shell of the scores that the judge is told, where the poses are off by more than higher ones bear;
            that of the filter unless given.
        most
            How many of a pair's poses are looked at, the first and at most: those that may count. All are unless given.
        """
        searched, verdict = self.looked_at(comparison, poses, shells=shells, most=most)
        k = verdict.log_likelihood.shape[1]
        rotations, shifts = verdict.corrected(poses.rotations[:, :k], poses.shifts[:, :k], comparison.box)
        found = torch.cat([searched[:, :k] + verdict.log_likelihood, searched[:, k:]], dim=1)
        return found, Candidates(
            torch.cat([rotations, poses.rotations[:, k:]], dim=1),
            torch.cat([shifts, poses.shifts[:, k:]], dim=1),
            found,
        )


def _worth(comparison: Comparison, poses: Candidates) -> Tensor:
    """Return how many poses, the first, have all among them that may count, (n,)."""
    assert comparison.sharpness is not None
    below = comparison.sharpness[:, None] * (poses.scores.amax(dim=1, keepdim=True) - poses.scores)
    place = torch.arange(1, poses.scores.shape[1] + 1, device=below.device)
    return ((below <= _WORTH_READING) * place).amax(dim=1).clamp_min(1)


def _looks(worth: Tensor, most: int, kind: str) -> Iterator[tuple[slice, int]]:
    """Yield which of n pairs are looked at together, and how many poses of each: none where one stands alone."""
    if kind != "cpu":
        step = max(1, _AT_ONCE[kind] // most)
        yield from ((slice(start, start + step), most) for start in range(0, len(worth), step))
        return
    looks = worth.clamp(max=most).masked_fill(worth == 1, 0)
    for rows in together(looks):
        width = int(looks[rows].max())
        if width > 0:
            yield rows, width


def _searched(comparison: Comparison, poses: Candidates, shells: int, worth: Tensor) -> Tensor:
    """Return the log likelihoods (n, k) that the scores up to shell ``shells`` give poses.

    Of each pair's the first ``worth`` (n,) have their scores read; the rest do not count, and have minus infinity.
    """
    assert comparison.sharpness is not None
    turned = comparison.turned_reference(shells)
    log = torch.full_like(poses.scores, -torch.inf)
    for rows in together(worth):
        width = int(worth[rows].max())
        some = Candidates(poses.rotations[rows, :width], poses.shifts[rows, :width], poses.scores[rows, :width])
        own = turned.of_rows(rows)
        counts = torch.arange(width, device=worth.device) < worth[rows, None]
        scores = rescored(comparison[rows], some, shells, own).scores
        likely = comparison.sharpness[rows, None] * scores
        log[rows, :width] = likely.where(counts & some.scores.isfinite(), -torch.inf)
    return log
