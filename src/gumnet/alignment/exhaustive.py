"""Exhaustive search: a grid of rotations with all shifts by FFT in a low band, then refinement of the best."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from gumnet.alignment.aligner import AlignerOptions
from gumnet.alignment.finish import at_priors, compare, finish
from gumnet.alignment.grid_search import Limits, Step, search, search_near
from gumnet.alignment.growing_bands import raised
from gumnet.alignment.score import Comparison
from gumnet.particles import Poses
from gumnet.types import Volumes, Weights

if TYPE_CHECKING:
    from gumnet.model.matched_filter import MatchedFilter

STEPS: tuple[Step, ...] = (Step(20.0, 5, samples=2.4), Step(15.0, 6, within=5.0))
"""Most rotations lie within 8 degrees of the nearest of the fine grid: at the rim of a particle two thirds as wide as
its box, under a third of a period of shell 6, which is 64 A in a box of 32 voxels of 12 A."""
MAP_STEPS: tuple[Step, ...] = (Step(20.0, 6, samples=2.4), Step(11.0, 8, within=3.0))
"""Against a map that all particles share. It has little noise, so finer shells tell rotations apart, and the map is
turned once for all. Shell 5 takes a proteasome for itself turned about an axis that is nearly one of its own: 8 % of
its particles at a signal-to-noise ratio of 0.05 came out so (docs/design.md)."""
WITHIN_CLEANED = 3.0
"""`Step.within` of the last step on cleaned volumes, where the best stand out more: rotations that
cannot win are not scored (the time and errors of "matched": docs/benchmarks.md)."""
CANDIDATES = 64
"""How many peaks of the grid search may be refined in the low band: the highest of the grid need not be it."""
UNREFINED = 32
"""How many are kept where none is refined: for the confidence, and for a judge, which looks at each."""
SEPARATION_DEGREES = 12.0
"""Least angle between two of them: two on one peak would be refined to the same pose."""


@dataclass(frozen=True)
class ExhaustiveAligner:
    """Search over all rotations and shifts; with a prior, near it.

    Parameters
    ----------
    options
        Refinement, largest shift and band.
    device
        Where to compute.
    cleaner
        Learned filter that cleans the volumes first, if any.
    """

    options: AlignerOptions
    device: torch.device
    cleaner: MatchedFilter | None = None

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
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            given = (reference, particles, weights_reference, weights_particles)
            return self._found(compare(self.options, *given, prior, self.cleaner), prior)

    def _found(self, comparison: Comparison, prior: Poses | None) -> Poses:
        box = comparison.box
        limits: Limits = {
            "max_shift": self.options.max_shift_voxels(box),
            "candidates": CANDIDATES if self.options.refine else UNREFINED,
            "separation_degrees": SEPARATION_DEGREES,
            "symmetry": self.options.symmetry,
        }
        shells = self.options.max_shell(box)
        lowest = self.options.min_shell(box)
        steps = MAP_STEPS if comparison.to_map else STEPS
        steps = tuple(replace(step, shells=min(raised(step.shells, lowest), shells)) for step in steps)
        if self.cleaner is not None:
            steps = (*steps[:-1], replace(steps[-1], within=WITHIN_CLEANED))
        if prior is None:
            found = search(comparison, steps, **limits)
        elif self.options.near is not None:
            grid = self.options.near.grid(steps[-1].spacing_degrees)
            rotations = prior.rotations.double().cpu()[:, None] @ grid
            found = search_near(comparison, rotations, shells=steps[-1].shells, **limits)
        else:
            found = at_priors(prior, self.device)
        return finish(self.options, comparison, found, prior, steps[-1].shells)
