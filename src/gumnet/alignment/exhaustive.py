"""Exhaustive search: a grid of rotations with all shifts by FFT in a low band, then refinement of the best."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gumnet.alignment.aligner import AlignerOptions
from gumnet.alignment.grid_search import search
from gumnet.alignment.refine import refine_in_two_bands
from gumnet.alignment.score import Candidates, Comparison, rescored
from gumnet.geometry.so3 import grid_size_for_spacing, super_fibonacci
from gumnet.particles import Poses
from gumnet.types import Volumes, Weights

COARSE_SHELLS = 7
"""Highest shell of the grid search: 55 A in a box of 32 voxels of 12 A."""
GRID_SPACING_DEGREES = 15.0
"""Spacing of the grid. Most rotations lie within 8 degrees of the nearest: at the rim of a particle two thirds as
wide as its box, under a third of a period of shell 7."""
CANDIDATES = 16
"""How many peaks of the grid search are refined in the low band: cheap, and the highest of the grid need not be it."""
SEPARATION_DEGREES = 20.0
"""Least angle between two of them: two on one peak would be refined to the same pose."""


@dataclass(frozen=True)
class ExhaustiveAligner:
    """Search over all rotations and shifts; with a prior, refinement from there.

    Parameters
    ----------
    options
        Refinement, largest shift and band.
    device
        Where to compute.
    """

    options: AlignerOptions
    device: torch.device

    @classmethod
    def make(cls, options: AlignerOptions, device: torch.device) -> ExhaustiveAligner:
        """Return the aligner; it needs no model."""
        return cls(options, device)

    def align(
        self,
        reference: Volumes,
        particles: Volumes,
        weights_reference: Weights | None,
        weights_particles: Weights | None,
        prior: Poses | None = None,
    ) -> Poses:
        """Return the poses of particles (n, N, N, N) on a reference (1 or n, N, N, N); see `Aligner.align`."""
        box = reference.shape[-1]
        shells, max_shift = self.options.max_shell(box), self.options.max_shift_voxels(box)
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            comparison = Comparison.of(reference, particles, weights_reference, weights_particles)
            if prior is None:
                found = search(
                    comparison,
                    super_fibonacci(grid_size_for_spacing(GRID_SPACING_DEGREES)),
                    shells=min(COARSE_SHELLS, shells),
                    max_shift=max_shift,
                    candidates=CANDIDATES,
                    separation_degrees=SEPARATION_DEGREES,
                )
            else:
                found = Candidates.from_poses(prior, self.device)
            if self.options.refine:
                found = refine_in_two_bands(
                    comparison, found, coarse_shells=COARSE_SHELLS, shells=shells, max_shift=max_shift
                )
            else:
                found = rescored(comparison, found.best(1), shells)
        return found.poses()
