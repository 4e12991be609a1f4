"""Training of the judge: which poses it is given, from one side or both, and what it can learn of them."""

import json
import math
from dataclasses import replace

import pytest
import torch

from gumnet.alignment.exhaustive import UNREFINED
from gumnet.alignment.growing_bands import LOW_STAGES
from gumnet.alignment.score import Candidates, rescored
from gumnet.devices import seeded
from gumnet.errors import InputError
from gumnet.geometry.so3 import random_rotations, rotation_from_vector
from gumnet.geometry.warp import voxel_coordinates
from gumnet.geometry.wedge import missing_wedge
from gumnet.model.consistency import inverse_poses
from gumnet.model.judge import Verdict
from gumnet.model.matched_filter import MatchedFilter, MatchedFilterConfig
from gumnet.training.contrast import clean, contest
from gumnet.training.contrast_config import ContrastConfig
from gumnet.training.contrast_data import Views, ViewSource
from gumnet.training.contrast_judge import (
    Hypotheses,
    Judged,
    compared_as,
    disagreement,
    from_contest,
    from_search,
    judge_loss,
)
from gumnet.training.contrast_loop import train_matched

NETWORK = MatchedFilterConfig(grid=16, channels=2, kernels=(3, 3), judged=4)
TINY = ContrastConfig(
    network=NETWORK, groups=3, views=3, mined=24, hard=6, jitter_degrees=8.0, microscopes=2, half_precision=False
)
BOTH = replace(TINY, both_ways=True, consistency=1.0)


def blobs(count: int, box: int = 24, seed: int = 0) -> torch.Tensor:
    """Asymmetric sums of Gaussians, (count, N, N, N)."""
    centres = torch.randn(count, 8, 3, generator=seeded(seed)) * 0.14 * box
    distance = (voxel_coordinates(box) - centres[:, :, None, None, None]).square().sum(-1)
    return torch.exp(-distance / (2 * (0.06 * box) ** 2)).sum(1)


def drawn(snr: float, groups: int, seed: int = 0) -> Views:
    source = ViewSource(blobs(4), NETWORK.grid, microscopes=1, snr=(snr, snr), generator=seeded(1))
    return source.draw(groups, 3, seeded(seed))


def noise_views(groups: int, seed: int) -> Views:
    n, box, generator = 3 * groups, NETWORK.grid, seeded(seed)
    rotations = random_rotations(n, generator=generator, dtype=torch.float32)
    volumes = torch.randn(n, box, box, box, generator=generator)
    transfer = missing_wedge(box, 60.0).expand(n, -1, -1, -1)
    return Views(volumes, transfer, rotations, torch.zeros_like(volumes), torch.zeros(n, 3))


def on_truth(model: MatchedFilter, views: Views, config: ContrastConfig, seed: int) -> Judged:
    cleaned = clean(model, views, config)
    found = contest(model, cleaned, views, config, seeded(seed))
    return judge_loss(model, cleaned, views, config, from_contest(found, cleaned, views, config))


def judging(seed: int = 0) -> MatchedFilter:
    """Return a network whose judge has something to say, at random."""
    torch.manual_seed(seed)
    model = MatchedFilter(NETWORK)
    assert model.judge is not None
    with torch.no_grad():
        for parameter in model.judge.says.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return model


def test_trained_on_pure_noise_it_stays_at_chance() -> None:
    """It sees both volumes in the true pose, from both sides, and nothing in them tells that it is true."""
    torch.manual_seed(0)
    model = MatchedFilter(NETWORK)
    assert model.judge is not None
    optimiser = torch.optim.Adam(model.judge.parameters(), lr=1e-2)
    for step in range(5):
        optimiser.zero_grad()
        on_truth(model, noise_views(2, step), BOTH, step).loss.backward()
        optimiser.step()
    with torch.no_grad():
        rounds = [float(on_truth(model, noise_views(2, 1000 + s), TINY, 1000 + s).right) for s in range(16)]
    chance, pairs = 1 / (TINY.mined + 1), 16 * 6
    assert sum(rounds) / 16 < chance + 4 * (chance * (1 - chance) / pairs) ** 0.5


