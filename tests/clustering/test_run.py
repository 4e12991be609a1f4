"""Classes of particles whose truth is known, whatever the run went through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gumnet
from gumnet.averaging.fsc import fsc
from gumnet.clustering import searched
from gumnet.errors import InputError
from gumnet.evaluation.metrics import pair_errors
from gumnet.evaluation.partition import adjusted_rand_index, rightly_classified
from gumnet.journal import Journal
from gumnet.simulation.dataset import Simulation

BOX = 16


@pytest.fixture(scope="module")
def made() -> Simulation:
    config = gumnet.SimulationConfig(snr=100.0, box=BOX, voxel_size_angstrom=20.0, max_shift=1, phantoms=2, seed=6)
    return gumnet.simulate(particles=8, config=config)


FEW = range(6)
SEARCH = gumnet.ClusterConfig(k=2, max_shift=2.0)
"""For the first six particles: 15 pairs are enough to align."""


@pytest.fixture(scope="module")
def found(made: Simulation) -> gumnet.Clustering:
    return gumnet.cluster(made.particles.select(FEW), SEARCH)


def test_two_kinds_of_clean_particles_are_told_apart(made: Simulation, found: gumnet.Clustering) -> None:
    assert adjusted_rand_index(found.particles.classes, made.truth_classes[FEW]) == 1
    assert found.distances.shape == (15,)
    assert found.distances.dtype == np.float32
    assert found.averages.shape == (2, BOX, BOX, BOX)
    assert {int(found.particles.classes[i]) for i in found.medoids} == {1, 2}


@pytest.mark.parametrize("linkage", ["complete", "average", "ward", "single"])
def test_clean_particles_at_their_poses(made: Simulation, linkage: str) -> None:
    config = gumnet.ClusterConfig(method="poses", linkage=linkage)
    at_truth = gumnet.cluster(made.particles.with_poses(made.truth), config)
    assert at_truth.suggestion is not None
    assert at_truth.k == at_truth.suggestion.k == 2
    assert bool(rightly_classified(at_truth.particles.classes, made.truth_classes).all())
    assert torch.equal(at_truth.particles.poses.rotations, made.truth.rotations), "the poses of the table stay"
    for number, average in enumerate(at_truth.averages, start=1):
        kind = int(made.truth_classes[at_truth.particles.classes == number][0])
        assert fsc(average, made.structures[kind - 1])[1:5].min() > 0.8


def test_particles_are_aligned_to_the_medoid_of_their_class(made: Simulation, found: gumnet.Clustering) -> None:
    for number, medoid in enumerate(found.medoids, start=1):
        members = torch.nonzero(found.particles.classes == number)[:, 0]
        on_medoid = made.truth[members].compose(made.truth[[medoid] * len(members)].inverse())
        errors = pair_errors(found.particles.poses[members], on_medoid)
        assert errors.degrees.max() < 10, "clean, but each with a wedge of its own"
        assert errors.degrees[members == medoid].item() < 1e-6
        assert not found.particles.poses.scores[members[members != medoid]].isnan().any()


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searched, "PAIRS_A_BLOCK", 4)


@pytest.mark.usefixtures("small_blocks")
def test_blocks_and_a_stop_change_nothing(
    made: Simulation, found: gumnet.Clustering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    particles, rows, asked = made.particles.select(FEW), searched.SearchedScores.rows, []
    run: dict[str, Any] = {"path": tmp_path / "journal", "settings": {}, "inputs": {}}

    def stopping(self: searched.SearchedScores, first: int, last: int, display: Any) -> torch.Tensor:
        if first >= 2:
            raise KeyboardInterrupt
        return rows(self, first, last, display)

    monkeypatch.setattr(searched.SearchedScores, "rows", stopping)
    with pytest.raises(KeyboardInterrupt), Journal.open(**run) as journal:
        gumnet.cluster(particles, SEARCH, journal=journal)

    def counting(self: searched.SearchedScores, first: int, last: int, display: Any) -> torch.Tensor:
        asked.append(first)
        return rows(self, first, last, display)

    monkeypatch.setattr(searched.SearchedScores, "rows", counting)
    with Journal.open(**run, resume=True) as journal:
        resumed = gumnet.cluster(particles, SEARCH, journal=journal)
    assert asked
    assert min(asked) >= 2
    assert np.array_equal(resumed.distances, found.distances)
    assert torch.equal(resumed.averages, found.averages)


def test_other_numbers_of_classes_from_the_same_distances(made: Simulation, found: gumnet.Clustering) -> None:
    alone = gumnet.cluster(made.particles.select(FEW), gumnet.ClusterConfig(k=6), distances=found.distances)
    assert alone.k == 6
    assert not alone.silhouettes.any()
    torch.testing.assert_close(alone.averages[0], made.particles.read_volumes([alone.medoids[0]])[0], atol=0.2, rtol=0)
    assert alone.suggestion is None


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"k": 9}, "9 classes of 8 particles.*1 to 8"),
        ({"k": 0}, "0 classes"),
        ({"linkage": "median"}, "linkage 'median'.*complete"),
        ({"method": "magic"}, "method 'magic'"),
        ({"max_shift": 9.0}, "max_shift 9"),
        ({"low_pass_angstrom": 30.0}, "low_pass_angstrom 30"),
        ({"mask": torch.ones(4, 4, 4)}, "mask has shape"),
        ({"method": "gumnet", "model": "no.safetensors"}, "no such file"),
    ],
)
def test_what_cannot_be_is_said(made: Simulation, config: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        gumnet.cluster(made.particles, gumnet.ClusterConfig(**config))


def test_particles_that_cannot_be_are_said(made: Simulation) -> None:
    with pytest.raises(InputError, match="1 particles form no pair"):
        gumnet.cluster(made.particles.select([0]))
    with pytest.raises(InputError, match=r"distances of shape \(3,\)"):
        gumnet.cluster(made.particles, distances=np.ones(3, dtype=np.float32))
    volumes = made.particles.read_volumes(range(8)).clone()
    volumes[5, 2, 2, 2] = torch.nan
    spoilt = gumnet.Particles.from_tensors(volumes, voxel_size_angstrom=20.0)
    for method in ("exhaustive", "poses"):
        with pytest.raises(InputError, match="particle 6 holds NaN"):
            gumnet.cluster(spoilt, gumnet.ClusterConfig(method=method))
