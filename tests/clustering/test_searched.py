"""Scores of all pairs share their first particle, and are those of pairs aligned one by one."""

from __future__ import annotations

import pytest
import torch

import gumnet
from gumnet.clustering.blocks import all_scores
from gumnet.clustering.config import ClusterConfig
from gumnet.clustering.searched import SearchedScores
from gumnet.geometry.so3 import rotation_from_vector
from gumnet.model.gumnet import GumNet, preset
from gumnet.particles import Poses
from gumnet.simulation.dataset import Simulation


@pytest.fixture(scope="module")
def made() -> Simulation:
    config = gumnet.SimulationConfig(snr=2.0, box=18, voxel_size_angstrom=20.0, max_shift=1, phantoms=2, seed=4)
    return gumnet.simulate(particles=4, config=config)


@pytest.mark.parametrize("method", ["exhaustive", "ht", "gumnet"])
def test_scores_are_those_of_align_pairs(made: Simulation, method: str, generator: torch.Generator) -> None:
    model = GumNet(preset("tiny", 18), generator=generator) if method == "gumnet" else None
    one, other = (rows.tolist() for rows in torch.triu_indices(4, 4, 1))
    read, weights = made.particles.read_volumes, made.particles.read_weights
    pairs = gumnet.align_pairs(
        read(one),
        read(other),
        weights_a=weights(one),
        weights_b=weights(other),
        method=method,
        model=model,
        max_shift=2.0,
    ).scores
    scores = all_scores(
        SearchedScores.of(made.particles, ClusterConfig(method=method, model=model, batch_size=2, max_shift=2.0))
    )
    assert scores == pytest.approx(pairs.numpy(), abs=1e-4)


def test_with_poses_pairs_start_from_them(made: Simulation) -> None:
    near = rotation_from_vector(
        torch.deg2rad(torch.tensor([[3.0, -2, 2], [-3, 3, 1], [2, 2, -4], [1, -3, 3]]).double())
    )
    poses = made.truth.compose(Poses.of(near, torch.zeros(4, 3).double()))
    config = ClusterConfig(method="poses", refine=True)
    true, moved = (all_scores(SearchedScores.of(made.particles.with_poses(p), config)) for p in (made.truth, poses))
    same = [
        i for i, (a, b) in enumerate(torch.triu_indices(4, 4, 1).T) if made.truth_classes[a] == made.truth_classes[b]
    ]
    assert moved[same] == pytest.approx(true[same], abs=0.02), "refined to the same pose"
