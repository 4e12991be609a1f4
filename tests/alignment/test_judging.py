"""What a judge is told of the poses of a search: which of them have their scores read in its shells."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import gumnet
from gumnet.alignment import judging
from gumnet.alignment.exhaustive import SEPARATION_DEGREES
from gumnet.alignment.grid_search import Step, search
from gumnet.alignment.matched import as_filter
from gumnet.alignment.score import Candidates, Comparison
from gumnet.simulation.config import SimulationConfig
from gumnet.simulation.phantom import phantoms

MOST = 8


@pytest.fixture(scope="module")
def compared() -> tuple[Comparison, Candidates]:
    """Three pairs, one nearly clean and two noisy, and the 32 best poses of a coarse grid."""
    parts = [
        gumnet.simulate(phantoms(1, 32, seed=500), pairs=n, config=SimulationConfig(snr=snr, seed=3))
        for n, snr in ((1, 100.0), (2, 0.2))
    ]
    rows = [part.pairs.T.tolist() for part in parts if part.pairs is not None]
    a = torch.cat([part.particles.read_volumes(one) for part, (one, _) in zip(parts, rows, strict=True)])
    b = torch.cat([part.particles.read_volumes(one) for part, (_, one) in zip(parts, rows, strict=True)])
    with torch.no_grad():
        comparison = Comparison.of(a, b, None, None, cleaner=as_filter(None))
        found = search(
            comparison, (Step(20.0, 5),), max_shift=6.4, candidates=32, separation_degrees=SEPARATION_DEGREES
        )
    return comparison, found


def told(comparison: Comparison, poses: Candidates, most: int | None) -> Tensor:
    assert comparison.judging is not None
    with torch.no_grad():
        searched, verdict = comparison.judging.looked_at(comparison, poses, most=most)
    assert verdict.log_likelihood.shape[1] == (poses.scores.shape[1] if most is None else most)
    # A pose that is not read is not looked at; what is said of it changes nothing.
    unread = ~searched[:, :most].isfinite()
    assert bool((verdict.log_likelihood[unread] == 0).all())
    assert bool((verdict.rotation[unread] == 0).all())
    return searched


def test_poses_that_cannot_count_are_not_read(compared: tuple[Comparison, Candidates]) -> None:
    comparison, poses = compared
    every, some = told(comparison, poses, None), told(comparison, poses, MOST)
    read = some.isfinite()
    # Of the clean pair no others come near its best; of noisy ones others do.
    assert read.sum(dim=1)[0] < read.sum(dim=1)[1:].min()
    torch.testing.assert_close(some[read], every[read], rtol=1e-4, atol=1e-4)
    assert float(every.softmax(dim=1)[~read].sum()) < 0.01


def test_all_are_read_where_all_may_count(
    compared: tuple[Comparison, Candidates], monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison, poses = compared
    monkeypatch.setattr(judging, "_WORTH_READING", 1e6)
    torch.testing.assert_close(told(comparison, poses, MOST), told(comparison, poses, None), rtol=1e-4, atol=1e-4)
