"""F&A align, a baseline of the Gum-Net paper (Chen et al., J. Struct. Biol. 182, 235, 2013).

Rotational matching with amplitudes and phases, about the centre that the particle is thought to have: from the highest
peaks of the power spectra, which need no centre, rotation and shift are searched in turn until they stay. Both steps
maximise the correlation on the Fourier region that both volumes observed,

    sum Re(A_R conj(B_t)) u_R v / sqrt(sum |A_R|^2 u_R v  sum |B|^2 u_R v),

with masks u and v: three rotational correlations, of which only the numerator changes with the shift. Shifts are
interpolated between voxels, rotations stay on the grid.

Simplified: one band for a call, where the published program raises it from one average to the next by their FSC;
magnitudes of the start are compared without their means removed; weights other than a wedge act as soft masks.
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

SEEDS = 5
"""How many peaks of the power spectra are followed."""
SEPARATION_DEGREES = 20.0
"""Least angle between two of them: neighbours would meet on one pose."""
ITERATIONS = 10
"""Most turns of rotation and shift; three to five are the rule."""
_LEAST_SHARE = 1e-3
"""Least share of its mean power that a volume must have within the shared region, against division by nothing."""


def hartley(spectra: Tensor) -> Tensor:
    """Return real part plus imaginary part of spectra of real functions.

    The real part is even and the imaginary part odd, so in a correlation over whole shells their cross terms vanish:
    ``<Re A + Im A, Re B + Im B> = Re <A, B>``. One real transform serves both, and turning keeps even and odd apart.
    """
    return spectra.real + spectra.imag


@dataclass(frozen=True)
class FaSearch:
    """The search of F&A align, for one reference and one particle at a time; see `BaselineAligner`.

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
    def make(cls, options: AlignerOptions, box: int) -> FaSearch:
        """Return the search that the options ask for, in a box of ``box`` voxels."""
        return cls(options.max_shell(box), options.max_shift_voxels(box))

    def pose(
        self, reference: Masked, shells_reference: Shells, particle: Masked, shells_particle: Shells
    ) -> tuple[Rotations, Vectors]:
        """Return rotation (3, 3) and shift (3,) of one particle on one reference."""
        a, b, radial = shells_reference, shells_particle, shells_reference.volume
        u, v = a.mask[0], b.mask[0]
        x, y = a.values[0].abs(), b.values[0].abs()
        even = correlate_rotations(
            harmonics(torch.stack([u * x**2, u, u * x])),
            harmonics(torch.stack([v, v * y**2, v * y])),
            radial,
            even=True,
        )
        powers = torch.stack([even[0], even[1]])
        powers = torch.maximum(powers, _LEAST_SHARE * powers.mean(dim=(1, 2, 3), keepdim=True))
        norm = powers.prod(dim=0).sqrt()
        seeds = Peaks.of((even[2] / norm)[None], SEEDS, SEPARATION_DEGREES)
        rotations = seeds.rotations[0]

        def match(rotations: Rotations) -> tuple[Vectors, Tensor]:
            return best_shifts(
                reference, particle, rotations, shells=self.shells, max_shift=self.max_shift, subvoxel=True
            )

        shifts, heights = match(rotations)
        fixed = harmonics(u * hartley(a.values[0]))
        moving = torch.arange(len(rotations), device=rotations.device)
        for _ in range(ITERATIONS):
            # The particle about the centre it is thought to have.
            centred = harmonics(v * hartley(b.moved(-shifts[moving])))
            scores = correlate_rotations(fixed.expand_as(centred), centred, radial) / norm
            new = Peaks.of(scores, 1, 0.0).rotations[:, 0]
            new_shifts, new_heights = match(new)
            better = new_heights > heights[moving]
            moving = moving[better]
            if len(moving) == 0:
                break
            rotations[moving], shifts[moving], heights[moving] = new[better], new_shifts[better], new_heights[better]
        best = heights.argmax()
        return rotations[best], shifts[best]
