"""H-T align, a baseline of the Gum-Net paper (Xu, Beck, Alber, J. Struct. Biol. 178, 152, 2012).

The magnitude of a spectrum does not change with shifts. So the rotation is searched first, by the correlation of
magnitudes on the Fourier region that both volumes observed, over all rotations by fast rotational matching; then, for
each of the highest peaks, the shift by FFT. Magnitudes are even: odd degrees are 0, and since an inversion is no
rotation, nothing is ambiguous by that.

With masks u of a and v of b, and magnitudes x and y, the constrained correlation at R is Pearson's over u_R v:

    (S11 - S10 S01 / S00) / sqrt((S20 - S10^2 / S00) (S02 - S01^2 / S00)),  Spq = sum u_R x_R^p v y^q,

six rotational correlations. The method ends there, at the spacing of its grid and at whole voxels. Weights other than
a wedge act as soft masks, which the authors did not have.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.alignment.aligner import AlignerOptions
from gumnet.alignment.rotational_matching import Peaks, correlate_rotations
from gumnet.alignment.shells import Masked, Shells, harmonics
from gumnet.alignment.translational_matching import best_shifts
from gumnet.types import Rotations, Vectors

PEAKS = 30
"""How many rotations get a shift: the authors take the highest few tens."""
SEPARATION_DEGREES = 10.0
"""Least angle between two of them, two steps of the grid: two on one peak would say the same."""
_LEAST_SHARE = 0.02
"""Least share of Fourier space that two volumes must both have observed, a guard against division by nothing."""


def magnitude_moments(shells: Shells) -> Tensor:
    """Return coefficients (3, r, L, L) of mask, mask x magnitude and mask x magnitude^2 of one volume."""
    magnitude, mask = shells.values[0].abs(), shells.mask[0]
    # In units of their own mean: the scores do not depend on it, and the sums stay within the reach of float32.
    magnitude = magnitude / magnitude.mean().clamp_min(1e-30)
    return harmonics(torch.stack([mask, mask * magnitude, mask * magnitude**2]))


def constrained_correlation(a: Tensor, b: Tensor, radial_weights: Tensor) -> Tensor:
    """Return Pearson's correlation of magnitudes at all rotations (2 L, 2 L, 2 L), from both `magnitude_moments`."""
    p, q = [0, 1, 0, 2, 0, 1], [0, 0, 1, 0, 2, 1]
    sums = correlate_rotations(a[p], b[q], radial_weights, even=True)
    whole = 4 * torch.pi * radial_weights.sum()
    region = sums[0].clamp_min(_LEAST_SHARE * float(whole))
    mean_a, mean_b, power_a, power_b, product = (s / region for s in sums[1:].unbind())
    # Aliasing at the edges of the masks can bring a variance below 0; a small share of the power bounds it.
    variance_a = torch.maximum(power_a - mean_a**2, 1e-3 * power_a.abs())
    variance_b = torch.maximum(power_b - mean_b**2, 1e-3 * power_b.abs())
    return (product - mean_a * mean_b) / torch.sqrt(variance_a * variance_b).clamp_min(1e-30)


@dataclass(frozen=True)
class HtSearch:
    """The search of H-T align, for one reference and one particle at a time; see `BaselineAligner`.

    Parameters
    ----------
    shells
        Highest shell that is used.
    max_shift
        Largest shift along each axis, in voxels.
    """

    shells: int
    max_shift: float

    @classmethod
    def make(cls, options: AlignerOptions, box: int) -> HtSearch:
        """Return the search that the options ask for, in a box of ``box`` voxels."""
        return cls(options.max_shell(box), options.max_shift_voxels(box))

    def pose(
        self, reference: Masked, shells_reference: Shells, particle: Masked, shells_particle: Shells
    ) -> tuple[Rotations, Vectors]:
        """Return rotation (3, 3) and shift (3,) of one particle on one reference."""
        scores = constrained_correlation(
            magnitude_moments(shells_reference), magnitude_moments(shells_particle), shells_reference.volume
        )
        rotations = Peaks.of(scores[None], PEAKS, SEPARATION_DEGREES).rotations[0]
        shifts, heights = best_shifts(
            reference, particle, rotations, shells=self.shells, max_shift=self.max_shift, subvoxel=False
        )
        best = heights.argmax()
        return rotations[best], shifts[best]
