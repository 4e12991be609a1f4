"""Exhaustive search: a grid of rotations with all shifts by FFT in a low band, then refinement of the best."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from gumnet.alignment.aligner import AlignerOptions, of_rows
from gumnet.alignment.finish import at_priors, compare, finish
from gumnet.alignment.grid_search import Limits, Step, search, search_near
from gumnet.alignment.refine import raised, refine
from gumnet.particles import Poses
from gumnet.types import Volumes, Weights

if TYPE_CHECKING:
    from gumnet.model.matched_filter import MatchedFilter

STEPS = (Step(20.0, 5, samples=2.4), Step(15.0, 6, within=5.0))
"""Most rotations lie within 8 degrees of the nearest of the fine grid: at the rim of a particle two thirds as wide as
its box, under a third of a period of shell 6, which is 64 A in a box of 32 voxels of 12 A."""
WITHIN_CLEANED = 3.0
"""`Step.within` of the last step on cleaned volumes, where the best stand out more: rotations that
cannot win are not scored (the time and errors of "matched": docs/benchmarks.md)."""
CLEAN = 0.85
"""Score of cleaned volumes from which on there is so little noise that the filter takes more than it gives: poses are
then refined on the volumes as they are. Chosen on built-in phantoms (docs/matched.md)."""
_STEPS = 3
CANDIDATES = 64
"""How many peaks of the grid search may be refined in the low band: the highest of the grid need not be it."""
UNREFINED = 32
"""How many are kept where none is refined: for the confidence, and for a judge, which looks at each."""
SEPARATION_DEGREES = 12.0
"""Least angle between two of them: two on one peak would be refined to the same pose."""


_Given = tuple[Volumes, Volumes, Weights | None, Weights | None]
"""Reference, particles, and their weights."""


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
            poses = self._found(given, prior)
            if self.cleaner is None or not self.options.refine or self.options.near is not None:
                return poses
            return self._refined_as_they_are(given, prior, poses)

    def _found(self, given: _Given, prior: Poses | None) -> Poses:
        box = given[0].shape[-1]
        limits: Limits = {
            "max_shift": self.options.max_shift_voxels(box),
            "candidates": CANDIDATES if self.options.refine else UNREFINED,
            "separation_degrees": SEPARATION_DEGREES,
            "symmetry": self.options.symmetry,
        }
        comparison = compare(self.options, *given, prior, self.cleaner)
        shells = self.options.max_shell(box)
        lowest = self.options.min_shell(box)
        steps = tuple(replace(step, shells=min(raised(step.shells, lowest), shells)) for step in STEPS)
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

    def _refined_as_they_are(self, given: _Given, prior: Poses | None, poses: Poses) -> Poses:
        """Return poses, those of nearly clean volumes refined once more on the volumes as they are."""
        rows = torch.nonzero(poses.scores >= CLEAN)[:, 0]
        if len(rows) == 0:
            return poses
        reference, particles, weights_reference, weights_particles = given
        at = rows.to(self.device)
        some = poses[rows]
        comparison = compare(
            self.options,
            of_rows(reference, at),
            of_rows(particles, at),
            of_rows(weights_reference, at),
            of_rows(weights_particles, at),
            some,
        )
        box = comparison.box
        start, reach = at_priors(some, self.device), self.options.max_shift_voxels(box)
        plain = refine(
            comparison, start, shells=self.options.max_shell(box), max_shift=reach, iterations=_STEPS
        ).poses()
        rotations, shifts = poses.rotations.clone(), poses.shifts.clone()
        centres = torch.zeros_like(some.shifts) if prior is None else prior.shifts[rows].to(some.shifts)
        rotations[rows] = plain.rotations
        shifts[rows] = centres + (some.shifts + plain.shifts - centres).clamp(-reach, reach)
        # Scores stay those of cleaned volumes, as of all others.
        return replace(poses, rotations=rotations, shifts=shifts)
