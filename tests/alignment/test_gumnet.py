"""Method "gumnet" with the network that ships: it needs no model, and finds poses with and without refinement."""

from __future__ import annotations

import torch

import gumnet
from gumnet.alignment.aligner import AlignerOptions, make_aligner
from gumnet.alignment.exhaustive import ExhaustiveAligner
from gumnet.alignment.learned import LearnedAligner
from gumnet.benchmark.pairs import Pairs
from gumnet.evaluation.metrics import rotation_error_frobenius
from gumnet.model.gumnet import PRESETS, GumNet
from gumnet.simulation.config import SimulationConfig
from gumnet.simulation.phantom import phantoms


def test_it_needs_no_model_and_no_refinement() -> None:
    """Of a structure that it was not trained on, at SNR 1, all poses are within the errors that its grid leaves."""
    pairs = Pairs.of(gumnet.simulate(phantoms(1, 32, seed=501), pairs=4, config=SimulationConfig(snr=1.0, seed=4)))
    for refine, most in ((False, 0.5), (True, 0.15)):
        found = gumnet.align_pairs(
            pairs.a, pairs.b, weights_b=pairs.weights_b, method="gumnet", refine=refine, max_shift=6.4
        )
        assert float(rotation_error_frobenius(found.rotations, pairs.truth.rotations).max()) < most
        assert found.confidences is not None
        assert float(found.confidences.min()) > 0.5


def test_networks_of_both_kinds_are_taken() -> None:
    device = torch.device("cpu")
    assert isinstance(make_aligner("gumnet", AlignerOptions(), device), ExhaustiveAligner)
    paper = GumNet(PRESETS["tiny"])
    assert isinstance(make_aligner("gumnet", AlignerOptions(model=paper), device), LearnedAligner)
