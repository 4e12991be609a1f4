"""Hypothetical poses judged by a network that sees both volumes in them (`gumnet.model.judge`)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.alignment.band import Band
from gumnet.alignment.score import Candidates, Comparison, read_at, rescored
from gumnet.alignment.spectrum import as_complex
from gumnet.geometry.so3 import rotation_from_vector
from gumnet.model.judge import SHELLS, Judge, put_together

_AT_ONCE = {"cpu": 64, "cuda": 4096}
"""Poses that are looked at together."""


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
        assert comparison.sharpness is not None
        band = Band.up_to(comparison.box, SHELLS, comparison.reference.device)
        scores = rescored(comparison, poses, self.shells if shells is None else shells).scores
        searched = comparison.sharpness[:, None] * torch.where(poses.scores.isfinite(), scores, -torch.inf)
        best = searched.amax(dim=1, keepdim=True)
        data = comparison.within(band)
        weights = comparison.shell_weights[:, band.shell]
        particle = band.take(comparison.spectra)
        seen = torch.ones_like(weights) if comparison.transfer is None else band.take(comparison.transfer)
        turned = comparison.turned_reference(band.shells)
        logs, rotations, shifts = [], [], []
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
                verdict = self.judge(*put, self.described[some], told)
            logs.append(verdict.log_likelihood)
            rotations.append(rotation_from_vector(verdict.rotation) @ poses.rotations[some, :k])
            shifts.append(poses.shifts[some, :k] + verdict.shift * comparison.box)
        found = torch.cat([searched[:, :k] + torch.cat(logs), searched[:, k:]], dim=1)
        turned_, moved = torch.cat(rotations), torch.cat(shifts)
        return found, Candidates(
            torch.cat([turned_, poses.rotations[:, k:]], dim=1), torch.cat([moved, poses.shifts[:, k:]], dim=1), found
        )
