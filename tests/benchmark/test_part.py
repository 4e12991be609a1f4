"""Parts of cells: the same pairs, as pairs and as a set of particles."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import gumnet
from gumnet.benchmark.level import BOX, COLOURS, Level
from gumnet.benchmark.part import Part, noise_free
from gumnet.evaluation.metrics import pair_errors
from gumnet.geometry.fourier import to_fourier, to_real
from gumnet.geometry.warp import warp


@pytest.fixture(scope="module")
def part(structure: torch.Tensor) -> Part:
    return Part.of(structure, 0, Level.of(100.0, "white"), 3, seed=1)


def test_the_paper_has_a_wedge_on_b_alone(part: Part) -> None:
    weights_a, weights_b = part.pairs.weights_a, part.pairs.weights_b
    assert weights_a is not None
    assert weights_b is not None
    assert bool((weights_a == 1).all())
    assert 0.3 < float((weights_b == 0).float().mean()) < 0.4  # 30 degrees of 90


def test_particles_are_the_volumes_of_the_pairs_in_turn(part: Part) -> None:
    volumes = part.particles.read_volumes(range(6))
    assert torch.equal(volumes[0::2], part.pairs.a)
    assert torch.equal(volumes[1::2], part.pairs.b)


def test_true_poses_of_particles_give_the_true_poses_of_pairs(structure: torch.Tensor, part: Part) -> None:
    level = Level.of(100.0, "white")
    made = gumnet.simulate(structure[None], pairs=3, config=level.config(1))
    errors = pair_errors(part.pair_poses(made.truth), part.pairs.truth)
    assert errors.frobenius.max() < 1e-6
    assert errors.shifts.max() < 1e-6


def test_levels_share_poses_and_structures_do_not(structure: torch.Tensor, part: Part) -> None:
    noisy = Part.of(structure, 0, Level.of(0.1, "coloured"), 3, seed=1)
    assert torch.equal(noisy.pairs.truth.rotations, part.pairs.truth.rotations)
    other = Part.of(structure, 1, Level.of(100.0, "white"), 3, seed=1)
    assert not torch.equal(other.pairs.truth.rotations, part.pairs.truth.rotations)


@pytest.mark.parametrize("colour", COLOURS)
def test_what_particles_show_without_noise_is_their_weights_times_the_reference(
    structure: torch.Tensor, colour: str
) -> None:
    level = Level.of(float("inf"), colour)  # type: ignore[arg-type]
    config = replace(level.config(3), max_shift=0.0)
    made = gumnet.simulate(structure[None], pairs=1, config=config)
    weights = made.particles.read_weights([1])
    assert weights is not None
    posed = made.truth[1:2].inverse()
    reference = noise_free(structure[None], level)
    turned = warp(reference, posed.rotations.float(), posed.shifts.float(), oversampling=3)
    wanted = to_real(to_fourier(turned) * weights, BOX).flatten()
    given = made.particles.read_volumes([1]).flatten()
    assert torch.corrcoef(torch.stack([wanted, given]))[0, 1] > 0.98


def test_joined_parts_are_their_pairs_in_order(structure: torch.Tensor, part: Part) -> None:
    other = Part.of(structure, 1, Level.of(100.0, "white"), 2, seed=1)
    joined = Part.joined([part, other])
    assert len(joined) == 5
    assert joined.structures == 2
    assert torch.equal(joined.pairs.b[3:], other.pairs.b)
    assert torch.equal(joined.particles.read_volumes([6]), other.particles.read_volumes([0]))
    assert Part.joined([part]) is part
