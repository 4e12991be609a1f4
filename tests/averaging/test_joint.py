from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch

from gumnet.averaging.accumulate import accumulate
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.fsc import fsc, noise_to_signal
from gumnet.averaging.halves import assign_half_sets
from gumnet.averaging.iterate import STILL_DEGREES, STILL_VOXELS, weights_of
from gumnet.averaging.joint import average
from gumnet.averaging.mask import low_pass, soft_sphere, without_corners
from gumnet.averaging.result import Average, Iteration
from gumnet.averaging.start import Phase
from gumnet.errors import InputError
from gumnet.evaluation.metrics import pair_errors, set_errors
from gumnet.evaluation.partition import rightly_classified
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.symmetry import point_group, symmetrised
from gumnet.geometry.warp import warp
from gumnet.particles import MemorySource, Particles, Poses, Source
from gumnet.simulation.config import SimulationConfig
from gumnet.simulation.dataset import Simulation, simulate
from gumnet.simulation.phantom import phantom

BOX = 16
CONFIG = AverageConfig(max_shift=1.5, device="cpu")


@pytest.fixture(scope="module", autouse=True)
def short_schedule() -> Iterator[None]:
    """First maps of shells 1 to 4: enough where a box has 16 voxels, and a tenth of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gumnet.averaging.first_search.SCHEDULE", (Phase(3, 8, 1.0, 0.7), Phase(4, 10, 0.5, 0.7)))
        yield


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    config = SimulationConfig(snr=2.0, box=BOX, voxel_size_angstrom=24.0, max_shift=1.5, ctf=False, noise="white")
    return simulate(phantom(0, BOX)[None], particles=32, config=config)


@pytest.fixture(scope="module")
def result(simulation: Simulation) -> Average:
    return average(simulation.particles, CONFIG)


def structure_in_frame(simulation: Simulation, frame: Poses) -> torch.Tensor:
    back = frame.inverse().to(dtype=torch.float32)
    return warp(simulation.structures[:1].float(), back.rotations, back.shifts, oversampling=2)[0]


def test_nothing_becomes_the_structure(simulation: Simulation, result: Average) -> None:
    errors = set_errors(result.particles.poses, simulation.truth)
    assert float(errors.degrees.median()) < 3
    assert errors.failure_rate == 0
    assert float(errors.shifts.median()) < 0.2
    # The poses are on the map, not only on one another: in their frame the map is the structure.
    curve = fsc(result.map, structure_in_frame(simulation, errors.frame), mask=soft_sphere(BOX))
    assert float(curve[:6].min()) > 0.9
    # Each half from a first map of its own, with nothing to say about it.
    assert len(result.starts) > 0
    assert result.notes == ()


def test_a_blob_becomes_the_structure(simulation: Simulation) -> None:
    some = simulation.particles.select(range(20))
    blob = average(some, replace(CONFIG, iterations=5, start="blob", max_shift=None))
    errors = set_errors(blob.particles.poses, simulation.truth[:20])
    assert float(errors.degrees.median()) < 3
    assert errors.failure_rate == 0
    assert blob.starts == ()
    # The band rises evenly from shell 4 to shell 7 in the first four, and then follows the halves.
    shells = [24.0 * BOX / entry.band_angstrom for entry in blob.history]
    assert shells == pytest.approx([4, 5, 6, 7, 7])


def test_halves_come_out_in_one_frame(simulation: Simulation, result: Average) -> None:
    halves = result.particles.half_sets
    frame = set_errors(result.particles.poses, simulation.truth).frame
    for half in (1, 2):
        own = set_errors(result.particles.poses[halves == half], simulation.truth[halves == half]).frame
        assert float(pair_errors(own, frame).degrees) < 2
        assert float(pair_errors(own, frame).shifts) < 0.2
    assert float(result.fsc[1:6].min()) > 0.8
    assert result.resolution_angstrom < 24.0 * BOX / 6


def test_half_maps_are_averages_of_their_halves(simulation: Simulation, result: Average) -> None:
    for half in (1, 2):
        rows = torch.nonzero(result.particles.half_sets == half)[:, 0]
        average_of_half = without_corners(accumulate(result.particles.select(rows)).result())
        torch.testing.assert_close(average_of_half, result.half_maps[half - 1])


def test_the_map_is_the_wiener_average_of_all(result: Average) -> None:
    counts = weights_of(result.particles.poses)
    expected = without_corners(accumulate(result.particles, confidences=counts).result(noise_to_signal(result.fsc)))
    torch.testing.assert_close(result.map, expected, atol=1e-4, rtol=1e-3)


def test_history_tells_what_happened(result: Average) -> None:
    assert [entry.number for entry in result.history] == list(range(1, len(result.history) + 1))
    # First the band of the first maps, shell 4, and then what the halves agreed on after the iteration before.
    shells = [24.0 * BOX / entry.band_angstrom for entry in result.history]
    agreed = [24.0 * BOX / entry.resolution_angstrom for entry in result.history]
    assert shells == pytest.approx([4, *(max(4, min(7, math.floor(shell))) for shell in agreed[:-1])])
    assert shells[-1] > 5
    # From no transformation everything turns; at the end next to nothing does.
    assert result.history[0].mean_change_degrees > 60
    assert result.history[-1].mean_change_degrees < 5
    assert result.history[-1].resolution_angstrom == result.resolution_angstrom
    assert float(result.particles.poses.scores.mean()) == pytest.approx(result.history[-1].mean_score, abs=1e-6)


def test_iterations_end_where_poses_rest_and_nothing_is_lost(
    simulation: Simulation, result: Average, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = result.history[-1]
    assert 3 < len(result.history) < CONFIG.iterations
    assert last.mean_change_degrees < STILL_DEGREES
    assert last.mean_change_voxels < STILL_VOXELS
    for step in result.history[3:-1]:
        assert step.mean_change_degrees >= STILL_DEGREES or step.mean_change_voxels >= STILL_VOXELS
    monkeypatch.setattr("gumnet.averaging.iterate.STILL_DEGREES", 0.0)
    whole = average(simulation.particles, CONFIG)
    assert len(whole.history) == CONFIG.iterations
    # Beside the frame of all, which nothing holds.
    moved = set_errors(whole.particles.poses, result.particles.poses)
    assert float(moved.degrees.mean()) < STILL_DEGREES
    assert float(moved.shifts.mean()) < STILL_VOXELS
    assert whole.resolution_angstrom == pytest.approx(result.resolution_angstrom, rel=0.02)


def test_a_half_knows_nothing_of_the_other(
    simulation: Simulation, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever the halves do, they do apart: a few steps show it, and noise would take all that there are.
    monkeypatch.setattr("gumnet.averaging.first_search.SCHEDULE", (Phase(3, 2, 1.0, 0.7), Phase(4, 2, 0.5, 0.7)))
    few = assign_half_sets(simulation.particles.select(range(12)), 0)
    volumes = few.read_volumes(range(12))
    second = few.half_sets == 2
    volumes[second] = torch.randn(int(second.sum()), BOX, BOX, BOX, generator=generator)
    ruined = replace(few, volumes=MemorySource(volumes))
    # How far the halves agree may pass, as the band and as the weights of its shells: with a low pass two iterations do
    # not use the first, and here nor the second; nor does it pass here whether their first maps agree.
    monkeypatch.setattr("gumnet.averaging.iterate._signal", lambda curve, shells, share: torch.ones(len(curve)))
    config = replace(CONFIG, iterations=2, start="halves", low_pass_angstrom=24.0 * BOX / 4)
    assert torch.equal(average(few, config).half_maps[0], average(ruined, config).half_maps[0])


@pytest.mark.parametrize("seed", [0, 1])
def test_noise_alone_gives_no_resolution(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither aligning each half to its own average nor putting one half on the other makes noise agree."""
    monkeypatch.setattr("gumnet.averaging.first_search.SCHEDULE", (Phase(3, 3, 1.0, 0.7), Phase(4, 3, 0.5, 0.7)))
    noise = torch.randn(16, 24, 24, 24, generator=torch.Generator().manual_seed(seed))
    result = average(Particles.from_tensors(noise, voxel_size_angstrom=10.0), replace(CONFIG, iterations=2))
    # Without the chance that the frame's fit gives, these shells correlate by 0.2 to 0.5.
    assert abs(float(result.fsc[2:7].mean())) < 0.15
    assert abs(float(result.fsc[7:].mean())) < 0.06
    assert any("there may be no structure" in note for note in result.notes)
    # Nothing finer than the band of the first iteration, shell 4; shell 1 has too few coefficients to say anything.
    assert result.resolution_angstrom > 60.0


