"""Method "matched": the search on cleaned volumes, whatever the filter, and the filter that ships."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import gumnet
from gumnet.alignment.aligner import AlignerOptions, make_aligner
from gumnet.errors import InputError
from gumnet.evaluation.metrics import rotation_error_frobenius
from gumnet.model.gumnet import PRESETS, GumNet
from gumnet.model.matched_filter import MatchedFilter, MatchedFilterConfig, save_filter
from gumnet.model.shipped import GUMNET, MATCHED, shipped_weights
from gumnet.model.weights import save_model
from gumnet.simulation.config import SimulationConfig
from gumnet.simulation.phantom import phantoms

MEBIBYTE = 2**20


def pairs(count: int, snr: float, *, phantom_seed: int = 500, seed: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pairs of structures that no filter was trained on: volumes a and b, the weights of b, the true rotations."""
    made = gumnet.simulate(phantoms(1, 32, seed=phantom_seed), pairs=count, config=SimulationConfig(snr=snr, seed=seed))
    assert made.pairs is not None
    rows_a, rows_b = made.pairs.T.tolist()
    weights = made.particles.read_weights(rows_b)
    assert weights is not None
    read = made.particles.read_volumes
    return read(rows_a), read(rows_b), weights, made.pair_truth().rotations


def test_with_an_untrained_filter_it_is_the_search() -> None:
    a, b, weights, _ = pairs(2, 1.0)
    plain = gumnet.align_pairs(a, b, weights_b=weights)
    model = MatchedFilter(MatchedFilterConfig(channels=4, kernels=(3, 3, 3)))
    matched = gumnet.align_pairs(a, b, weights_b=weights, method="matched", model=model)
    torch.testing.assert_close(matched.rotations, plain.rotations)
    torch.testing.assert_close(matched.shifts, plain.shifts)


def test_the_filter_that_ships_finds_what_the_search_does_not() -> None:
    """Eight pairs of a phantom in noise so strong that the search misses some."""
    a, b, weights, truth = pairs(8, 0.12)
    plain = gumnet.align_pairs(a, b, weights_b=weights, max_shift=6.4)
    matched = gumnet.align_pairs(a, b, weights_b=weights, method="matched", max_shift=6.4)
    errors = [rotation_error_frobenius(found.rotations, truth) for found in (plain, matched)]
    assert float(errors[1].mean()) < float(errors[0].mean()) - 0.2
    assert matched.confidences is not None


def test_clean_pairs_stay_exact() -> None:
    a, b, weights, truth = pairs(4, 100.0)
    found = gumnet.align_pairs(a, b, weights_b=weights, method="matched", max_shift=6.4)
    assert float(rotation_error_frobenius(found.rotations, truth).max()) < 0.05
    # As exact as without the filter, which takes more than it gives there.
    plain = gumnet.align_pairs(a, b, weights_b=weights, max_shift=6.4)
    torch.testing.assert_close(found.rotations, plain.rotations, atol=2e-3, rtol=0)
    torch.testing.assert_close(found.shifts, plain.shifts, atol=1e-2, rtol=0)


def test_clean_pairs_among_noisy_ones_keep_their_place() -> None:
    kinds = [pairs(2, snr, seed=seed) for snr, seed in ((100.0, 3), (0.3, 4))]
    a, b, weights = (torch.cat([one[i] for one in kinds])[[2, 0, 3, 1]] for i in range(3))
    together = gumnet.align_pairs(a, b, weights_b=weights, method="matched", max_shift=6.4)
    assert together.confidences is not None
    for i in range(4):
        row = slice(i, i + 1)
        alone = gumnet.align_pairs(a[row], b[row], weights_b=weights[row], method="matched", max_shift=6.4)
        torch.testing.assert_close(together.rotations[row], alone.rotations, atol=1e-3, rtol=0)
        torch.testing.assert_close(together.shifts[row], alone.shifts, atol=1e-2, rtol=0)
        torch.testing.assert_close(together.scores[row], alone.scores, atol=1e-4, rtol=0)
        torch.testing.assert_close(together.confidences[row], alone.confidences, atol=1e-2, rtol=0)


@pytest.mark.parametrize(("name", "most"), [(MATCHED, 4), (GUMNET, 12)])
def test_the_weights_that_ship_are_small_and_have_a_card(name: str, most: int) -> None:
    path = shipped_weights(name)
    assert path.stat().st_size < most * MEBIBYTE
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    for part in ("Trained on", "Where it fails", "Figures"):
        assert part in card


def test_models_of_other_kinds_are_refused(tmp_path: Path) -> None:
    network = GumNet(PRESETS["tiny"])
    with pytest.raises(InputError, match="not a Gum-Net"):
        make_aligner("matched", AlignerOptions(model=network), torch.device("cpu"))
    with pytest.raises(InputError, match="a filter alone"):
        make_aligner("gumnet", AlignerOptions(model=MatchedFilter()), torch.device("cpu"))
    save_model(tmp_path / "network.safetensors", network)
    save_filter(tmp_path / "filter.safetensors", MatchedFilter())
    with pytest.raises(InputError, match="holds no matched filter"):
        make_aligner("matched", AlignerOptions(model=tmp_path / "network.safetensors"), torch.device("cpu"))
    with pytest.raises(InputError, match="a filter alone"):
        make_aligner("gumnet", AlignerOptions(model=tmp_path / "filter.safetensors"), torch.device("cpu"))
