"""Whether a correlation is more than noise gives, so that noise claims no resolution.

The first shells hold few coefficients: two maps of pure noise correlate by 0.24 in shell 1, one standard deviation, and
pass a threshold of 0.143 there in more than one of four cases.

Halves that start from one map share its noise too: particles turned to it put it into both averages. Within its band
they agree for that reason alone, so only finer shells are a proof.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gumnet.averaging.fsc import GOLD_STANDARD_THRESHOLD, resolution_angstrom
from gumnet.geometry.fourier import shell_sums
from gumnet.types import Volume

LEAST_DEVIATIONS = 4.0
"""Standard deviations of noise that a correlation must reach before a resolution is claimed: 1 of 30,000 by chance."""


def shell_counts(box: int) -> Tensor:
    """Return how many coefficients of the full transform each shell holds, (N // 2 + 1,), float64."""
    return shell_sums(torch.ones(box, box, box // 2 + 1, dtype=torch.float64), box)


def independent_fraction(mask: Volume | None) -> float:
    """Return how much of the coefficients a mask (N, N, N) leaves independent, from 0 to 1; 1 without one.

    A mask correlates neighbours in Fourier space as the transform of its square, which takes the number of independent
    ones down by ``(sum m^2)^2 / (N^3 sum m^4)``: for a binary mask its share of the box.
    """
    if mask is None:
        return 1.0
    squared = mask.double().square()
    return float(squared.sum() ** 2 / (squared.numel() * squared.square().sum()))


def noise_deviations(curve: Tensor, box: int, shells: int, fraction: float = 1.0, *, first: int = 1) -> float:
    """Return the mean correlation over shells ``first`` ... ``shells``, in standard deviations of what noise gives.

    The correlation of independent noise over n coefficients of the full transform has a deviation of 1 / sqrt(n).

    Parameters
    ----------
    curve
        Shape (N // 2 + 1,).
    fraction
        How many coefficients are independent, from `independent_fraction`.
    """
    count = shell_counts(box)[first : shells + 1]
    return float((curve.double().cpu()[first : shells + 1] * count).sum() / count.sum().sqrt()) * math.sqrt(fraction)


def claimed_resolution_angstrom(
    curve: Tensor,
    voxel_size_angstrom: float,
    box: int,
    threshold: float = GOLD_STANDARD_THRESHOLD,
    *,
    fraction: float = 1.0,
    unmasked: Tensor | None = None,
    shared_shells: int = 0,
) -> float:
    """Return the resolution of a curve, as `resolution_angstrom` does, but infinity where noise would do as well.

    It is not better than the band of a map that both halves started from, unless finer shells agree by themselves.

    Parameters
    ----------
    curve
        Shape (N // 2 + 1,).
    fraction
        From `independent_fraction` of the mask, if ``curve`` is of masked maps.
    unmasked
        The correlation without mask: it has more independent coefficients, and is as good a proof.
    shared_shells
        Highest shell of a map that both halves started from; 0 where they have nothing in common.
    """
    resolution = resolution_angstrom(curve, voxel_size_angstrom, box, threshold)
    if math.isinf(resolution):
        return resolution
    last_above = min(math.floor(voxel_size_angstrom * box / resolution + 1e-9), box // 2)

    def proven(first: int) -> bool:
        proofs = [noise_deviations(curve, box, last_above, fraction, first=first)]
        if unmasked is not None:
            proofs.append(noise_deviations(unmasked, box, last_above, first=first))
        return max(proofs) >= LEAST_DEVIATIONS

    if not proven(1):
        return math.inf
    if shared_shells and not (last_above > shared_shells and proven(shared_shells + 1)):
        return max(resolution, voxel_size_angstrom * box / shared_shells)
    return resolution