def test_zero_iterations_average_at_the_poses_of_the_table(simulation: Simulation) -> None:
    particles = simulation.particles.with_poses(simulation.truth)
    given = average(particles, replace(CONFIG, iterations=0))
    assert given.history == ()
    assert float(pair_errors(given.particles.poses, simulation.truth).degrees.max()) == 0
    assert float(fsc(given.map, simulation.structures[0], mask=soft_sphere(BOX))[:6].min()) > 0.9
    shuffled = simulation.truth[torch.randperm(32, generator=torch.Generator().manual_seed(0))]
    wrong = average(simulation.particles.with_poses(shuffled), replace(CONFIG, iterations=0))
    assert float(wrong.fsc[3:6].mean()) < float(given.fsc[3:6].mean()) - 0.3


def test_an_initial_map_gives_its_frame(simulation: Simulation, generator: torch.Generator) -> None:
    frame = Poses.of(random_rotations(1, generator=generator), torch.zeros(1, 3, dtype=torch.float64))
    initial = low_pass(structure_in_frame(simulation, frame), 0.2)
    seen: list[tuple[Iteration, Particles, torch.Tensor]] = []
    started = average(
        simulation.particles,
        replace(CONFIG, iterations=2, initial=initial),
        on_iteration=lambda *state: seen.append(state),
    )
    errors = pair_errors(started.particles.poses.compose(frame), simulation.truth)
    assert float(errors.degrees.median()) < 5
    assert float(errors.shifts.median()) < 0.4
    assert [entry[0] for entry in seen] == list(started.history)
    torch.testing.assert_close(seen[-1][2], started.half_maps)
    assert torch.equal(seen[-1][1].poses.rotations, started.particles.poses.rotations)