def test_it_learns_and_the_filter_does_not() -> None:
    """On the same pairs again and again it tells the true rotation, and the filter learns nothing of that."""
    views = drawn(0.3, 2)
    torch.manual_seed(0)
    model = MatchedFilter(NETWORK)
    assert model.judge is not None
    optimiser = torch.optim.Adam(model.judge.parameters(), lr=3e-3)
    found = []
    for _ in range(10):
        loss = on_truth(model, views, TINY, 1).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        found.append(float(loss.detach()))
    assert found[-1] < found[0] - 0.1
    others = [p for name, p in model.named_parameters() if not name.startswith("judge.")]
    assert all(p.grad is None for p in others)


def test_on_the_search_it_is_given_what_the_search_finds(tmp_path) -> None:
    """Of nearly clean pairs the search finds a right pose, by the conventions of the truth that views come with."""
    model, views = judging(), drawn(30.0, 1)
    cleaned = clean(model, views, TINY)
    found = contest(model, cleaned, views, TINY, seeded(0))
    refined = []
    for seed in (0, 1):
        given = from_search(model, cleaned, views, TINY, found, seeded(seed))
        assert bool(given.right.any(dim=1).all())
        refined.append(given.shells == NETWORK.shells)
        # A grid has few poses near the truth; refined, several may stand on its peak.
        assert refined[-1] or int(given.right.sum()) < 0.3 * given.right.numel()
        assert given.poses.scores.shape[1] == (LOW_STAGES[-1].candidates if refined[-1] else UNREFINED)
    assert len(set(refined)) == 2, "both kinds of steps"
    got = judge_loss(model, cleaned, views, BOTH, given)
    assert float(got.found) == 1.0
    got.loss.backward()
    assert model.judge is not None
    assert all(bool(p.grad.isfinite().all()) for p in model.judge.parameters() if p.grad is not None)
    run = replace(BOTH, steps=1, denoising_steps=0, groups=1, judged_on="search")
    train_matched(run, tmp_path / "run", structures=blobs(2))
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"judged", "judged_right", "judged_found"} <= set(last)


def test_pairs_without_a_right_pose_are_no_lesson() -> None:
    model, views = judging(), drawn(0.3, 1)
    cleaned = clean(model, views, TINY)
    given = from_contest(contest(model, cleaned, views, TINY, seeded(0)), cleaned, views, TINY)
    alone = replace(given, right=given.right & (torch.arange(3) == 1)[:, None])
    got, of_one = judge_loss(model, cleaned, views, TINY, alone), judge_loss(model, cleaned, views, TINY, given)
    assert float(got.found) == pytest.approx(1 / 3)
    rows = torch.tensor([1])
    poses = Candidates(*(x[rows] for x in (given.poses.rotations, given.poses.shifts, given.poses.scores)))
    truth = given.rotation[rows], given.shift[rows]
    single = Hypotheses(given.reference[rows], given.particle[rows], poses, given.right[rows], *truth, given.shells)
    torch.testing.assert_close(got.loss, judge_loss(model, cleaned, views, TINY, single).loss)
    assert float(got.loss.detach()) != float(of_one.loss.detach())
    none = judge_loss(model, cleaned, views, TINY, replace(given, right=torch.zeros_like(given.right)))
    assert (float(none.loss.detach()), float(none.right), float(none.found)) == (0.0, 0.0, 0.0)
    none.loss.backward()
    assert model.judge is not None
    assert all(float(p.grad.abs().sum()) == 0 for p in model.judge.parameters() if p.grad is not None)


