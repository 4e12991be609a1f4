"""What is found of particles whose table has poses, on simulated ones, where these poses are true."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import gumnet
from gumnet.benchmark import real as module
from gumnet.benchmark.aligning import Setting
from gumnet.benchmark.real import RealSet, band_passed_correlation, measure_real
from gumnet.benchmark.real_report import real_markdown
from gumnet.benchmark.rows import Method
from gumnet.errors import InputError
from gumnet.geometry.so3 import random_rotations
from gumnet.io.read import read_particles
from gumnet.model.gumnet import PRESETS, GumNet
from gumnet.particles import Particles, Poses

SETTING = Setting(4.0, 19.2)


@pytest.fixture(scope="module")
def particles() -> Particles:
    config = gumnet.SimulationConfig(snr=20.0, box=20, voxel_size_angstrom=19.2, max_shift=1.0, phantoms=1, seed=4)
    made = gumnet.simulate(particles=10, config=config)
    return made.particles.with_poses(made.truth)


def test_search_agrees_with_true_poses_and_joint_alignment_in_any_frame(
    particles: Particles, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, average = RealSet.of(particles, 5, seed=0), module.average
    assert len(real.at_file.half_maps) == 2

    def joint(given: Particles, config: object) -> object:
        assert bool((given.poses.rotations == torch.eye(3)).all()), "it starts from no poses"
        assert bool((given.half_sets == 0).all())
        frame = Poses.of(random_rotations(1, generator=torch.Generator().manual_seed(2)), torch.ones(1, 3).double())
        turned = particles.with_poses(particles.poses.compose(frame))
        made = average(turned, gumnet.AverageConfig(iterations=0))
        return replace(made, particles=turned)

    monkeypatch.setattr(module, "average", joint)
    methods = {"exhaustive": Method.of("exhaustive", SETTING, {})}
    network = Method("gumnet", replace(SETTING, model=GumNet(PRESETS["tiny"])))
    rows = ("exhaustive", "gumnet", "joint", "bound")
    found = measure_real(real, {**methods, "gumnet": network}, rows, SETTING)
    assert list(found["rows"]) == ["file", "exhaustive", "joint"]
    assert found["not_run"] == {"gumnet": "the model is for a box of 32, the volumes are of 20"}
    searched, together, file = (found["rows"][name] for name in ("exhaustive", "joint", "file"))
    assert searched["particles_within"]["share"] > 0.8
    assert searched["pairs_within"]["share"] == 1
    assert together["particles_within"]["share"] == 1
    assert together["pairs_within"]["share"] == 1
    assert together["correlation"] == pytest.approx(file["correlation"], abs=1e-3)
    assert searched["correlation"] > 0.9 * file["correlation"] > 0.2
    assert set(found["particles_order"]["order"]) == {"joint", "exhaustive"}, "the file's own are no method's"
    assert sum(d <= 15 for d in searched["particles"]["degrees"]) == searched["particles_within"]["count"]
    text = real_markdown({"table": "table.star", **found})
    assert "By particles within 15 degrees, the most first: exhaustive ~ joint." in text
    assert "the file's poses | - | - |" in text
    assert "10 particles, 5 pairs" in text


def test_tables_without_poses_or_with_few_particles_are_refused(particles: Particles) -> None:
    with pytest.raises(InputError, match="no poses"):
        RealSet.of(particles.with_poses(Poses.identity(10)), 5, 0)
    with pytest.raises(InputError, match="too few"):
        RealSet.of(particles.select([0, 1]), 5, 0)


def test_pairs_are_all_of_them_where_there_are_no_more(particles: Particles) -> None:
    rows = RealSet.of(particles.select(range(4)), 100, 0).rows
    assert len(rows) == 6
    assert bool((rows[:, 0] < rows[:, 1]).all())


def test_half_maps_of_real_particles_agree_at_the_poses_of_their_file(shared_data: Path) -> None:
    (path,) = (shared_data / "real-tilt-particles").glob("*_optimisation_set.star")
    real = RealSet.of(read_particles(path), 6, 0)
    assert band_passed_correlation(real.at_file.half_maps) > 0.33
    turned = Poses.of(random_rotations(6, generator=torch.Generator().manual_seed(1)), real.pairs.truth.shifts)
    at_file, at_random = real.correlations(real.pairs.truth).mean(), real.correlations(turned).mean()
    assert at_file > at_random


def test_correlation_of_a_map_with_itself_is_one(particles: Particles) -> None:
    volume = particles.read_volumes([0])[0]
    assert band_passed_correlation(torch.stack([volume, volume])) == pytest.approx(1.0)
    assert band_passed_correlation(torch.stack([volume, -volume])) == pytest.approx(-1.0)
