"""Alignment by the network, in one pass, and refined from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from gumnet.alignment.aligner import AlignerOptions
from gumnet.alignment.finish import at_priors, compare, finish
from gumnet.alignment.score import Candidates
from gumnet.errors import InputError
from gumnet.model.gumnet import GumNet
from gumnet.model.matched_filter import MatchedFilter
from gumnet.model.weights import load_model
from gumnet.particles import Poses
from gumnet.types import Volumes, Weights

if TYPE_CHECKING:
    from gumnet.alignment.aligner import Model


@dataclass(frozen=True)
class LearnedAligner:
    """Poses from Gum-Net; with a prior, the network is not asked and the prior is refined.

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

    @classmethod
    def make(cls, options: AlignerOptions, device: torch.device) -> LearnedAligner:
        """Return the aligner, with the network loaded if its path was given."""
        return cls(options, device, as_network(options.model).to(device))

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


def as_network(model: Model) -> GumNet:
    """Return a Gum-Net: itself, or that of a file.

    Raises
    ------
    InputError
        If there is none, or another model was given.
    """
    if model is None:
        raise InputError(
            "method 'gumnet' needs a model",
            cure="train one with `gumnet train`, and give its model.safetensors as --model, or as model= in Python",
        )
    if isinstance(model, MatchedFilter):
        raise InputError("method 'gumnet' takes a Gum-Net, not a matched filter", cure="use method 'matched'")
    return model if isinstance(model, GumNet) else load_model(model)


def check_box(model: GumNet, box: int) -> None:
    """Raise `InputError` where a model is not for volumes of a box."""
    if model.config.box != box:
        raise InputError(
            f"the model is for a box of {model.config.box}, the volumes are of {box}",
            cure="train a model at this box, or resample the volumes",
        )