def test_half_sets_of_the_table_stay(simulation: Simulation) -> None:
    half_sets = assign_half_sets(simulation.particles, 77).half_sets
    given = replace(simulation.particles, half_sets=half_sets)
    assert torch.equal(average(given, replace(CONFIG, iterations=0)).particles.half_sets, half_sets)


def test_noise_to_signal_of_known_curves() -> None:
    # A half of signal over noise 1 has a correlation of 1/2, and the whole has twice that signal over noise.
    ratio = noise_to_signal(torch.tensor([-1.0, 1.0, 0.5, 0.0, -0.3]))
    torch.testing.assert_close(ratio[:3], torch.tensor([0.0, 0.0, 0.5]))
    assert bool((ratio[3:] > 100).all())


def test_wrong_input_is_refused(simulation: Simulation) -> None:
    with pytest.raises(InputError, match="Q4"):
        AverageConfig(symmetry="Q4")
    with pytest.raises(InputError, match="0 classes"):
        AverageConfig(classes=0)
    with pytest.raises(InputError, match="start 'nowhere'"):
        AverageConfig(start="nowhere")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="several classes"):
        AverageConfig(classes=2, start="blob")
    with pytest.raises(InputError, match="-1 iterations"):
        AverageConfig(iterations=-1)
    with pytest.raises(InputError, match="low pass"):
        AverageConfig(low_pass_angstrom=0)
    with pytest.raises(InputError, match="mask has shape"):
        average(simulation.particles, replace(CONFIG, mask=torch.ones(8, 8, 8)))
    with pytest.raises(InputError, match="initial map has shape"):
        average(simulation.particles, replace(CONFIG, initial=torch.ones(8, 8, 8)))
    with pytest.raises(InputError, match="at least two"):
        average(simulation.particles.select([0]), CONFIG)


class _OnDisk:
    """Volumes of another source, counting how often each is read."""

    def __init__(self, parent: Source) -> None:
        self.parent, self.box, self.reads = parent, parent.box, [0] * len(parent)

    def __len__(self) -> int:
        return len(self.parent)

    def read(self, indices: Sequence[int]) -> torch.Tensor:
        for i in indices:
            self.reads[i] += 1
        return self.parent.read(indices)


