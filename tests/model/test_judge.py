"""The network that judges poses: what it sees, and that untrained it changes nothing."""

import math

import torch

from gumnet.alignment.score import Candidates, Comparison, rescored
from gumnet.alignment.spectrum import as_complex
from gumnet.devices import seeded
from gumnet.geometry.so3 import random_rotations, rotation_from_vector
from gumnet.geometry.wedge import missing_wedge
from gumnet.model.judge import SHELLS, Verdict, put_together, residual_loss
from gumnet.model.matched_filter import MatchedFilter, MatchedFilterConfig
from gumnet.simulation.phantom import phantom


def comparison(model: MatchedFilter | None, n: int = 2) -> Comparison:
    generator = seeded(3)
    a = phantom(1, 24).expand(n, -1, -1, -1) + 0.05 * torch.randn(n, 24, 24, 24, generator=generator)
    b = phantom(1, 24).expand(n, -1, -1, -1) + 0.05 * torch.randn(n, 24, 24, 24, generator=generator)
    return Comparison.of(a, b, None, missing_wedge(24, 60.0)[None], cleaner=model)


def candidates(n: int = 2, k: int = 3) -> Candidates:
    generator = seeded(4)
    rotations = random_rotations(n * k, generator=generator, dtype=torch.float32).view(n, k, 3, 3)
    rotations[:, 0] = torch.eye(3)
    shifts = 2 * torch.rand(n, k, 3, generator=generator) - 1
    shifts[:, 0] = 0
    return Candidates(rotations, shifts, torch.zeros(n, k))


def test_the_sum_of_products_is_the_score() -> None:
    """What the judge sees of two volumes correlates, voxel by voxel, as the search says."""
    made, poses = comparison(None), candidates()
    from gumnet.alignment.band import Band

    band = Band.up_to(24, 10)
    values, transfer = made.turned_reference(band.shells).read(poses.rotations, band)
    assert made.transfer is not None
    seen = band.take(made.transfer).expand(2, -1)
    a, b = put_together(
        as_complex(values),
        torch.ones_like(values[:, 0]) if transfer is None else transfer,
        band.take(made.spectra),
        seen,
        made.shell_weights[:, band.shell],
        poses.shifts,
        band,
    )
    expected = rescored(made, poses, SHELLS).scores
    torch.testing.assert_close((a * b).mean(dim=(-3, -2, -1)), expected, atol=2e-3, rtol=0)
    torch.testing.assert_close(a.square().mean(dim=(-3, -2, -1)), torch.ones(2, 3), atol=1e-4, rtol=0)
    # In the true pose both show the same particle in the same place.
    assert float(expected[:, 0].min()) > 0.9


def test_untrained_it_changes_nothing() -> None:
    """Log likelihoods are those of the search, and poses stay where they are."""
    model = MatchedFilter(MatchedFilterConfig(grid=16, channels=2, kernels=(3, 3), judged=4))
    made, poses = comparison(model), candidates()
    assert made.judging is not None
    assert made.sharpness is not None
    with torch.no_grad():
        logs, corrected = made.judging.judged(made, poses)
    torch.testing.assert_close(logs, made.sharpness[:, None] * rescored(made, poses, model.config.shells).scores)
    torch.testing.assert_close(corrected.rotations, poses.rotations, atol=1e-6, rtol=0)
    torch.testing.assert_close(corrected.shifts, poses.shifts)


def test_places_that_were_left_over_stay_impossible() -> None:
    model = MatchedFilter(MatchedFilterConfig(grid=16, channels=2, kernels=(3, 3), judged=4))
    made, poses = comparison(model), candidates()
    poses.scores[:, 2] = -torch.inf
    assert made.judging is not None
    with torch.no_grad():
        logs, _ = made.judging.judged(made, poses)
    assert bool(logs[:, :2].isfinite().all())
    assert bool((logs[:, 2] == -torch.inf).all())


def test_true_corrections_cost_nothing() -> None:
    """And 4 degrees off cost as much as a hundredth of a box."""
    turn, moved = torch.tensor([[[0.05, 0.0, -0.02]]]), torch.tensor([[[0.01, -0.02, 0.0]]])
    right = Verdict(torch.zeros(1, 1), turn, moved)
    assert float(residual_loss(right, turn, moved)) == 0
    four = torch.tensor([[[math.radians(4.0), 0.0, 0.0]]])
    turned = residual_loss(Verdict(torch.zeros(1, 1), turn + four, moved), turn, moved)
    shifted = residual_loss(Verdict(torch.zeros(1, 1), turn, moved + torch.tensor([0.01, 0.0, 0.0])), turn, moved)
    torch.testing.assert_close(turned, shifted)


def test_a_correction_turns_in_the_frame_of_the_particle() -> None:
    """A judge that says r and s gives the pose ``exp(r) R``, ``t + s N``."""
    model = MatchedFilter(MatchedFilterConfig(grid=16, channels=2, kernels=(3, 3), judged=4))
    assert model.judge is not None
    last = model.judge.says[-1]
    assert isinstance(last, torch.nn.Linear)
    turn, moved = torch.tensor([0.1, -0.05, 0.02]), torch.tensor([0.01, 0.0, -0.02])
    with torch.no_grad():
        last.bias.copy_(torch.cat([torch.zeros(1), turn, moved]))
    made, poses = comparison(model), candidates()
    assert made.judging is not None
    with torch.no_grad():
        _, corrected = made.judging.judged(made, poses)
    torch.testing.assert_close(corrected.rotations, rotation_from_vector(turn) @ poses.rotations)
    torch.testing.assert_close(corrected.shifts, poses.shifts + 24 * moved)


def test_poses_that_are_not_looked_at_keep_what_the_search_says() -> None:
    """Only the first are judged and corrected; the order stays."""
    model = MatchedFilter(MatchedFilterConfig(grid=16, channels=2, kernels=(3, 3), judged=4))
    assert model.judge is not None
    last = model.judge.says[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.bias.fill_(0.1)
    made, poses = comparison(model), candidates()
    assert made.judging is not None
    assert made.sharpness is not None
    with torch.no_grad():
        logs, corrected = made.judging.judged(made, poses, most=1)
    searched = made.sharpness[:, None] * rescored(made, poses, model.config.shells).scores
    torch.testing.assert_close(logs, searched + torch.tensor([0.1, 0.0, 0.0]))
    torch.testing.assert_close(corrected.rotations[:, 1:], poses.rotations[:, 1:])
    assert bool((corrected.shifts[:, 0] != poses.shifts[:, 0]).all())
