"""Averages are judged where they match the structure best, whatever frame they came in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gumnet.averaging.fsc import fsc
from gumnet.benchmark import averaging
from gumnet.benchmark.averaging import AveragingPlan, measure_averages, on_structure
from gumnet.benchmark.averaging_report import averaging_markdown
from gumnet.benchmark.level import Level
from gumnet.benchmark.structures import Structures
from gumnet.geometry.so3 import random_rotations
from gumnet.journal import Journal
from gumnet.particles import Poses
from gumnet.simulation.dataset import posed


@pytest.fixture
def plan(structure: torch.Tensor) -> AveragingPlan:
    structures = Structures(structure[None], ("phantom 0",), True)
    return AveragingPlan(structures, (Level.of(20.0, "coloured"),), ("true", "joint"), 6, 1, 2.0)


def test_a_map_in_another_frame_is_put_on_the_structure(structure: torch.Tensor, generator: torch.Generator) -> None:
    frame = Poses.of(random_rotations(1, generator=generator), torch.tensor([[2.0, -1.0, 1.5]], dtype=torch.float64))
    moved = posed(structure[None], frame)[0]
    curve = fsc(on_structure(moved, structure), structure)
    assert float(curve[1:10].min()) > 0.98
    assert float(fsc(moved, structure)[5:10].max()) < 0.8, "or the test would show nothing"


def test_true_poses_reach_the_structure_and_a_journal_has_them_again(
    plan: AveragingPlan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = averaging.average

    def stopped(particles: object, config: object) -> object:
        if config.iterations:  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        return real(particles, config)  # type: ignore[arg-type]

    path = tmp_path / "out.journal"
    monkeypatch.setattr(averaging, "average", stopped)
    with (
        pytest.raises(KeyboardInterrupt),
        Journal.open(path, settings={}, inputs={}, resume=False, overwrite=False) as journal,
    ):
        measure_averages(plan, {}, journal=journal)

    def joint(particles: object, config: object) -> object:
        """Return an average at the true poses in a frame of its own, and with them what it knows of poses."""
        made = averaging.Set.of(plan, plan.levels[0])
        at_truth = real(made.particles.with_poses(made.truth), averaging.AverageConfig(iterations=0))
        frame = Poses.of(random_rotations(1, generator=torch.Generator().manual_seed(1)), torch.zeros(1, 3).double())
        turned = SimpleNamespace(poses=made.truth.compose(frame))
        return SimpleNamespace(half_maps=at_truth.half_maps, resolution_angstrom=30.0, particles=turned, notes=("so",))

    monkeypatch.setattr(averaging, "average", joint)
    told: list[str] = []
    with Journal.open(path, settings={}, inputs={}, resume=True, overwrite=False) as journal:
        true, found = measure_averages(plan, {}, journal=journal, tell=lambda cell, eta: told.append(cell["method"]))
    assert told == ["true", "joint"]
    assert true["resolution_truth"] < 60
    assert "rotation" not in true
    assert found["rotation"] < 1e-5
    assert found["resolution_truth"] == pytest.approx(true["resolution_truth"], rel=0.02)
    assert found["notes"] == ["so"]


def test_the_bound_is_told_the_structure_and_not_the_poses(plan: AveragingPlan) -> None:
    true, bound = measure_averages(replace(plan, rows=("true", "bound")), {})
    assert 0 < bound["rotation"] < 0.1
    # Both averages are in the frame of the structure, and of the same particles.
    assert bound["resolution_truth"] == pytest.approx(true["resolution_truth"], rel=0.1)


def test_report_has_the_figures_of_the_paper_in_their_own_column() -> None:
    cell = {"snr": 0.1, "colour": "coloured", "resolution_halves": None, "seconds": {"wall": 9.0, "cpu": 3.0}}
    record = {
        "date": "2026-01-02",
        "hardware": {},
        "commit": "abc",
        "structures": "1 given structure: 5T2C",
        "options": {"particles": 500, "seed": 0, "max_shift": 6.4, "iterations": 8, "quick": False},
        "not_run": {"relion": "not on the PATH"},
        "cells": [
            {**cell, "method": "ht", "resolution_truth": 31.26, "rotation": 0.5, "failure_rate": 0.25},
            {**cell, "method": "true", "resolution_truth": None},
        ],
    }
    text = averaging_markdown(record)
    assert "Not run: RELION 3.1: not on the PATH." in text
    assert "| H-T align | 31.3 | none | 0.500, 25.0 % | 9.0 | 3.0 | 28.9 |" in text
    assert "| true poses | none | none | - | 9.0 | 3.0 |  |" in text
