"""How much of each shell of a map from elsewhere particles show.

A map of atoms, or one that was sharpened, falls off with frequency otherwise than what a microscope shows of it, and
one noisy particle does not say how. Taken as it is, such a map makes fine shells count that particles do not have.
How much of each shell they have says the regression of many particles on the map at poses that are about right:

    h(k) = sum Re(A conj(X)) c / sum |A|^2 c^2,

over the coefficients of shell k of all particles X, with A the map at the pose of each, and c what acts on the signal.
The map times h is then what a particle shows. The map itself stays as it is: multiplied by h and then by a mask, what
the mask spreads of its low shells would drown its high ones; h goes into the weights of the shells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gumnet.alignment.aligner import AlignerOptions
from gumnet.alignment.band import Band
from gumnet.alignment.finish import compare
from gumnet.alignment.known_power import KnownPower, mean_power, spread_over
from gumnet.alignment.score import Comparison, phases, read_at
from gumnet.alignment.spectrum import as_complex
from gumnet.particles import Particles, Poses
from gumnet.types import Volumes

LEAST_PARTICLES = 30
"""Sets of fewer do not say it well enough."""
SAMPLE = 100
"""Particles that speak for a set. At a signal-to-noise ratio of 0.05, where 10 and 20 % of the poses found were wrong,
what 150 said was within an eighth of what they say at the true poses in shells 3 to 7, and within a fifth up to 12."""
LEAST_SHELLS = 7
"""Particles that do not show so many shells of the map were not found on it, and say nothing."""
LEAST_SIGNIFICANCE = 3.0
"""A shell whose h is less than so many times its error ends the band: from there on all is taken as noise."""
_AT_ONCE = 4
"""Few, so that no limit of memory that holds one particle's refinement is passed."""


def sampled(count: int) -> list[int]:
    """Return the rows that speak for a set of ``count``: half of a small set."""
    return spread_over(count, min(SAMPLE, (count + 1) // 2))


def shown_power(
    particles: Particles, reference: Volumes, options: AlignerOptions, device: torch.device
) -> KnownPower | None:
    """Return the powers of a map, and of particles at poses on it that are about right; None where they are not.

    Parameters
    ----------
    particles
        With those poses, from a search.
    reference
        Shape (1, N, N, N), observed everywhere.
    """
    box, reference = particles.box, reference.to(device)
    sums = _Sums.zeros(box)
    for rows in particles.batches(_AT_ONCE):
        volumes, weights = particles.read_volumes(rows).to(device), particles.read_weights(rows)
        weights = None if weights is None else weights.to(device)
        sums.add(compare(options, reference, volumes, None, weights, None), particles.poses[rows])
    amplitude = sums.amplitude()
    if int((amplitude[1:] > 0).sum()) < min(LEAST_SHELLS, options.max_shell(box)):
        return None
    return KnownPower(mean_power(particles), torch.ones(box // 2 + 1), amplitude)


@dataclass(frozen=True)
class _Sums:
    """The sums of h above and below its line, and the square of the error of the first, (N // 2 + 1,) each, float64.

    On the CPU: there the same numbers are added in the same order every time.
    """

    above: Tensor
    below: Tensor
    error: Tensor

    @classmethod
    def zeros(cls, box: int) -> _Sums:
        return cls(*(torch.zeros(box // 2 + 1, dtype=torch.float64) for _ in range(3)))

    def add(self, comparison: Comparison, poses: Poses) -> None:
        """Add particles at poses, each counting by how sure its pose is."""
        box, device = comparison.box, comparison.reference.device
        band = Band.up_to(box, (box - 1) // 2, device)
        even = replace(comparison, shell_weights=torch.ones_like(comparison.shell_weights))
        data, turned = even.within(band), even.turned_reference(band.shells)
        counts = torch.ones(len(poses)) if poses.confidences is None else poses.confidences.nan_to_num(1.0)
        count = counts.to(device, torch.float32)[:, None]
        rotations, shifts = poses.rotations.to(device, torch.float32), poses.shifts.to(device, torch.float32)
        values, transfer = read_at(turned, rotations[:, None], band)
        model = (as_complex(values) * phases(band, shifts[:, None]))[:, 0]
        model = model if transfer is None else model * transfer[:, 0]
        power = model.abs().square()
        # Half of the noise of a coefficient is in phase with the model.
        error = count**2 * power * data.matched.abs().square() / 2
        for sums, terms in (
            (self.above, count * (model * data.matched).real),
            (self.below, count * power * data.transfer_power),
            (self.error, error),
        ):
            sums.index_add_(0, band.shell.cpu(), terms.double().sum(dim=0).cpu())

    def amplitude(self) -> Tensor:
        """Return h, (N // 2 + 1,): 0 below the first shell of which particles show something, and from its end on."""
        shown = self.above > LEAST_SIGNIFICANCE * self.error.sqrt()
        begun = shown.cumsum(dim=0) > 0
        ended = (begun & ~shown).cumsum(dim=0) > 0
        return torch.where(begun & ~ended, self.above / self.below.clamp_min(1e-30), 0.0).float()
