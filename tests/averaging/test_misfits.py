"""Particles that fit no class are flagged, and next to none of the others."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gumnet.averaging.config import AverageConfig
from gumnet.averaging.joint import average
from gumnet.averaging.misfits import fits, least_score
from gumnet.averaging.result import Average
from gumnet.io.read import read_particles
from gumnet.particles import Particles
from gumnet.report.average import run_notes
from gumnet.report.average_files import FITS, with_fits, write_average
from gumnet.report.average_particles import sureness_section
from gumnet.simulation.config import SimulationConfig
from gumnet.simulation.dataset import simulate
from gumnet.simulation.phantom import phantom

BOX, TRUE, FALSE = 16, 24, 3


@pytest.fixture(scope="module")
def made() -> Average:
    """Return an average of particles of which the last few are noise."""
    structure = phantom(0, BOX)
    config = SimulationConfig(snr=0.5, box=BOX, voxel_size_angstrom=24.0, max_shift=1.0, ctf=False, noise="white")
    true = simulate(structure[None], particles=TRUE, config=config).particles
    volumes, weights = true.read_volumes(range(TRUE)), true.read_weights(range(TRUE))
    assert weights is not None
    generator = torch.Generator().manual_seed(8)
    noise = torch.randn(FALSE, BOX, BOX, BOX, generator=generator) * volumes.std()
    particles = Particles.from_tensors(
        torch.cat([volumes, noise]), voxel_size_angstrom=24.0, weights=torch.cat([weights, weights[:FALSE]])
    )
    return average(particles, AverageConfig(initial=structure, iterations=1, refine=False, max_shift=1.0, device="cpu"))


def of_scores(scores: torch.Tensor, classes: torch.Tensor | None = None) -> Particles:
    empty = Particles.from_tensors(
        torch.zeros(1, 8, 8, 8).expand(len(scores), -1, -1, -1), voxel_size_angstrom=1.0, classes=classes
    )
    return empty.with_poses(replace(empty.poses, scores=scores))


def test_noise_among_particles_is_flagged(made: Average, tmp_path: Path) -> None:
    found = fits(made.particles)
    assert found is not None
    assert int((~found[TRUE:]).sum()) >= FALSE - 1
    assert float((~found[:TRUE]).double().mean()) < 0.05
    # All of them stay, each with its flag.
    write_average(tmp_path / "out", made)
    back = read_particles(tmp_path / "out" / "particles.star")
    assert len(back) == TRUE + FALSE
    assert back.table is not None
    assert back.table[FITS].tolist() == found.to(torch.int64).tolist()
    low = int((~found).sum())
    (note,) = (note for note in run_notes(made) if FITS in note)
    assert note.startswith(f"{low} of {TRUE + FALSE} particles")
    table = next(table for table in sureness_section(made).tables if "do not fit" in table.caption)
    assert {row[0] for row in table.rows} == {f"particle {int(row) + 1}" for row in torch.nonzero(~found)[:, 0]}


def test_the_upper_half_sets_the_spread(generator: torch.Generator) -> None:
    """With every tenth particle false, the limit stays three deviations of the true ones below their median."""
    true = 0.3 + 0.02 * torch.randn(4000, generator=generator, dtype=torch.float64)
    false = 0.1 + 0.02 * torch.randn(400, generator=generator, dtype=torch.float64)
    assert least_score(true) == pytest.approx(0.24, abs=0.004)
    assert least_score(torch.cat([true, false])) == pytest.approx(0.24, abs=0.012)
    found = fits(of_scores(torch.cat([true, false])))
    assert found is not None
    assert not bool(found[4000:].any())
    assert float((~found[:4000]).double().mean()) < 0.005


def test_clean_scores_scatter_by_next_to_nothing() -> None:
    scores = torch.tensor([0.98] * 12 + [0.981] * 12 + [0.97, 0.6], dtype=torch.float64)
    found = fits(of_scores(scores))
    assert found is not None
    assert torch.nonzero(~found)[:, 0].tolist() == [25]


def test_each_class_is_judged_by_itself_and_not_by_few() -> None:
    scores = torch.cat([torch.full((20,), 0.5), torch.full((20,), 0.2), torch.tensor([0.2, 0.01, 0.5, 0.01])]).double()
    classes = torch.tensor([1] * 20 + [2] * 20 + [1, 2, 3, 3])
    found = fits(of_scores(scores, classes))
    assert found is not None
    assert torch.nonzero(~found)[:, 0].tolist() == [40, 41]


def test_without_scores_nothing_is_said() -> None:
    scores = torch.full((12,), math.nan, dtype=torch.float64)
    assert fits(of_scores(scores)) is None
    particles = of_scores(scores)
    assert with_fits(particles).table is None
    scores[0] = 0.1
    found = fits(of_scores(scores))
    assert found is not None
    assert bool(found.all())
