from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gumnet.averaging.begin import AGREEMENT, Beginning, agreement_of_shapes, begin
from gumnet.averaging.checkpoint import Checkpoint
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.halves import assign_half_sets, rows_of_half
from gumnet.averaging.mask import low_pass
from gumnet.averaging.start import Phase
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.warp import voxel_coordinates, warp
from gumnet.journal import Journal
from gumnet.particles import Particles
from gumnet.simulation.config import SimulationConfig
from gumnet.simulation.dataset import simulate
from gumnet.simulation.phantom import phantom

BOX = 16
CONFIG = AverageConfig(max_shift=1.0, device="cpu")


@pytest.fixture(autouse=True)
def short_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gumnet.averaging.first_search.SCHEDULE", (Phase(3, 8, 1.0, 0.7), Phase(4, 10, 0.5, 0.7)))


def simulated() -> Particles:
    config = SimulationConfig(snr=2.0, box=BOX, voxel_size_angstrom=24.0, max_shift=1.0, ctf=False, noise="white")
    return simulate(phantom(0, BOX)[None], particles=48, config=config).particles


def begun(particles: Particles, config: AverageConfig) -> Beginning:
    particles = assign_half_sets(particles, 0)
    halves = [particles.select(rows_of_half(particles, half)) for half in (1, 2)]
    return begin(halves, particles, config, None)


def noise(n: int) -> Particles:
    volumes = torch.randn(n, BOX, BOX, BOX, generator=torch.Generator().manual_seed(8))
    return Particles.from_tensors(volumes, voxel_size_angstrom=24.0)


def test_halves_that_agree_start_apart() -> None:
    beginning = begun(simulated(), CONFIG)
    assert not beginning.together
    assert beginning.notes == ()
    assert beginning.shells == 4
    # Each in a frame of its own.
    assert not torch.allclose(*beginning.maps, rtol=0.1)


def test_noise_alone_is_noted() -> None:
    beginning = begun(noise(24), CONFIG)
    assert any("there may be no structure" in note for note in beginning.notes)
    # A map that all made of noise would be one that the halves agree on.
    assert not beginning.together


def test_together_is_one_map_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gumnet.averaging.first_search.SCHEDULE", (Phase(3, 4, 1.0, 0.7), Phase(4, 5, 0.5, 0.7)))
    heard: list[str] = []
    particles = assign_half_sets(noise(12), 0)
    halves = [particles.select(rows_of_half(particles, half)) for half in (1, 2)]
    config = AverageConfig(max_shift=1.0, device="cpu", start="together")
    beginning = begin(halves, particles, config, lambda whose, _: heard.append(whose))
    assert beginning.together
    assert torch.equal(*beginning.maps)
    assert set(heard) == {"all particles"}
    assert len(heard) == len(beginning.steps)
    assert any("there may be no structure" in note for note in beginning.notes)


@pytest.mark.parametrize("agreement", [0.1, 0.9])
def test_halves_that_disagree_are_given_up_before_their_finer_shells(
    agreement: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also in a run that goes on after the comparison: it is kept, since the maps of that moment are gone."""
    monkeypatch.setattr("gumnet.averaging.begin.COMPARED_SHELLS", 3)
    monkeypatch.setattr("gumnet.averaging.begin.agreement_of_shapes", lambda *_, **__: agreement)
    particles = assign_half_sets(simulated(), 0)
    halves = [particles.select(rows_of_half(particles, half)) for half in (1, 2)]
    heard: list[tuple[str, int]] = []
    with Journal.open(tmp_path / "j", settings={}, inputs={}) as journal:
        kept = Checkpoint(journal)
        first = begin(halves, particles, CONFIG, lambda whose, step: heard.append((whose, step.shells)), kept)
        assert first.together == (agreement < AGREEMENT)
        of_halves = {shells for whose, shells in heard if whose.startswith("half")}
        assert of_halves == ({3} if first.together else {3, 4})
        assert len(first.steps) == len(heard)
        assert any("do not agree" in note for note in first.notes) == first.together
        heard.clear()
        monkeypatch.setattr("gumnet.averaging.begin.agreement_of_shapes", lambda *_, **__: AGREEMENT)
        again = begin(halves, particles, CONFIG, lambda whose, step: heard.append((whose, step.shells)), kept)
    assert not heard
    assert torch.equal(torch.stack(first.maps), torch.stack(again.maps))
    assert (first.steps, first.together) == (again.steps, again.together)


def test_balls_are_not_one_structure_however_alike(generator: torch.Generator) -> None:
    """Particles in random orientations make a ball; two halves of them must not count as agreeing."""
    radius = voxel_coordinates(BOX).norm(dim=-1)
    noises = low_pass(torch.randn(2, BOX, BOX, BOX, generator=generator), 4 / BOX)
    balls = [torch.exp(-((radius / 4) ** 2) / 2) + 0.02 * noise for noise in noises]
    plain = torch.corrcoef(torch.stack([ball.flatten() for ball in balls]))[0, 1]
    assert float(plain) > 0.95
    assert agreement_of_shapes(balls[0], balls[1], 4, generator=generator) < AGREEMENT


def test_one_structure_agrees_in_any_frame_and_two_do_not(generator: torch.Generator) -> None:
    structures = torch.stack([phantom(0, BOX), phantom(1, BOX)])
    shift = torch.tensor([[1.0, 0.0, -1.0]])
    turned = warp(structures[:1], random_rotations(1, generator=generator).float(), shift, oversampling=2)[0]
    noises = structures[0].std() * low_pass(torch.randn(2, BOX, BOX, BOX, generator=generator), 4 / BOX)
    assert agreement_of_shapes(structures[0] + noises[0], turned + noises[1], 4, generator=generator) > 0.8
    assert agreement_of_shapes(structures[0] + noises[0], structures[1] + noises[1], 4, generator=generator) < AGREEMENT
