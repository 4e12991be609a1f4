"""Hypothetical poses judged by a network that sees both volumes in them (`gumnet.model.judge`)."""

from __future__ import annotations

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
_WORTH_READING = 6.0
"""Poses that the network does not look at have their score read in more shells if their log likelihood is less than
this below the best; of the others each has a four hundredth of its probability at most."""


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
        searched = _searched(comparison, poses, self.shells if shells is None else shells, most)
        best = searched.amax(dim=1, keepdim=True)
        data = comparison.within(band)
        weights = comparison.shell_weights[:, band.shell]
        particle = band.take(comparison.spectra)
        seen = torch.ones_like(weights) if comparison.transfer is None else band.take(comparison.transfer)
        turned = comparison.turned_reference(band.shells)
        parts = []
        count = poses.scores.shape[1]
        k = count if most is None else min(most, count)
        rows = max(1, _AT_ONCE[particle.device.type] // k)
        for start in range(0, len(data.matched), rows):
            some = slice(start, start + rows)
            own = turned if len(turned.fine) == 1 else turned[some]
            values, transfer = read_at(own, poses.rotations[some, :k], band)
            spectra = as_complex(values)
            transfer = torch.ones_like(spectra.real) if transfer is None else transfer
            known = seen[some] if len(seen) == len(weights) else seen.expand_as(weights)[some]
            put = put_together(spectra, transfer, particle[some], known, weights[some], poses.shifts[some, :k], band)
            told = (searched - best)[some, :k].clamp_min(-1e3)
            kind = particle.device.type
            with torch.autocast(kind, torch.bfloat16, enabled=self.half_precision):
                parts.append(self.judge(*put, self.described[some], told))
        return searched, Verdict.concatenate(parts)

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
            How many of a pair's poses are looked at, the first; the others keep their log likelihood from the search.
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


def _searched(comparison: Comparison, poses: Candidates, shells: int, most: int | None) -> Tensor:
    """Return the log likelihoods (n, k) that the scores up to shell ``shells`` give poses.

    With ``most``, the others than the first so many have their scores read only if they may count beside them; the rest
    do not, and have minus infinity.
    """
    assert comparison.sharpness is not None
    sharp, found = comparison.sharpness[:, None], poses.scores.isfinite()
    count = poses.scores.shape[1]
    if most is None or most >= count:
        return sharp * rescored(comparison, poses, shells).scores.where(found, -torch.inf)
    before = sharp * poses.scores
    before = before - before.amax(dim=1, keepdim=True)
    # The first were climbed and may have changed places; the others are in order.
    counts = (before[:, most:] >= -_WORTH_READING).sum(dim=1) + most
    turned = comparison.turned_reference(shells)
    log = torch.full_like(poses.scores, -torch.inf)
    for rows in together(counts):
        width = int(counts[rows].max())
        some = Candidates(poses.rotations[rows, :width], poses.shifts[rows, :width], poses.scores[rows, :width])
        own = turned if len(turned.fine) == 1 else turned[rows]
        read = torch.arange(width, device=counts.device) < counts[rows, None]
        scores = rescored(comparison[rows], some, shells, own).scores
        log[rows, :width] = (sharp[rows] * scores).where(read & found[rows, :width], -torch.inf)
    return log
