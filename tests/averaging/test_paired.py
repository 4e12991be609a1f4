"""First maps that begin with what pairs agree on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gumnet.alignment.score import default_mask
from gumnet.averaging import paired
from gumnet.averaging.checkpoint import Checkpoint
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.low_band import LowBand
from gumnet.averaging.paired import begun_from_pairs
from gumnet.averaging.start import StartConfig, StartSearch
from gumnet.averaging.start_config import Phase
from gumnet.errors import InputError
from gumnet.evaluation.metrics import set_errors
from gumnet.geometry.so3 import random_rotations
from gumnet.journal import Journal
from gumnet.particles import Poses
from gumnet.simulation.config import SimulationConfig
from gumnet.simulation.dataset import Simulation, simulate
from gumnet.simulation.phantom import phantom
from gumnet.types import Volumes, Weights

BOX, COUNT = 16, 30
CONFIG = AverageConfig(start="pairs", device="cpu")


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    config = SimulationConfig(snr=2.0, box=BOX, voxel_size_angstrom=24.0, max_shift=1.5, ctf=False, noise="white")
    return simulate(phantom(0, BOX)[None], particles=COUNT, config=config)


class Oracle:
    """Knows the pose of each particle; tells that of a pair, or anything for a share of them."""

    def __init__(self, simulation: Simulation, wrong: float) -> None:
        self.volumes, self.truth = simulation.particles.read_volumes(range(COUNT)), simulation.truth
        self.wrong, self.generator, self.calls = wrong, torch.Generator().manual_seed(3), 0

    def align(
        self,
        reference: Volumes,
        particles: Volumes,
        weights_reference: Weights | None,
        weights_particles: Weights | None,
        prior: Poses | None = None,
    ) -> Poses:
        self.calls += 1
        a, b = ([int((v == self.volumes).flatten(1).all(1).nonzero()) for v in vs] for vs in (reference, particles))
        poses = self.truth[b].compose(self.truth[a * len(b)].inverse())
        wrong = torch.rand(len(b), generator=self.generator) < self.wrong
        anything = random_rotations(len(b), generator=self.generator)
        return Poses.of(torch.where(wrong[:, None, None], anything, poses.rotations), poses.shifts)


def told_by(oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paired, "make_aligner", lambda *_: oracle)


def test_first_maps_begin_with_the_poses_of_pairs(simulation: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    told_by(Oracle(simulation, 0.5), monkeypatch)
    generator = torch.Generator().manual_seed(1)
    begun, notes = begun_from_pairs(simulation.particles, CONFIG, 1, "half 1", generator=generator, kept=Checkpoint())
    assert begun is not None
    assert "agree on the poses of" in notes[0]
    used = begun.used
    assert int(used.sum()) > 0.9 * COUNT
    assert float(set_errors(begun.poses[used], simulation.truth[used]).degrees.max()) < 1
    # A single step in the band of the last phases finds all particles on the map of the others.
    config = StartConfig(max_shift=1.5, schedule=(Phase(5, 1, 0.5, 0.3),), starts=1)
    data = LowBand.of(simulation.particles, 5)
    found = StartSearch(data, config, mask=default_mask(BOX), generator=generator, begun=begun).finish()
    assert set_errors(found.poses, simulation.truth).failure_rate == 0
    assert found.history[0].evidence > 3


def test_pairs_that_agree_on_nothing_start_nothing(simulation: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    told_by(Oracle(simulation, 1.0), monkeypatch)
    generator = torch.Generator().manual_seed(1)
    begun, notes = begun_from_pairs(simulation.particles, CONFIG, 1, "half 1", generator=generator, kept=Checkpoint())
    assert begun is None
    assert "random starts took their place" in notes[0]


def test_aligned_pairs_are_kept(simulation: Simulation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    oracle = Oracle(simulation, 0.5)
    told_by(oracle, monkeypatch)
    results = []
    with Journal.open(tmp_path / "journal", settings={}, inputs={}) as journal:
        for _ in range(2):
            generator = torch.Generator().manual_seed(1)
            kept = Checkpoint(journal)
            begun, _ = begun_from_pairs(simulation.particles, CONFIG, 1, "half 1", generator=generator, kept=kept)
            assert begun is not None
            results.append((begun.poses.rotations, torch.rand(1, generator=generator)))
            before = oracle.calls
    assert oracle.calls == before
    assert oracle.calls <= COUNT
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_symmetric_structures_cannot_start_from_pairs() -> None:
    with pytest.raises(InputError, match="start 'pairs' is not possible under C7"):
        AverageConfig(start="pairs", symmetry="C7")
