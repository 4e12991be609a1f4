"""From scores to log likelihoods: by how much a pose is more likely than another.

For ``A = S + noise`` of power N_a and ``B = S + noise`` of power N_b, Gaussian and independent from coefficient to
coefficient, the logarithm of "B is A in this pose" over "B is something else" is, as far as it depends on the pose,

    sum over Friedel pairs of 2 S / (N_a N_b + S (N_a + N_b)) Re(A conj(B)),

twice the numerator of the score, whose shell weights are these factors. The score divides it by norms that hardly
depend on the pose, so twice the score times the norms at the best pose stands for it. Real coefficients are neither
independent nor are their powers known, only estimated from the same two volumes: `TEMPER` accounts for both. Powers
that were measured on a whole set and its average need none of it (docs/design.md).
"""

from __future__ import annotations

from torch import Tensor

from gumnet.alignment.band import Band
from gumnet.alignment.score import Candidates, Comparison, norms, read_at
from gumnet.alignment.spectrum import TurnedSpectra

TEMPER = 0.42
"""What the log likelihood is multiplied by. Chosen once on simulated pairs of built-in phantoms and kept: see
docs/benchmarks.md for how often poses of 90 % are right on complexes that had no part in the choice."""

MAP_TEMPER = 0.6
"""The same against a map that particles share, which says better what the signal looks like. Chosen on phantoms too:
docs/design.md."""


def sharpness(comparison: Comparison, poses: Candidates, shells: int, turned: TurnedSpectra | None = None) -> Tensor:
    """Return what scores in the shells up to ``shells`` are multiplied by to be log likelihoods, (n,).

    Parameters
    ----------
    poses
        The norms are those at the best of them.
    turned
        The reference for these shells or more, where it was made before.
    """
    if comparison.sharpness is not None:
        return comparison.sharpness
    band = Band.up_to(comparison.box, shells, comparison.reference.device)
    turned = comparison.turned_reference(band.shells) if turned is None else turned.plain
    values, transfer = read_at(turned, poses.best(1).rotations, band)
    norm = norms(values[:, 0] ** 2 + values[:, 1] ** 2, transfer, comparison.within(band))
    temper = 1.0 if comparison.measured else MAP_TEMPER if comparison.to_map else TEMPER
    return 2 * temper * norm[:, 0]
