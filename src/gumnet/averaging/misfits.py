"""Particles that fit none of the classes: whose score with their own class is far below what its particles have.

A false particle, noise or another structure, has a pose that fits it best as well, so its confidence may be high; only
its score with the map is low. Scores of true particles scatter about their median, evenly to both sides. False ones are
below it and pull the lower side down, so the spread is read off the upper half alone: a particle does not fit if it is
further below the median of its class than three standard deviations of that.
"""

from __future__ import annotations

import torch

from gumnet.particles import Particles
from gumnet.types import Mask, Scores

DEVIATIONS = 3.0
"""Standard deviations below the median; of a normal distribution one in 740 is."""
LEAST_DROP = 0.1
"""Least distance below the median, in medians: where there is hardly any noise, scores scatter by next to nothing."""
LEAST_SCORES = 10
"""Fewer in a class show no spread, and none of them is flagged."""
_DEVIATION_OF_MEDIAN = 1.4826
"""Standard deviation of a normal distribution, in median absolute deviations."""


def fits(particles: Particles) -> Mask | None:
    """Return which of n particles fit their class, (n,); None where none of them has a score.

    One without a score, or of a class with fewer than `LEAST_SCORES`, is not judged and counts as fitting.
    """
    scores = particles.poses.scores
    if not bool(scores.isfinite().any()):
        return None
    found = torch.ones(len(scores), dtype=torch.bool)
    for number in sorted(set(particles.classes.tolist())):
        rows = torch.nonzero((particles.classes == number) & scores.isfinite())[:, 0]
        if len(rows) >= LEAST_SCORES:
            found[rows] = scores[rows] >= least_score(scores[rows])
    return found


def least_score(scores: Scores) -> float:
    """Return the score below which a particle does not fit a class, from the scores (k,) of all that are in it."""
    median = scores.double().median()
    above = scores[scores > median] - median
    spread = _DEVIATION_OF_MEDIAN * above.median() if len(above) else torch.zeros(())
    return float(median - torch.maximum(DEVIATIONS * spread, LEAST_DROP * median.abs()))
