from __future__ import annotations

import pytest
import torch

from gumnet.averaging.checkpoint import Checkpoint
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.first_search import find, finer
from gumnet.averaging.mask import low_pass
from gumnet.averaging.start import SCHEDULE, FirstMaps, Phase, StartConfig
from gumnet.evaluation.metrics import set_errors
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.symmetry import point_group, symmetrised
from gumnet.particles import Particles, Poses
from gumnet.simulation.config import SimulationConfig
from gumnet.simulation.dataset import Simulation, simulate
from gumnet.simulation.phantom import phantom

BOX = 16
CONFIG = AverageConfig(max_shift=1.0, device="cpu")


def noise(n: int) -> Particles:
    volumes = torch.randn(n, BOX, BOX, BOX, generator=torch.Generator().manual_seed(8))
    return Particles.from_tensors(volumes, voxel_size_angstrom=24.0)


def test_the_start_does_not_draw_what_the_simulation_drew(monkeypatch: pytest.MonkeyPatch) -> None:
    """One seed for both must not hand the true rotations to the start: neither in its first draws nor later ones."""
    drawn: list[torch.Tensor] = []

    def kept(n: int, *, generator: torch.Generator) -> torch.Tensor:
        drawn.append(random_rotations(n, generator=generator))
        return drawn[-1]

    monkeypatch.setattr("gumnet.averaging.start_run.random_rotations", kept)
    monkeypatch.setattr("gumnet.averaging.first_search.SCHEDULE", (Phase(3, 1, 1.0, 0.0),))
    config = SimulationConfig(snr=2.0, box=BOX, voxel_size_angstrom=24.0, max_shift=1.0, seed=3)
    made = simulate(phantom(0, BOX)[None], particles=12, config=config)
    for whose in ("half 1", "half 2", "all particles"):
        find(made.particles, AverageConfig(max_shift=1.0, device="cpu", seed=3), whose, 1, None, Checkpoint())
    starts = torch.cat([rotations for rotations in drawn if len(rotations) == 12])
    # All starts of each, and no rotation of them is a true one, or one of another start.
    assert len(starts) == 3 * StartConfig().starts * 12
    everything = torch.cat([starts, made.truth.rotations]).flatten(1)
    distances = torch.cdist(everything, everything).fill_diagonal_(9.0)
    assert float(distances.min()) > 1e-6


def test_the_schedule_rises() -> None:
    shells = [phase.shells for phase in SCHEDULE]
    assert shells == sorted(shells)
    assert all(0 <= phase.caution <= 1 and phase.steps > 0 for phase in SCHEDULE)


def test_first_maps_of_one_class_are_made_of_so_many_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gumnet.averaging.first_search.SCHEDULE", (Phase(2, 1, 1.0, 0.7), Phase(3, 1, 0.5, 0.7)))
    monkeypatch.setattr("gumnet.averaging.first_search.MOST_FOR_ONE", 10)
    particles = noise(24)
    first, again = (find(particles, CONFIG, "all particles", 1, None, Checkpoint()) for _ in range(2))
    assert len(first.poses) == 10
    assert torch.equal(first.maps, again.maps)
    # Of several classes each particle is to get its own.
    assert len(find(particles, CONFIG, "all particles", 2, None, Checkpoint()).poses) == 24


def nearly_symmetric() -> tuple[Simulation, Poses]:
    """Return particles of a structure that half a turn leaves alike in shells up to 3, half of them turned by it."""
    structure = phantom(0, BOX)
    coarse = low_pass(structure, 3.5 / BOX)
    structure = structure - coarse + symmetrised(coarse, point_group("C2"))
    config = SimulationConfig(snr=2.0, box=BOX, voxel_size_angstrom=24.0, max_shift=1.0, ctf=False, noise="white")
    made = simulate(structure[None], particles=40, config=config)
    half_turn = torch.diag(torch.tensor([-1.0, -1.0, 1.0])).to(made.truth.rotations)
    rotations = made.truth.rotations.clone()
    rotations[::2] = rotations[::2] @ half_turn
    return made, Poses.of(rotations, made.truth.shifts)


def test_finer_shells_tell_orientations_of_a_nearly_symmetric_class_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gumnet.averaging.first_search.SCHEDULE", (Phase(3, 8, 1.0, 0.7), Phase(5, 12, 0.5, 0.3)))
    made, mixed = nearly_symmetric()
    before = set_errors(mixed, made.truth)
    assert before.failure_rate > 0.4
    first = FirstMaps(torch.zeros(1, BOX, BOX, BOX), torch.ones(40, 1), mixed, 3, 0.0, ())
    heard: list[str] = []
    found = finer(made.particles, CONFIG, first, "class 2", lambda whose, _: heard.append(whose), Checkpoint())
    assert found.shells == 5
    assert found.maps.shape == (1, BOX, BOX, BOX)
    assert set(heard) == {"class 2"}
    assert set_errors(found.poses, made.truth).failure_rate < 0.1


def test_a_class_that_is_sure_or_as_fine_as_it_gets_keeps_its_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gumnet.averaging.first_search.SCHEDULE", (Phase(3, 1, 1.0, 0.0), Phase(4, 1, 0.5, 0.0)))
    maps = torch.stack([phantom(k, BOX) for k in (0, 1)])
    rows = torch.tensor([1, 2, 5, 6, 7, 8, 9, 11])
    scores = torch.full((12,), 0.2).index_fill(0, rows, 1.0)  # those of this class are sure
    for shells, probable, kept in ((3, scores, True), (4, 1 - scores, True), (3, 1 - scores, False)):
        poses = Poses.of(random_rotations(12), torch.zeros(12, 3), scores=probable)
        first = FirstMaps(maps, torch.ones(12, 2), poses, shells, 0.0, ())
        of_class = first.of_class(1, rows)
        found = finer(noise(12).select(rows), CONFIG, of_class, "class 2", None, Checkpoint())
        assert torch.equal(found.maps, maps[1:]) == kept
        assert torch.equal(found.poses.rotations, poses.rotations[rows]) == kept
        assert found.shells == (shells if kept else 4)
