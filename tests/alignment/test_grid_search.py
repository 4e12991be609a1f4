from __future__ import annotations

import math

import pytest
import torch

from gumnet.alignment import grid_search
from gumnet.alignment.band import Band
from gumnet.alignment.grid_search import Limits, Step, distinct, search, search_near
from gumnet.alignment.near import Near
from gumnet.alignment.rotation_grid import RotationGrid
from gumnet.alignment.score import Candidates, Comparison, rescored
from gumnet.alignment.shift_plane import ShiftPlane
from gumnet.geometry.fourier import to_fourier, to_real
from gumnet.geometry.so3 import angular_distance_degrees, random_rotations
from gumnet.geometry.symmetry import point_group
from gumnet.geometry.wedge import missing_wedge
from tests.oracles.gaussians import density

BOX = 20
SHELLS = 4
COARSE = Step(45.0, SHELLS)
LIMITS: Limits = {"max_shift": 4.0, "candidates": 5, "separation_degrees": 20.0, "symmetry": None}


def observed(volumes: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    return volumes if weights is None else to_real(to_fourier(volumes) * weights, BOX)


def comparison(
    weights_a: torch.Tensor | None, weights_b: torch.Tensor | None, generator: torch.Generator, *, references: int = 1
) -> Comparison:
    """Return two noisy particles against one reference, or one each, the second reference another than the first."""
    poses = random_rotations(2, generator=generator)
    shifts = torch.tensor([[2.0, -3.0, 1.0], [-1.0, 0.5, 3.0]])
    a = torch.stack([density(BOX, turn) for turn in random_rotations(references, generator=generator)]).float()
    b = torch.stack([density(BOX, poses[i], shifts[i]) for i in range(2)]).float()
    b = b + 0.05 * torch.randn(b.shape, generator=generator)
    return Comparison.of(observed(a, weights_a), observed(b, weights_b), weights_a, weights_b)


def brute_force(compared: Comparison, rotations: torch.Tensor, plane: ShiftPlane) -> torch.Tensor:
    """Return the scores (n, r, S) of rotations (n, r, 3, 3) at all shifts of a plane, one by one."""
    count = len(plane.shifts)
    pairs = Candidates(
        rotations.float().repeat_interleave(count, dim=1),
        plane.shifts.repeat(rotations.shape[1], 1).expand(len(rotations), -1, -1),
        torch.zeros(len(rotations), rotations.shape[1] * count),
    )
    return rescored(compared, pairs, SHELLS).scores.reshape(len(rotations), -1, count)


WEDGE = missing_wedge(BOX, 60.0)[None]
TILTED = missing_wedge(BOX, 50.0).transpose(0, 1)[None].contiguous()


@pytest.mark.parametrize("references", [1, 2])
@pytest.mark.parametrize(
    ("weights_a", "weights_b"),
    [(None, None), (None, WEDGE), (WEDGE, None), (TILTED, WEDGE), (TILTED.expand(2, -1, -1, -1), 0.5 * WEDGE + 0.1)],
)
def test_one_step_is_brute_force(
    weights_a: torch.Tensor | None, weights_b: torch.Tensor | None, references: int, generator: torch.Generator
) -> None:
    if weights_a is not None:
        weights_a = weights_a[:references]
    compared = comparison(weights_a, weights_b, generator, references=references)
    grid = RotationGrid.of_spacing(COARSE.spacing_degrees)
    # Places of 2 voxels: with this limit none is moved.
    plane = ShiftPlane.of(Band.up_to(BOX, SHELLS), 4.0)
    assert len(plane.shifts) == 5**3
    found = search(compared, (COARSE,), max_shift=4.0, candidates=len(grid), separation_degrees=1.0)
    index = angular_distance_degrees(found.rotations[:, :, None], grid.rotations.float()).argmin(dim=2)
    assert torch.equal(index.sort(dim=1).values, torch.arange(len(grid)).expand(2, -1)), "each once"
    assert (found.scores.diff(dim=1) <= 0).all()
    # The best shift of some rotations, and the score there, the best and the worst among them.
    few = torch.cat([torch.arange(6), torch.tensor([100, len(grid) - 1])])
    scores, place = brute_force(compared, found.rotations[:, few], plane).max(dim=2)
    torch.testing.assert_close(found.scores[:, few], scores, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(found.shifts[:, few], plane.shifts[place])


def test_a_search_of_given_rotations_is_brute_force(generator: torch.Generator) -> None:
    compared = comparison(TILTED, WEDGE, generator)
    rotations = random_rotations(2 * 7, generator=generator).reshape(2, 7, 3, 3)
    plane = ShiftPlane.of(Band.up_to(BOX, SHELLS), 4.0)
    found = search_near(compared, rotations, shells=SHELLS, max_shift=4.0, candidates=7, separation_degrees=0.1)
    scores, place = brute_force(compared, found.rotations, plane).max(dim=2)
    torch.testing.assert_close(found.scores, scores, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(found.shifts, plane.shifts[place])
    assert (found.scores.diff(dim=1) <= 0).all()


def test_two_steps_find_what_one_finds(generator: torch.Generator) -> None:
    n = 6
    poses = random_rotations(n, generator=generator)
    a = density(BOX)[None].float()
    b = observed(torch.stack([density(BOX, poses[i]) for i in range(n)]).float(), WEDGE)
    compared = Comparison.of(a, b, None, WEDGE)
    fine = Step(20.0, 6, within=4.0)
    one = search(compared, (fine,), **LIMITS)
    two = search(compared, (Step(30.0, 4), fine), **LIMITS)
    assert angular_distance_degrees(one.rotations[:, 0].double(), poses).max() < 20
    torch.testing.assert_close(two.rotations[:, 0], one.rotations[:, 0])
    torch.testing.assert_close(two.shifts[:, 0], one.shifts[:, 0])
    torch.testing.assert_close(two.scores[:, 0], one.scores[:, 0])


@pytest.mark.parametrize("name", ["C1", "C3", "D2", "O"])
def test_candidates_are_distinct_and_under_symmetry_modulo_the_group(name: str, generator: torch.Generator) -> None:
    group = point_group(name)
    compared = comparison(None, WEDGE, generator)
    # The density has no symmetry: the group only decides where is searched and what counts as the same.
    steps = (Step(30.0, 3), Step(20.0, 4, within=4.0))
    found = search(compared, steps, max_shift=4.0, candidates=5, separation_degrees=20.0, symmetry=group)
    real = found.scores.isfinite()
    assert real.all()
    for i in range(2):
        apart = group.distance_degrees(found.rotations[i][:, None], found.rotations[i][None])
        off = ~torch.eye(len(apart), dtype=torch.bool)
        assert apart[off].min() > 19.99
    assert group.in_asymmetric_unit(found.rotations.reshape(-1, 3, 3)).all()


def test_the_best_are_taken_one_by_one_each_striking_out_its_neighbours() -> None:
    degrees = torch.tensor([0.0, 10.0, 25.0, 95.0, 120.0])
    rotations = torch.stack(
        [
            torch.tensor([[torch.cos(t), -torch.sin(t), 0.0], [torch.sin(t), torch.cos(t), 0.0], [0.0, 0.0, 1.0]])
            for t in torch.deg2rad(degrees)
        ]
    )[None]
    scores = torch.tensor([[0.5, 0.9, 0.8, 0.7, 0.6]])
    assert distinct(rotations, scores, 3, 20.0)[0].tolist() == [[1, 3, 4]]
    assert distinct(rotations, scores, 3, 12.0)[0].tolist() == [[1, 2, 3]]
    # Once all are struck out, what is left has no score.
    assert distinct(rotations, scores, 4, 60.0)[1][0].tolist() == pytest.approx([0.9, 0.7, -math.inf, -math.inf])
    # Under a 4-fold axis 95 degrees are 5, and under a 3-fold one 120 are 0.
    assert distinct(rotations, scores, 2, 20.0, point_group("C4"))[0].tolist() == [[1, 4]]
    assert distinct(rotations, scores, 3, 14.0, point_group("C3"))[0].tolist() == [[1, 2, 3]]


def test_fewer_rotations_than_candidates_are_all_there(generator: torch.Generator) -> None:
    compared = comparison(None, None, generator)
    found = search_near(
        compared,
        Near(0.0, 0.0).grid(15.0).expand(2, -1, -1, -1),
        shells=SHELLS,
        max_shift=4.0,
        candidates=8,
        separation_degrees=20.0,
    )
    assert found.scores.shape == (2, 1)


@pytest.mark.parametrize("threshold", [0.0, 1e9])
def test_how_many_rotations_are_scored_again_only_costs_time_on_clean_data(
    threshold: float, generator: torch.Generator
) -> None:
    pose = random_rotations(1, generator=generator)
    compared = Comparison.of(density(BOX)[None].float(), density(BOX, pose[0])[None].float(), None, None)
    found = search(compared, (Step(25.0, 4), Step(20.0, 6, within=threshold)), **LIMITS)
    assert angular_distance_degrees(found.rotations[:, 0].double(), pose).max() < 20


def test_references_in_half_precision_change_scores_in_the_fourth_digit(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = 1e4 * density(24)[None].float()
    b = density(24, random_rotations(1, generator=generator)[0])[None].float()
    b = b + 0.3 * b.std() * torch.randn(b.shape, generator=generator)
    comparison = Comparison.of(a, b, None, missing_wedge(24, 60.0)[None])

    def found() -> Candidates:
        return search(comparison, (Step(30.0, 6),), max_shift=2.0, candidates=8, separation_degrees=20.0)

    single = found()
    monkeypatch.setitem(grid_search._HALF, "cpu", True)
    half = found()
    torch.testing.assert_close(half.rotations[:, 0], single.rotations[:, 0], atol=1e-6, rtol=0)
    torch.testing.assert_close(half.scores, single.scores, atol=5e-4, rtol=0)
    assert not torch.equal(half.scores, single.scores)
