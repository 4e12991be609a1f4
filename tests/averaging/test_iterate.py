from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from gumnet.averaging.accumulate import accumulate
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.fsc import fsc, noise_to_signal
from gumnet.averaging.halves import assign_half_sets
from gumnet.averaging.joint import average
from gumnet.averaging.mask import low_pass, soft_sphere
from gumnet.averaging.result import Average, Iteration
from gumnet.errors import InputError
from gumnet.evaluation.metrics import pair_errors, set_errors
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.warp import warp
from gumnet.particles import MemorySource, Particles, Poses, Source
from gumnet.simulation.config import SimulationConfig
from gumnet.simulation.dataset import Simulation, simulate
from gumnet.simulation.phantom import phantom

BOX = 16
CONFIG = AverageConfig(iterations=5, device="cpu")


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


def test_a_blob_becomes_the_structure(simulation: Simulation, result: Average) -> None:
    errors = set_errors(result.particles.poses, simulation.truth)
    assert float(errors.degrees.median()) < 3
    assert errors.failure_rate == 0
    assert float(errors.shifts.median()) < 0.2
    # The poses are on the map, not only on one another: in their frame the map is the structure.
    curve = fsc(result.map, structure_in_frame(simulation, errors.frame), mask=soft_sphere(BOX))
    assert float(curve[:6].min()) > 0.9


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
        torch.testing.assert_close(accumulate(result.particles.select(rows)).result(), result.half_maps[half - 1])


def test_the_map_is_the_wiener_average_of_all(result: Average) -> None:
    expected = accumulate(result.particles).result(noise_to_signal(result.fsc))
    torch.testing.assert_close(result.map, expected, atol=1e-4, rtol=1e-3)


def test_history_tells_what_happened(result: Average) -> None:
    assert [entry.number for entry in result.history] == [1, 2, 3, 4, 5]
    bands = [entry.band_angstrom for entry in result.history]
    assert bands[0] == 24.0 * BOX / 4
    assert bands == sorted(bands, reverse=True)
    # From a blob everything turns; at the end next to nothing does.
    assert result.history[0].mean_change_degrees > 60
    assert result.history[-1].mean_change_degrees < 5
    assert result.history[-1].resolution_angstrom == result.resolution_angstrom
    assert float(result.particles.poses.scores.mean()) == pytest.approx(result.history[-1].mean_score, abs=1e-6)


def test_a_half_knows_nothing_of_the_other(simulation: Simulation, generator: torch.Generator) -> None:
    few = assign_half_sets(simulation.particles.select(range(12)), 0)
    volumes = few.read_volumes(range(12))
    second = few.half_sets == 2
    volumes[second] = torch.randn(int(second.sum()), BOX, BOX, BOX, generator=generator)
    ruined = replace(few, volumes=MemorySource(volumes))
    # Two iterations do not use the resolution that the halves agree on, which may pass.
    config = replace(CONFIG, iterations=2)
    assert torch.equal(average(few, config).half_maps[0], average(ruined, config).half_maps[0])


@pytest.mark.parametrize("seed", [0, 1])
def test_noise_alone_gives_no_resolution(seed: int) -> None:
    """Neither aligning each half to its own average nor putting one half on the other makes noise agree."""
    noise = torch.randn(16, 24, 24, 24, generator=torch.Generator().manual_seed(seed))
    result = average(Particles.from_tensors(noise, voxel_size_angstrom=10.0), replace(CONFIG, iterations=2))
    # Without the chance that the frame's fit gives, these shells correlate by 0.2 to 0.5.
    assert abs(float(result.fsc[2:7].mean())) < 0.15
    assert abs(float(result.fsc[7:].mean())) < 0.06
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
    with pytest.raises(InputError, match="symmetry 'C4'"):
        AverageConfig(symmetry="C4")
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
    result = average(replace(some, volumes=volumes), AverageConfig(iterations=2, refine=False, device="cpu"))
    assert volumes.reads == [1] * 6
    assert result.particles.volumes is volumes  # nothing that was kept stays in memory with the result
