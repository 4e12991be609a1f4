from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gumnet.alignment.score import default_mask
from gumnet.averaging.checkpoint import Checkpoint
from gumnet.averaging.expectation import Expectation
from gumnet.averaging.low_band import LowBand
from gumnet.averaging.start import FirstMaps, Phase, StartConfig, StartSearch, StartStep, refilled_words
from gumnet.averaging.start_run import StartRun, State, divisions
from gumnet.devices import seeded
from gumnet.evaluation.metrics import set_errors
from gumnet.evaluation.partition import rightly_classified
from gumnet.geometry.symmetry import point_group, symmetrised
from gumnet.journal import Journal
from gumnet.particles import Particles
from gumnet.simulation.config import SimulationConfig
from gumnet.simulation.dataset import Simulation, simulate
from gumnet.simulation.phantom import phantom

BOX = 16
SCHEDULE = (Phase(3, 8, 1.0, 0.7), Phase(4, 10, 0.5, 0.7))
CONFIG = StartConfig(max_shift=1.0, schedule=SCHEDULE, starts=2)
SIMULATION = SimulationConfig(
    snr=2.0, box=BOX, voxel_size_angstrom=24.0, max_shift=1.0, ctf=False, noise="white", seed=1
)


def started(particles: Particles, config: StartConfig = CONFIG, seed: int = 11) -> FirstMaps:
    data = LowBand.of(particles, config.schedule[-1].shells)
    return StartSearch(data, config, mask=default_mask(BOX), generator=seeded(seed)).finish()


@pytest.fixture(scope="module")
def structures() -> torch.Tensor:
    return torch.stack([phantom(0, BOX), phantom(1, BOX)])


@pytest.fixture(scope="module")
def simulation(structures: torch.Tensor) -> Simulation:
    return simulate(structures[:1], particles=40, config=SIMULATION)


@pytest.fixture(scope="module")
def found(simulation: Simulation) -> FirstMaps:
    return started(simulation.particles)


def test_a_random_start_finds_the_poses(simulation: Simulation, found: FirstMaps) -> None:
    errors = set_errors(found.poses, simulation.truth)
    # Within the spacing of the grid, 25 degrees.
    assert float(errors.degrees.median()) < 25
    assert float(errors.shifts.median()) < 1.0
    assert found.evidence > 3
    assert found.shells == 4
    torch.testing.assert_close(found.classes, torch.ones(40, 1))


def test_every_step_is_told(found: FirstMaps, simulation: Simulation) -> None:
    assert {step.start for step in found.history} == {1, 2}
    for start in (1, 2):
        shells = [step.shells for step in found.history if step.start == start]
        assert shells == sorted(shells)
        assert 4 <= shells.count(3) <= 8
    first = [step for step in found.history if step.start == 1]
    assert first[-1].evidence > first[0].evidence
    seen: list[StartStep] = []
    data = LowBand.of(simulation.particles.select(range(8)), 3)
    short = replace(CONFIG, schedule=(Phase(3, 2, 1.0, 0.0),))
    few = StartSearch(data, short, mask=default_mask(BOX), generator=seeded(0), on_step=seen.append).finish()
    assert tuple(seen) == few.history
    assert len(seen) == 4


def test_one_seed_has_one_result(simulation: Simulation) -> None:
    short = replace(CONFIG, schedule=(Phase(3, 3, 1.0, 0.7),))
    first, again, other = (started(simulation.particles, short, seed) for seed in (5, 5, 6))
    assert torch.equal(first.maps, again.maps)
    assert first.history == again.history
    assert not torch.allclose(first.maps, other.maps, rtol=0.01)


def test_a_search_that_was_looked_at_ends_as_one_that_was_not(simulation: Simulation, found: FirstMaps) -> None:
    data = LowBand.of(simulation.particles, 4)
    search = StartSearch(data, CONFIG, mask=default_mask(BOX), generator=seeded(11))
    more = search.through(3)
    assert (more, search.shells) == (True, 3)
    assert {step.shells for step in search.history} == {3}
    assert search.best.maps.shape == (4, 1, BOX, BOX, BOX)
    assert not search.through(4)
    whole = search.finish()
    assert torch.equal(whole.maps, found.maps)
    assert whole.history == found.history


