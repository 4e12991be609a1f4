"""Each kind of row finds poses of pairs, and what it found survives a journal."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import gumnet
from gumnet.benchmark import found as module
from gumnet.benchmark.aligning import Setting, Timing
from gumnet.benchmark.found import Found, by_bound, by_joint, by_method
from gumnet.benchmark.level import MAX_SHIFT, VOXEL_SIZE_ANGSTROM, Level
from gumnet.benchmark.part import Part
from gumnet.benchmark.rows import Method
from gumnet.benchmark.seconds import Seconds
from gumnet.evaluation.metrics import pair_errors
from gumnet.geometry.so3 import random_rotations
from gumnet.particles import Poses

SETTING = Setting(MAX_SHIFT, VOXEL_SIZE_ANGSTROM)
CLEAN = Level.of(100.0, "coloured")


@pytest.fixture(scope="module")
def part(structure: torch.Tensor) -> Part:
    return Part.of(structure, 0, CLEAN, 2, seed=1)


def test_search_and_bound_find_clean_pairs(part: Part) -> None:
    method = Method.of("exhaustive", SETTING, {})
    for run in (by_method(method), by_bound(SETTING)):
        found = run(part)
        assert len(found.errors) == 2
        assert found.errors.degrees.max() < 1.0
        assert found.errors.shifts.max() < 0.2
        assert sum(timing.count for timing in found.timings) == 2
        assert all(timing.seconds.cpu > 0 for timing in found.timings)


def test_the_frame_of_joint_alignment_is_no_error(
    part: Part, structure: torch.Tensor, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    """Joint alignment at the true poses, in a frame of its own, has pairs without error."""
    truth = gumnet.simulate(structure[None], pairs=2, config=CLEAN.config(1)).truth
    shift = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    turned = truth.compose(Poses.of(random_rotations(1, generator=generator), shift))
    made = SimpleNamespace(particles=part.particles.with_poses(turned), notes=("a note",))
    monkeypatch.setattr(module, "average", lambda particles, config: made)
    found = by_joint(SETTING, 0)(part)
    assert found.errors.frobenius.max() < 1e-6
    assert found.errors.shifts.max() < 1e-6
    assert found.notes == ("a note",)


def test_a_journal_gives_back_what_was_found(part: Part, generator: torch.Generator) -> None:
    truth = part.pairs.truth
    errors = pair_errors(Poses.of(random_rotations(2, generator=generator), truth.shifts + 1), truth)
    found = Found(errors, (Timing(2, Seconds(1.5, 1.25)),), ("said",))
    again = Found.of_bytes(found.to_bytes())
    assert again.timings == found.timings
    assert again.notes == found.notes
    torch.testing.assert_close(again.errors.frobenius, errors.frobenius, atol=1e-6, rtol=0)
    both = Found.joined([found, again])
    assert len(both.errors) == 4
    assert both.notes == ("said",)
