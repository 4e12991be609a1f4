"""Classes that are one structure are noticed, and put together if that is asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gumnet.averaging.config import AverageConfig
from gumnet.averaging.duplicates import compared, duplicates
from gumnet.averaging.joint import average
from gumnet.averaging.result import Average
from gumnet.evaluation.metrics import pair_errors, set_errors
from gumnet.geometry.so3 import random_rotations
from gumnet.particles import Particles, Poses
from gumnet.report.average import run_notes
from gumnet.simulation.config import SimulationConfig
from gumnet.simulation.dataset import Simulation, simulate
from gumnet.simulation.phantom import phantom

BOX, EACH = 16, 12
GIVEN = AverageConfig(classes=3, iterations=0, max_shift=1.5, device="cpu")


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    """Return particles of one structure, twice as many as of another."""
    config = SimulationConfig(snr=2.0, box=BOX, voxel_size_angstrom=24.0, max_shift=1.0, ctf=False, noise="white")
    first, second = (
        simulate(phantom(seed, BOX)[None], particles=count * EACH, config=replace(config, seed=seed))
        for seed, count in ((0, 2), (1, 1))
    )
    volumes = torch.cat([made.particles.read_volumes(range(len(made.particles))) for made in (first, second)])
    weights = first.particles.read_weights([0])
    assert weights is not None
    return replace(
        first,
        particles=Particles.from_tensors(volumes, voxel_size_angstrom=24.0, weights=weights[0]),
        truth=Poses.concatenate([first.truth, second.truth]),
        truth_classes=torch.tensor([1] * (2 * EACH) + [2] * EACH),
    )


@pytest.fixture(scope="module")
def frames() -> Poses:
    """Return the frames of three classes."""
    generator = torch.Generator().manual_seed(6)
    shifts = torch.rand(3, 3, generator=generator, dtype=torch.float64)
    return Poses.of(random_rotations(3, generator=generator), shifts)


@pytest.fixture(scope="module")
def particles(simulation: Simulation, frames: Poses) -> Particles:
    """Return particles in three classes, the first two of one structure, each in a frame of its own."""
    classes = torch.arange(3 * EACH) // EACH + 1
    posed = [simulation.truth[classes == k + 1].compose(frames[[k]].inverse()) for k in range(3)]
    half_sets = torch.arange(3 * EACH) % 2 + 1
    return replace(simulation.particles, classes=classes, half_sets=half_sets, poses=Poses.concatenate(posed))


@pytest.fixture(scope="module")
def made(particles: Particles) -> Average:
    return average(particles, GIVEN)


def test_one_structure_agrees_as_its_halves_allow(made: Average, frames: Poses) -> None:
    agreement, pose = compared(made.classes[0], made.classes[1])
    assert 0.95 < agreement < 1.1
    errors = pair_errors(pose, frames[[1]].compose(frames[[0]].inverse()))
    assert float(errors.degrees) < 3
    assert float(errors.shifts) < 0.3
    assert compared(made.classes[0], made.classes[2])[0] < 0.6


def test_duplicates_are_noted_and_stay(made: Average, particles: Particles) -> None:
    (note,) = (note for note in run_notes(made) if "same structure" in note)
    assert note.startswith("Classes 1 and 2 are the same structure in other orientations")
    assert "--merge" in note
    assert torch.equal(made.particles.classes, particles.classes)
    assert len(made.classes) == 3
    # A third of the same is the same as the first, and not as the second once more.
    parts = [made.classes[i] for i in (0, 2, 1, 0)]
    assert [(pair.first, pair.second) for pair in duplicates(parts, [4, 5, 6, 7])] == [(4, 6), (4, 7)]


@pytest.mark.parametrize("iterations", [0, 1])
def test_duplicates_are_put_together(
    simulation: Simulation, particles: Particles, made: Average, iterations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if iterations:
        # As if the first maps had left the classes and the poses that are given.
        monkeypatch.setattr("gumnet.averaging.classes.iterate", _without_first_iterations)
        monkeypatch.setattr("gumnet.averaging.classes.find", lambda *_: _Found(particles))
        monkeypatch.setattr("gumnet.averaging.classes.finer", lambda *_: _Found(particles))
    merged = average(particles, replace(GIVEN, merge=True, iterations=iterations))
    assert merged.particles.classes.tolist() == [1] * (2 * EACH) + [3] * EACH
    assert [len(part.particles) for part in merged.classes] == [2 * EACH, EACH]
    assert any("put together as class 1" in note for note in merged.notes)
    assert [step.number for step in merged.history] == [1] * iterations
    of_one = simulation.truth_classes == 1
    errors = set_errors(merged.particles.poses[of_one], simulation.truth[of_one])
    assert float(errors.degrees.max()) < 10
    # Twice the particles: the halves of the map agree better.
    assert float(merged.classes[0].fsc[2:7].mean()) > float(made.classes[0].fsc[2:7].mean()) + 0.01


class _Found:
    """First maps that leave particles where they are."""

    def __init__(self, particles: Particles) -> None:
        self.classes = torch.nn.functional.one_hot(particles.classes - 1, 3)
        self.poses, self.maps = particles.poses, torch.zeros(3, BOX, BOX, BOX)
        self.shells, self.history, self.notes = 4, (), ()

    def of_class(self, *_: object) -> _Found:
        return self


def _without_first_iterations(
    particles: Particles, config: AverageConfig, *arguments: object, before: Average | None = None, **rest: object
) -> Average:
    from gumnet.averaging.iterate import iterate

    if before is None:
        return iterate(particles, replace(config, iterations=0), None)
    return iterate(particles, config, None, before=before)
