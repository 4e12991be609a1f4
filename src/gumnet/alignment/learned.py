"""Alignment by the network, in one pass, and refined from there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from gumnet.alignment.aligner import AlignerOptions
from gumnet.alignment.finish import at_priors, compare, finish
from gumnet.alignment.matched import matched_aligner
from gumnet.alignment.score import Candidates
from gumnet.errors import InputError
from gumnet.model.gumnet import GumNet
from gumnet.model.matched_filter import MatchedFilter, load_filter
from gumnet.model.shipped import GUMNET, shipped_weights
from gumnet.model.weights import is_filter, load_model
from gumnet.particles import Poses
from gumnet.types import Volumes, Weights

if TYPE_CHECKING:
    from gumnet.alignment.aligner import Aligner, Model


@dataclass(frozen=True)
class LearnedAligner:
    """Poses from a Gum-Net of the paper's kind; with a prior, the network is not asked and the prior is refined.

    Parameters
    ----------
    options
        Refinement, largest shift, band, model.
    device
        Where to compute.
    model
        The network, in evaluation mode on ``device``.
    """

    options: AlignerOptions
    device: torch.device
    model: GumNet

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
        check_box(self.model, box)
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            comparison = compare(self.options, reference, particles, weights_reference, weights_particles, prior)
            if prior is None:
                found = Candidates.from_poses(self._predict(reference, particles), self.device)
            else:
                found = at_priors(prior, self.device)
            return finish(self.options, comparison, found, prior)

    def _predict(self, reference: Volumes, particles: Volumes) -> Poses:
        """Return the network's poses; it runs in evaluation mode, and is left in the mode it came in."""
        training = self.model.training
        device = next(self.model.parameters()).device
        self.model.eval()
        try:
            rotations, shifts = self.model(reference.expand_as(particles).to(device), particles.to(device))
        finally:
            self.model.train(training)
        return Poses.of(rotations, shifts)


def gumnet_aligner(options: AlignerOptions, device: torch.device) -> Aligner:
    """Return what aligns with the network that the options name, or with the one that ships with the package.

    A network of the paper's kind regresses poses. One of the kind that ships cleans the volumes, compares them in all
    poses of a grid, and judges and corrects the best (docs/gumnet.md): the search goes round it.

    Raises
    ------
    InputError
        If a file is named that holds neither.
    """
    model = as_model(options.model)
    if isinstance(model, GumNet):
        return LearnedAligner(options, device, model.to(device))
    return matched_aligner(replace(options, model=model), device)


def as_model(model: Model) -> GumNet | MatchedFilter:
    """Return a network of method "gumnet": itself, that of a file, or the shipped one for None."""
    if not isinstance(model, GumNet | MatchedFilter):
        path = shipped_weights(GUMNET) if model is None else model
        model = load_filter(path) if is_filter(path) else load_model(path)
    if isinstance(model, MatchedFilter) and model.judge is None:
        problem = "method 'gumnet' takes a network that judges poses, and this is a filter alone"
        raise InputError(problem, cure="use method 'matched'")
    return model


def check_box(model: GumNet, box: int) -> None:
    """Raise `InputError` where a model is not for volumes of a box."""
    if model.config.box != box:
        raise InputError(
            f"the model is for a box of {model.config.box}, the volumes are of {box}",
            cure="train a model at this box, or resample the volumes",
        )
