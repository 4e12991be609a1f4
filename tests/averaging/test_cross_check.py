"""Poses that are right are found again on the map of the other half; those that only fit their own noise are not."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from oracles.half_maps import noise

from gumnet.averaging.accumulate import accumulate
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.cross_check import cross_checked, looks_same
from gumnet.averaging.halves import assign_half_sets, rows_of_half
from gumnet.averaging.reproduced import Reproduced, same_rotations
from gumnet.averaging.result import Average, Iteration
from gumnet.geometry.so3 import random_rotations, rotation_from_vector
from gumnet.geometry.symmetry import point_group, symmetrised
from gumnet.particles import Particles, Poses
from gumnet.report.average import key_figures, run_notes
from gumnet.report.average_particles import sureness_section
from gumnet.simulation.config import SimulationConfig
from gumnet.simulation.dataset import Simulation, simulate
from gumnet.simulation.phantom import phantom

BOX, VOXEL, COUNT = 16, 24.0, 16
CONFIG = AverageConfig(max_shift=1.0, device="cpu")


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    config = SimulationConfig(snr=1.0, box=BOX, voxel_size_angstrom=VOXEL, max_shift=1.0, ctf=False, noise="white")
    return simulate(phantom(0, BOX)[None], particles=COUNT, config=config)


def averaged(particles: Particles, *, shared_shells: int = 0, shells: float = 6.5) -> Average:
    """Return an average at the poses of particles, as if iterations in shells up to 6 had ended there."""
    halves = [accumulate(particles.select(rows_of_half(particles, half))).result().float() for half in (1, 2)]
    resolution = VOXEL * BOX / shells
    return Average(
        map=halves[0] + halves[1],
        half_maps=torch.stack(halves),
        fsc=torch.ones(BOX // 2 + 1),
        fsc_unmasked=torch.ones(BOX // 2 + 1),
        resolution_angstrom=resolution,
        particles=particles,
        history=(Iteration(1, VOXEL * BOX / 6, 0.3, resolution, 1.0, 0.1),),
        shared_shells=shared_shells,
    )


def test_right_poses_are_found_again_and_nothing_is_noted(simulation: Simulation) -> None:
    particles = assign_half_sets(simulation.particles.with_poses(simulation.truth), 0)
    checked = cross_checked(averaged(particles), particles, CONFIG)
    assert checked.reproduced is not None
    assert checked.reproduced.checked == COUNT
    assert checked.reproduced.share > 0.9
    assert checked.notes == ()
    assert any(f"of {COUNT} particles (" in words for words in sureness_section(checked).paragraphs)
    assert any(name.startswith("Poses found again") for name, _ in key_figures(checked))


def test_noise_that_made_its_own_map_is_not_found_again(generator: torch.Generator) -> None:
    """At these poses each particle is its own map's; the other half's was made without it."""
    volumes = torch.randn(COUNT, BOX, BOX, BOX, generator=generator)
    poses = Poses.of(random_rotations(COUNT, generator=generator), torch.zeros(COUNT, 3, dtype=torch.float64))
    particles = Particles.from_tensors(volumes, voxel_size_angstrom=VOXEL).with_poses(poses)
    particles = assign_half_sets(particles, 0)
    checked = cross_checked(averaged(particles), particles, CONFIG)
    assert checked.reproduced is not None
    assert checked.reproduced.share < 0.2
    said = [note for note in run_notes(checked) if note.startswith("Most poses are likely wrong")]
    assert len(said) == 1
    assert "--initial" in said[0], "what to do"


def test_agreement_within_the_band_of_a_shared_start_is_said_to_prove_nothing(simulation: Simulation) -> None:
    particles = assign_half_sets(simulation.particles.with_poses(simulation.truth), 0)
    within = cross_checked(averaged(particles, shared_shells=7, shells=7), particles, CONFIG)
    assert any("does not show that the poses are right" in note for note in within.notes)
    beyond = cross_checked(averaged(particles, shared_shells=5, shells=6.5), particles, CONFIG)
    assert beyond.notes == ()


def test_poses_of_the_table_are_not_searched_again(simulation: Simulation) -> None:
    particles = assign_half_sets(simulation.particles, 0)
    given = replace(averaged(particles), history=())
    assert cross_checked(given, particles, CONFIG) is given


def test_most_that_can_be_right_is_the_root_of_what_is_found_again() -> None:
    # If p of the poses on either map are right, and by chance which, p^2 are found again.
    assert Reproduced(100, 36).most_right == pytest.approx(0.6)
    assert not Reproduced(100, 25).is_doubtful
    assert Reproduced(100, 24).is_doubtful
    # Too few to say anything, or none at all.
    assert not Reproduced(5, 0).is_doubtful
    assert math.isnan(Reproduced(0, 0).share)
    assert not Reproduced(0, 0).is_doubtful


def test_equivalent_rotations_are_the_same(generator: torch.Generator) -> None:
    group, n = point_group("C4"), 200
    rotations = random_rotations(n, generator=generator)
    turned = rotations @ group.rotations[1]
    assert bool(same_rotations(rotations, turned, group).all())
    assert not bool(same_rotations(rotations, turned, point_group("C1")).any())
    # Within 15 degrees of a random rotation are (a - sin a) / pi of all: one in a thousand.
    others = random_rotations(n, generator=generator)
    assert int(same_rotations(rotations, others, point_group("C1")).sum()) <= 3


def test_a_symmetric_map_looks_the_same_from_equivalent_rotations(generator: torch.Generator) -> None:
    box, group = 24, point_group("C4")
    clean = symmetrised(phantom(0, box), group)
    halves = clean + 0.1 * clean.std() * noise(2, box, generator).to(clean)
    rotations = random_rotations(20, generator=generator)
    quarter = rotations @ rotation_from_vector(torch.tensor([0.0, 0.0, math.pi / 2], dtype=torch.float64))
    eighth = rotations @ rotation_from_vector(torch.tensor([0.0, 0.0, math.pi / 4], dtype=torch.float64))
    assert bool(looks_same(halves, rotations, quarter).all())
    assert not bool(looks_same(halves, rotations, eighth).any())
    # Noise looks like nothing, itself included.
    assert not bool(looks_same(noise(2, box, generator).float(), rotations, quarter).any())
