"""The classical baselines as alignment methods: H-T align and F&A align."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from gumnet.alignment.aligner import AlignerOptions
from gumnet.alignment.fa import FaSearch
from gumnet.alignment.finish import at_priors, compare, finish
from gumnet.alignment.ht import HtSearch
from gumnet.alignment.score import Candidates
from gumnet.alignment.shells import Masked, Shells
from gumnet.averaging.mask import soft_sphere
from gumnet.particles import Poses
from gumnet.types import Rotations, Vectors, Volumes, Weights


class Search(Protocol):
    """Finds the pose of one particle on one reference, by rotational matching on shells."""

    def pose(
        self, reference: Masked, shells_reference: Shells, particle: Masked, shells_particle: Shells
    ) -> tuple[Rotations, Vectors]:
        """Return rotation (3, 3) and shift (3,)."""


@dataclass(frozen=True)
class BaselineAligner:
    """Rotational matching pair by pair; with a prior nothing is searched, and the prior is refined.

    Without refinement the poses are the method's own. The scores are those of `gumnet.alignment.score` for every
    method, to be comparable; the method itself chooses by its own.

    Parameters
    ----------
    options
        Refinement, largest shift and band.
    device
        Where to compute.
    search
        Makes the search, from the options and the box.
    masked
        Whether the reference is masked by a soft sphere.
    """

    options: AlignerOptions
    device: torch.device
    search: Callable[[AlignerOptions, int], Search]
    masked: bool

    @classmethod
    def ht(cls, options: AlignerOptions, device: torch.device) -> BaselineAligner:
        """Return H-T align, which has no mask in real space."""
        return cls(options, device, HtSearch.make, masked=False)

    @classmethod
    def fa(cls, options: AlignerOptions, device: torch.device) -> BaselineAligner:
        """Return F&A align, which masks the reference."""
        return cls(options, device, FaSearch.make, masked=True)

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
            if prior is None:
                found = self._found(reference, particles, weights_reference, weights_particles)
            else:
                found = at_priors(prior, self.device)
            comparison = compare(self.options, reference, particles, weights_reference, weights_particles, prior)
            return finish(self.options, comparison, found, prior)

    def _found(
        self, reference: Volumes, particles: Volumes, weights_a: Weights | None, weights_b: Weights | None
    ) -> Candidates:
        """Return the poses that the search finds, (n, 1), without scores."""
        box = reference.shape[-1]
        shells = self.options.max_shell(box)
        search = self.search(self.options, box)
        a = b = None
        poses = []
        for i in range(len(particles)):
            if a is None or len(reference) > 1:
                a = self._ready(reference, weights_a, i, shells, masked=self.masked)
            b = self._ready(particles, weights_b, i, shells, masked=False)
            poses.append(search.pose(*a, *b))
        rotations, shifts = (torch.stack(part)[:, None] for part in zip(*poses, strict=True))
        return Candidates(rotations, shifts, shifts.new_zeros(shifts.shape[:2]))

    @staticmethod
    def _ready(
        volumes: Volumes, weights: Weights | None, i: int, shells: int, *, masked: bool
    ) -> tuple[Masked, Shells]:
        """Return volume i with its mask, and its spectrum on shells."""
        own = None if weights is None else weights[i : i + 1] if len(weights) > 1 else weights
        one = Masked.of(volumes[i : i + 1], own)
        if masked:
            one = Masked(one.volumes * soft_sphere(volumes.shape[-1], device=volumes.device), one.mask)
        return one, Shells.of(one, shells)