def test_a_particle_is_not_in_the_maps_it_is_compared_with(simulation: Simulation, generator: torch.Generator) -> None:
    # Shells count by a power that nothing in the sums decides: what is left is what the maps are made of.
    config = replace(CONFIG, schedule=(Phase(3, 1, 0.0, 0.0),))
    data = LowBand.of(simulation.particles, 3)
    changed = replace(data, matched=data.matched.clone())
    changed.matched[7] = torch.randn(data.matched.shape[1], generator=generator) * data.matched.abs().mean()
    maps, folds = [], []
    for some in (data, changed):
        run = StartRun(some, config, default_mask(BOX), seeded(3), None)
        maps.append(run.random_state(1).maps)
        folds.append(run.folds)
    assert torch.equal(*folds)
    # Its own fold's maps are the same to rounding: they are the sum of all less that of the fold.
    largest = maps[0].abs().max()
    moved = [float((before - after).abs().max() / largest) for before, after in zip(*maps, strict=True)]
    for fold, change in enumerate(moved):
        assert change < 1e-5 if fold == int(folds[0][7]) else change > 1e-3


def test_the_best_start_is_taken_after_one_phase(simulation: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small box has a single phase, after which no start was left out yet."""
    config = replace(CONFIG, schedule=(Phase(3, 1, 1.0, 0.0),), starts=4)
    data = LowBand.of(simulation.particles, 3)
    taken = []
    finished = StartRun.finished

    def watched(self: StartRun, state: State, shells: int) -> tuple[Expectation, torch.Tensor]:
        taken.append(state.number)
        return finished(self, state, shells)

    monkeypatch.setattr(StartRun, "phase", lambda self, phase, state: replace(state, evidence=float(state.number == 3)))
    monkeypatch.setattr(StartRun, "finished", watched)
    StartSearch(data, config, mask=default_mask(BOX), generator=seeded(2)).finish()
    assert taken == [3]


def test_noise_alone_finds_no_evidence(generator: torch.Generator) -> None:
    """A particle in its own map would find itself there: the evidence would be large."""
    noise = torch.randn(40, BOX, BOX, BOX, generator=generator)
    nothing = started(Particles.from_tensors(noise, voxel_size_angstrom=24.0), replace(CONFIG, starts=1))
    assert nothing.evidence < 0.1


def test_two_structures_part(structures: torch.Tensor) -> None:
    mixed = simulate(structures, particles=80, config=SIMULATION)
    two = started(mixed.particles, replace(CONFIG, classes=2))
    torch.testing.assert_close(two.classes.sum(dim=1), torch.ones(80))
    labels = two.classes.argmax(dim=1) + 1
    assert float(rightly_classified(labels, mixed.truth_classes).double().mean()) > 0.9
    for number in (1, 2):
        rows = labels == number
        most = mixed.truth_classes == mixed.truth_classes[rows].mode().values
        errors = set_errors(two.poses[rows & most], mixed.truth[rows & most])
        assert float(errors.degrees.median()) < 25


def test_a_symmetric_structure_stays_symmetric(structures: torch.Tensor) -> None:
    group = point_group("C4")
    # About z, and not itself about any other axis.
    made = simulate(symmetrised(structures[0], group)[None], particles=24, config=SIMULATION)
    four = started(made.particles, replace(CONFIG, symmetry=group, starts=1))
    inner = four.maps[0, 1:, 1:, 1:]
    assert float((inner.rot90(1, (1, 2)) - inner).norm()) < 0.02 * float(inner.norm())
    assert four.evidence > 3


def test_lost_classes_are_filled_again_and_that_is_said(
    structures: torch.Tensor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Twins and classes next to without particles are lost; each gets a share of the largest."""
    sums = torch.randn(2, 3, 4, 3, generator=seeded(1))
    assert divisions(torch.tensor([0.5, 0.45, 0.05]), sums) == [(2, 0)]
    sums[:, 1] = sums[:, 0] * 1.01
    assert divisions(torch.tensor([0.3, 0.3, 0.4]), sums) == [(1, 2)]
    mixed = simulate(structures, particles=24, config=SIMULATION)
    monkeypatch.setattr("gumnet.averaging.start_run.divisions", lambda shares, sums: [(1, 0)])
    short = replace(CONFIG, classes=2, starts=1, schedule=(Phase(3, 5, 1.0, 0.7),))
    two = started(mixed.particles, short)
    assert [step.refilled for step in two.history] == [(), (), (), (2,), ()]
    (note,) = two.notes
    assert note.endswith("a large one: class 2 once.")
    with Journal.open(tmp_path / "j", settings={}, inputs={}) as journal:
        two.keep(Checkpoint(journal))
        again = FirstMaps.found(Checkpoint(journal))
    assert again is not None
    assert (again.history, again.notes) == (two.history, two.notes)
    assert refilled_words(two.history[:3]) == ()
