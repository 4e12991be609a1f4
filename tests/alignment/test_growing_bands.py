from __future__ import annotations

import math

import pytest
import torch

from gumnet.alignment import growing_bands
from gumnet.alignment.growing_bands import GrowingBands, stages, without_repeats
from gumnet.alignment.narrowing import Stage, contenders
from gumnet.alignment.score import Candidates, Comparison, rescored
from gumnet.geometry.so3 import angular_distance_degrees, random_rotations, rotation_from_vector
from tests.oracles.gaussians import density

BOX = 24
SCORES = torch.tensor([[0.9, 0.8, 0.7, 0.1], [0.5, 0.49, 0.48, 0.47], [0.3, -math.inf, -math.inf, -math.inf]])


def compared(count: int, generator: torch.Generator, noise: float) -> tuple[Comparison, torch.Tensor]:
    rotations = random_rotations(count, generator=generator)
    particles = torch.stack([density(BOX, rotation).float() for rotation in rotations])
    particles = particles + noise * particles.std() * torch.randn(particles.shape, generator=generator)
    return Comparison.of(density(BOX)[None].float(), particles, None, None), rotations


def started(comparison: Comparison, rotations: torch.Tensor, generator: torch.Generator) -> Candidates:
    """Return 40 poses a particle, one of them 10 degrees from the truth, with their scores, the best first."""
    poses = random_rotations(len(rotations) * 40, generator=generator).reshape(-1, 40, 3, 3)
    poses[:, 0] = rotations @ rotation_from_vector(torch.tensor([0.0, math.radians(10.0), 0.0], dtype=torch.float64))
    zeros = torch.zeros(len(rotations), 40)
    return rescored(comparison, Candidates(poses.float(), torch.zeros(len(rotations), 40, 3), zeros), 6).best(40)


def test_those_are_refined_whose_log_likelihood_is_within_reach_of_the_best() -> None:
    # Log likelihoods fall by 1, 2 and 8 in the first row, by 0.2 a place in the second.
    found = contenders(SCORES, Stage(7, 4, 1, within=1.5), torch.tensor([10.0, 20.0, 10.0]))
    assert found.tolist() == [2, 4, 1]
    assert contenders(SCORES, Stage(7, 3, 1, within=1.5), torch.full((3,), 20.0)).tolist() == [1, 3, 1]
    assert contenders(SCORES, Stage(7, 4, 1), torch.ones(3)).tolist() == [4, 4, 1]


def test_of_those_on_one_peak_the_highest_is_kept() -> None:
    vectors = torch.zeros(1, 5, 3)
    vectors[0, :, 2] = torch.deg2rad(torch.tensor([0.0, 3.0, 6.0, 1.0, 90.0]))
    shifts = torch.zeros(1, 5, 3)
    shifts[0, 3, 0] = 4.0
    poses = Candidates(rotation_from_vector(vectors), shifts, torch.tensor([[0.5, 0.9, 0.6, 0.1, 0.1]]))
    # The fourth is turned alike, but lies elsewhere.
    assert without_repeats(poses, 2.0).scores.isfinite().tolist() == [[False, True, False, True, True]]
    equal = Candidates(poses.rotations[:, :2], torch.zeros(1, 2, 3), torch.ones(1, 2))
    assert without_repeats(equal, 2.0).scores.isfinite().tolist() == [[True, False]]


def test_so_many_are_refined_at_least_where_there_are_so_many() -> None:
    assert contenders(SCORES, Stage(7, 4, 1, within=0.0, least=2), torch.ones(3)).tolist() == [2, 2, 1]
    assert contenders(SCORES[:, :1], Stage(7, 4, 1, least=2), torch.ones(3)).tolist() == [1, 1, 1]


def test_a_particle_is_refined_alike_alone_and_among_others(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison, rotations = compared(5, generator, noise=3.0)
    start = started(comparison, rotations, generator)
    run = GrowingBands(9, 4.0).refined
    together = run(comparison, start)
    # As on a GPU: all at once, those with fewer candidates padded.
    monkeypatch.setattr(growing_bands, "together", lambda counts: iter([slice(0, len(counts))]))
    padded = run(comparison, start)
    for i in range(len(rotations)):
        rows = slice(i, i + 1)
        own = Candidates(start.rotations[rows], start.shifts[rows], start.scores[rows])
        alone = run(comparison[rows], own)
        for among in (together, padded):
            assert angular_distance_degrees(alone.best.rotations[0], among.best.rotations[i]).item() < 0.05
            torch.testing.assert_close(alone.best.scores[0], among.best.scores[i], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(alone.peaks.scores[0], among.peaks.scores[i], atol=1e-4, rtol=1e-3)


def test_what_was_not_refined_stays_as_far_below_the_best_as_it_was(generator: torch.Generator) -> None:
    comparison, rotations = compared(1, generator, noise=0.1)
    start = started(comparison, rotations, generator)
    scores = start.scores.clone()
    scores[:, 32:] -= 100.0  # as many as are left are refined in any case
    peaks = GrowingBands(9, 4.0).refined(comparison, Candidates(start.rotations, start.shifts, scores)).peaks
    torch.testing.assert_close(peaks.rotations[0, -8:], start.rotations[0, -8:])
    below = scores[0, :1] - scores[0, -8:]
    torch.testing.assert_close(peaks.scores[0].amax() - peaks.scores[0, -8:], below, atol=1e-3, rtol=0)


@pytest.mark.parametrize("shells", range(8, 16))
def test_a_band_decides_among_several_peaks_and_not_the_lowest_shells_alone(shells: int) -> None:
    # Where bands of 8 to 11 shells took what shell 7 liked best, 26 % of particles came out wrong in place of 16 %.
    several = [stage for stage in stages(shells) if stage.candidates > 1 and stage.shells > 7]
    assert several
    assert max(stage.shells for stage in several) == min(shells, 11)
    assert stages(shells)[-1].shells == shells


@pytest.mark.parametrize("shells", [3, 5, 7])
def test_a_band_within_the_lowest_has_no_stage_beyond_it(shells: int) -> None:
    assert {stage.shells for stage in stages(shells)} == {shells}


@pytest.mark.parametrize("shells", [8, 15])
def test_against_a_map_poses_are_told_apart_in_one_more_shell(shells: int) -> None:
    assert stages(shells, to_map=True)[0].shells == stages(shells)[0].shells + 1
    assert stages(shells, to_map=True)[-1].shells == shells