def test_from_the_other_side_a_pair_is_the_pair_swapped() -> None:
    """Its true pose is that of a on b, and nearly clean pairs score high there, as they do not where a pose is kept."""
    model, views = MatchedFilter(NETWORK), drawn(1e4, 2)
    assert views.shifts is not None
    cleaned = clean(model, views, TINY)
    given = from_contest(contest(model, cleaned, views, TINY, seeded(0)), cleaned, views, TINY)
    # At the truth, and not between two points of a grid.
    true = Candidates(given.rotation[:, None], given.shift[:, None], torch.zeros(len(given.right), 1))
    given = replace(given, poses=true, right=given.right[:, :1])
    other = given.other_side()
    a, b = given.reference, given.particle
    assert torch.equal(other.reference, b)
    turn = views.rotations[a] @ views.rotations[b].mT
    torch.testing.assert_close(other.rotation, turn)
    torch.testing.assert_close(other.shift, views.shifts[a] - (turn @ views.shifts[b][..., None])[..., 0])
    torch.testing.assert_close(_poses(other.other_side()), _poses(given))
    back = compared_as(model, cleaned, views, other.reference, other.particle)
    with torch.no_grad():
        inverse, kept = (rescored(back, poses, 5).scores[:, 0] for poses in (other.poses, given.poses))
    assert bool((inverse > kept).all())
    assert float((inverse - kept).mean()) > 0.2


def _poses(given: Hypotheses) -> tuple[torch.Tensor, torch.Tensor]:
    return given.poses.rotations, given.poses.shifts


def test_sides_that_say_the_inverse_do_not_disagree() -> None:
    """Corrections from the other side that undo those from this one cost nothing; others cost what they are off."""
    p, h, box = 2, 3, 16
    generator = seeded(5)
    rotations = random_rotations(p * h, generator=generator, dtype=torch.float64).view(p, h, 3, 3)
    shifts = torch.randn(p, h, 3, generator=generator, dtype=torch.float64)
    poses = Candidates(rotations, shifts, torch.zeros(p, h))
    right = torch.zeros(p, h, dtype=torch.bool)
    here = Hypotheses(torch.arange(p), torch.arange(p), poses, right, rotations[:, 0], shifts[:, 0], 5)
    there = here.other_side()
    turn, move = (0.1 * torch.randn(p, h, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    log = torch.randn(p, h, generator=generator, dtype=torch.float64)
    said = Verdict(log, turn, move)
    turned, moved = said.corrected(rotations, shifts, box)
    want, wanted = inverse_poses(turned, moved)
    # exp(r') R^T = (exp(r) R)^T, so r' is -r in the other frame; what it says beside that may differ by a constant.
    back_turn = -(rotations.mT @ turn[..., None])[..., 0]
    answer = Verdict(log + 3.0, back_turn, (wanted - there.poses.shifts) / box)
    torch.testing.assert_close(rotation_from_vector(back_turn) @ there.poses.rotations, want)
    searched = torch.zeros(p, h, dtype=torch.float64)

    def apart(other: Verdict) -> torch.Tensor:
        return disagreement([here, there], [(searched, said), (searched, other)], box)

    torch.testing.assert_close(apart(answer), torch.zeros(p, dtype=torch.float64), atol=1e-9, rtol=0)
    # A turn off by 4 degrees about its own axis costs a half, as it does beside the truth.
    axis = torch.nn.functional.normalize(back_turn, dim=-1)
    off = Verdict(answer.log_likelihood, back_turn + axis * math.radians(4.0), answer.shift)
    assert float(apart(off).min()) > 0.49
    assert float(apart(replace(answer, log_likelihood=-log)).min()) > 0.01


def test_what_cannot_be_asked_of_a_judge_is_refused() -> None:
    with pytest.raises(InputError, match="both_ways"):
        replace(TINY, consistency=1.0)
    with pytest.raises(InputError, match="judged_on is guess"):
        replace(TINY, judged_on="guess")  # type: ignore[arg-type]