def test_each_particle_is_read_once_however_many_iterations(simulation: Simulation) -> None:
    some = simulation.particles.select(range(6))
    volumes = _OnDisk(some.volumes)
    result = average(replace(some, volumes=volumes), replace(CONFIG, iterations=2, refine=False))
    assert volumes.reads == [1] * 6
    assert result.particles.volumes is volumes  # nothing that was kept stays in memory with the result


def test_classes_are_sorted_and_averaged_by_themselves() -> None:
    structures = torch.stack([phantom(0, BOX), phantom(1, BOX)])
    config = SimulationConfig(snr=2.0, box=BOX, voxel_size_angstrom=24.0, max_shift=1.0, ctf=False, noise="white")
    mixed = simulate(structures, particles=72, config=config)
    found = average(mixed.particles, replace(CONFIG, classes=2, iterations=2))
    labels = found.particles.classes
    assert float(rightly_classified(labels, mixed.truth_classes).double().mean()) > 0.9
    assert len(found.classes) == 2
    assert [entry.class_number for entry in found.history] == [1, 1, 2, 2]
    for number, part in enumerate(found.classes, start=1):
        rows = torch.nonzero(labels == number)[:, 0]
        # What the class has and what the set says of its rows are the same.
        assert torch.equal(part.particles.poses.rotations, found.particles.poses.rotations[rows])
        assert torch.equal(part.particles.poses.scores, found.particles.poses.scores[rows])
        both = part.particles.poses.confidences, found.particles.poses.confidences
        assert both[0] is not None
        assert both[1] is not None
        assert torch.equal(both[0], both[1][rows])
        most = int(mixed.truth_classes[rows].mode().values)
        right = mixed.truth_classes[rows] == most
        errors = set_errors(part.particles.poses[right], mixed.truth[rows][right])
        assert float(errors.degrees.median()) < 6
        back = errors.frame.inverse().to(dtype=torch.float32)
        placed = warp(structures[[most - 1]], back.rotations, back.shifts, oversampling=2)[0]
        assert float(fsc(part.map, placed, mask=soft_sphere(BOX))[:5].min()) > 0.85
    # The map of the whole is that of the largest class.
    sizes = [len(part.particles) for part in found.classes]
    assert torch.equal(found.map, found.classes[sizes.index(max(sizes))].map)
    # What was given is as it was.
    assert torch.equal(mixed.particles.poses.rotations, Poses.identity(72).rotations)
    assert bool((mixed.particles.classes == 0).all())


def test_a_class_too_small_is_noted_and_keeps_its_poses(simulation: Simulation) -> None:
    labels = torch.ones(32, dtype=torch.int64)
    labels[5] = 2
    given = replace(simulation.particles.with_poses(simulation.truth), classes=labels)
    found = average(given, replace(CONFIG, classes=2, iterations=0))
    assert len(found.classes) == 1
    assert len(found.classes[0].particles) == 31
    assert any("Class 2 has 1 particles, too few" in note for note in found.notes)
    assert torch.equal(found.particles.poses.rotations, simulation.truth.rotations)
    assert torch.equal(found.particles.classes, labels)
    with pytest.raises(InputError, match="no class has particles in both halves"):
        average(given.select([4, 5]), replace(CONFIG, classes=2, iterations=0))
    with pytest.raises(InputError, match="classes are not 1 to 2"):
        average(simulation.particles, replace(CONFIG, classes=2, iterations=0))


def test_a_symmetric_structure_keeps_its_axes() -> None:
    group = point_group("C4")
    config = SimulationConfig(snr=2.0, box=BOX, voxel_size_angstrom=24.0, max_shift=1.0, ctf=False, noise="white")
    made = simulate(symmetrised(phantom(0, BOX), group)[None], particles=24, config=config)
    found = average(made.particles, replace(CONFIG, symmetry="C4", iterations=2))
    assert float(set_errors(found.particles.poses, made.truth, symmetry=group).degrees.median()) < 8
    for volume in found.half_maps:
        inner = volume[1:, 1:, 1:]
        assert float((inner.rot90(1, (1, 2)) - inner).norm()) < 0.05 * float(inner.norm())
