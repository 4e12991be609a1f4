"""An average that finds its own symmetry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gumnet.averaging.config import AverageConfig
from gumnet.averaging.found_symmetry import moved_mask
from gumnet.averaging.joint import average
from gumnet.averaging.mask import soft_sphere
from gumnet.evaluation.metrics import set_errors
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.symmetry import point_group, symmetrised
from gumnet.geometry.warp import warp
from gumnet.journal import Journal
from gumnet.particles import Particles, Poses
from gumnet.report.average import key_figures, run_notes
from gumnet.report.average_symmetry import symmetry_section
from gumnet.simulation.config import SimulationConfig
from gumnet.simulation.dataset import Simulation, simulate
from gumnet.simulation.phantom import phantom

BOX = 16
AUTO = AverageConfig(symmetry="auto", iterations=0, max_shift=1.5, device="cpu")


@pytest.fixture(scope="module", autouse=True)
def few_folds() -> Iterator[None]:
    """Try groups up to D4: a third of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gumnet.averaging.found_symmetry.MAX_FOLD", 4)
        yield


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    config = SimulationConfig(snr=1.0, box=BOX, voxel_size_angstrom=24.0, max_shift=1.0, ctf=False, noise="white")
    return simulate(symmetrised(phantom(0, BOX), point_group("C4"))[None], particles=24, config=config)


@pytest.fixture(scope="module")
def frame() -> Poses:
    """Return a frame that has its axis anywhere, and off the centre."""
    generator = torch.Generator().manual_seed(3)
    shift = torch.tensor([[0.6, -0.4, 0.5]], dtype=torch.float64)
    return Poses.of(random_rotations(1, generator=generator), shift)


def is_fourfold_about_z(volume: torch.Tensor) -> bool:
    inner = volume[1:, 1:, 1:]
    return float((inner.rot90(1, (1, 2)) - inner).norm()) < 0.05 * float(inner.norm())


def test_the_symmetry_of_given_poses_is_found_and_imposed(simulation: Simulation, frame: Poses) -> None:
    particles = simulation.particles.with_poses(simulation.truth.compose(frame.inverse()))
    plain = average(particles, replace(AUTO, symmetry="C1"))
    made = average(particles, AUTO)
    assert made.symmetry is not None
    assert made.symmetry.name == "C4"
    assert not is_fourfold_about_z(plain.map)
    assert all(map(is_fourfold_about_z, (made.map, *made.half_maps)))
    # Poses went into the new frame, none of them by another turn than that frame's and the group's.
    errors = set_errors(made.particles.poses, simulation.truth, symmetry=point_group("C4"))
    assert float(errors.degrees.max()) < 3
    # More particles in each copy: the half maps agree better.
    assert float(made.fsc[3:7].mean()) > float(plain.fsc[3:7].mean())
    assert any("Symmetry C4" in note and "was imposed" in note for note in run_notes(made))
    assert ("Symmetry found", "C4") in key_figures(made)
    assert symmetry_section(made).tables[0].rows[0][0] == "C4"


def test_what_does_not_tell_stays_as_it_is(generator: torch.Generator) -> None:
    volumes = soft_sphere(BOX, 4.0, 3.0) + 0.5 * torch.randn(12, BOX, BOX, BOX, generator=generator)
    particles = Particles.from_tensors(volumes, voxel_size_angstrom=24.0)
    made, plain = (average(particles, replace(AUTO, symmetry=name)) for name in ("auto", "C1"))
    assert torch.equal(made.map, plain.map)
    assert torch.equal(made.particles.poses.rotations, plain.particles.poses.rotations)
    assert any("undetermined: featureless" in note and "No symmetry is imposed" in note for note in made.notes)
    assert ("Symmetry found", "undetermined") in key_figures(made)


def test_iterations_end_with_the_symmetry_and_go_on_where_they_stopped(
    simulation: Simulation, frame: Poses, tmp_path: Path
) -> None:
    onto = frame.inverse().to(dtype=torch.float32)
    initial = warp(simulation.structures[:1].float(), onto.rotations, onto.shifts)[0]
    config = replace(AUTO, iterations=1, initial=initial, mask=soft_sphere(BOX, 5.0, 2.0))
    particles, truth = simulation.particles.select(range(10)), simulation.truth[:10]

    def stop(*state: object) -> None:
        if state[0].number == 2:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Journal.open(tmp_path / "j", settings={}, inputs={}) as journal:
        average(particles, config, on_iteration=stop, journal=journal)
    seen: list[int] = []
    with Journal.open(tmp_path / "j", settings={}, inputs={}, resume=True) as journal:
        made = average(particles, config, on_iteration=lambda step, *_: seen.append(step.number), journal=journal)
    assert seen == [3]
    assert [step.number for step in made.history] == [1, 2, 3]
    assert made.symmetry is not None
    assert made.symmetry.name == "C4"
    assert is_fourfold_about_z(made.map)
    assert torch.equal(made.map, average(particles, config).map)
    errors = set_errors(made.particles.poses, truth, symmetry=point_group("C4"))
    assert float(errors.degrees.median()) < 6
    # Under the symmetry a pose is one of four; without it none of them would be sure.
    assert made.particles.poses.confidences is not None
    assert float(made.particles.poses.confidences.median()) > 0.9


def test_a_mask_goes_into_the_new_frame(frame: Poses) -> None:
    ball = soft_sphere(BOX, 2.0, 2.0)
    off = Poses.of(torch.eye(3, dtype=torch.float64)[None], torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64))
    there = moved_mask(ball, off.inverse())  # what was at x comes to x + t
    assert float(there[BOX // 2 - 1, BOX // 2, BOX // 2 + 2]) == pytest.approx(1.0)
    back = moved_mask(moved_mask(there, frame), frame.inverse())
    assert float((back - there).abs().max()) < 0.3  # at its edge, where it is read between voxels
    assert float(back.sum()) == pytest.approx(float(there.sum()), rel=0.02)
