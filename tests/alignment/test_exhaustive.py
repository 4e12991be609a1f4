from __future__ import annotations

import math

import pytest
import torch

from gumnet.alignment.aligner import AlignerOptions, make_aligner
from gumnet.alignment.exhaustive import GRID_SPACING_DEGREES
from gumnet.alignment.score import Candidates
from gumnet.errors import InputError
from gumnet.geometry.fourier import frequencies, to_fourier, to_real
from gumnet.geometry.so3 import (
    angular_distance_degrees,
    grid_size_for_spacing,
    random_rotations,
    rotation_from_vector,
    super_fibonacci,
)
from gumnet.geometry.wedge import missing_wedge
from gumnet.particles import Poses
from tests.oracles.gaussians import density

CPU = torch.device("cpu")


def make_pairs(
    n: int, box: int, snr: float, generator: torch.Generator, *, wedge_a: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Poses]:
    """Return a, b, the wedge and the poses of b on a; the densities are exact, not resampled."""
    wedge = missing_wedge(box, 60.0)
    rotations = random_rotations(n, generator=generator)
    shifts = (torch.rand(n, 3, generator=generator, dtype=torch.float64) * 2 - 1) * 0.2 * box
    turned = random_rotations(n, generator=generator)
    a = torch.stack([density(box, turned[i]) for i in range(n)])
    b = torch.stack([density(box, rotations[i] @ turned[i], shifts[i]) for i in range(n)])

    def seen(volumes: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        scale = volumes.std(dim=(1, 2, 3), keepdim=True) / math.sqrt(snr)
        noisy = volumes + scale * torch.randn(volumes.shape, generator=generator, dtype=volumes.dtype)
        return to_real(to_fourier(noisy) * weights, box).float()

    return (
        seen(a, wedge if wedge_a else torch.ones_like(wedge)),
        seen(b, wedge),
        wedge[None],
        Poses.of(rotations, shifts),
    )


def errors(found: Poses, truth: Poses) -> tuple[torch.Tensor, torch.Tensor]:
    return angular_distance_degrees(found.rotations, truth.rotations), (found.shifts - truth.shifts).norm(dim=-1)


@pytest.mark.parametrize(("box", "wedge_a"), [(32, False), (32, True), (27, False)])
def test_clean_pairs_are_aligned_to_a_fraction_of_a_degree(box: int, wedge_a: bool, generator: torch.Generator) -> None:
    a, b, wedge, truth = make_pairs(4, box, 100.0, generator, wedge_a=wedge_a)
    aligner = make_aligner("exhaustive", AlignerOptions(), CPU)
    found = aligner.align(a, b, wedge if wedge_a else None, wedge)
    degrees, shifts = errors(found, truth)
    assert degrees.max() < 0.6
    assert shifts.max() < 0.06
    assert found.scores.min() > 0.9


def test_noisy_pairs_are_aligned(generator: torch.Generator) -> None:
    a, b, wedge, truth = make_pairs(4, 32, 0.1, generator)
    degrees, shifts = errors(make_aligner("exhaustive", AlignerOptions(), CPU).align(a, b, None, wedge), truth)
    assert degrees.max() < 10
    assert shifts.max() < 0.6


def test_without_refinement_the_pose_is_one_of_the_grid(generator: torch.Generator) -> None:
    a, b, wedge, _ = make_pairs(2, 24, 100.0, generator)
    found = make_aligner("exhaustive", AlignerOptions(refine=False), CPU).align(a, b, None, wedge)
    grid = super_fibonacci(grid_size_for_spacing(GRID_SPACING_DEGREES))
    nearest = angular_distance_degrees(found.rotations[:, None], grid[None]).min(dim=1).values
    assert nearest.max() < 0.01
    # Sixteen places of shifts along each axis.
    steps = found.shifts / (24 / 16)
    torch.testing.assert_close(steps, steps.round(), atol=1e-5, rtol=0)


def test_a_shared_reference_gives_what_one_each_gives(generator: torch.Generator) -> None:
    a, b, wedge, _ = make_pairs(2, 24, 10.0, generator)
    reference = a[:1]
    aligner = make_aligner("exhaustive", AlignerOptions(), CPU)
    shared = aligner.align(reference, b, wedge, wedge)
    own = aligner.align(reference.expand(2, -1, -1, -1).clone(), b, wedge.expand(2, -1, -1, -1), wedge)
    torch.testing.assert_close(shared.rotations, own.rotations, atol=1e-3, rtol=0)
    torch.testing.assert_close(shared.shifts, own.shifts, atol=1e-3, rtol=0)
    torch.testing.assert_close(shared.scores, own.scores, atol=1e-4, rtol=0)


def test_a_prior_is_refined_and_not_searched_from(generator: torch.Generator) -> None:
    a, b, wedge, truth = make_pairs(2, 32, 100.0, generator)
    off = rotation_from_vector(torch.deg2rad(torch.tensor([5.0, -6.0, 4.0], dtype=torch.float64)))
    prior = Poses.of(off @ truth.rotations, truth.shifts + 0.7)
    aligner = make_aligner("exhaustive", AlignerOptions(), CPU)
    degrees, shifts = errors(aligner.align(a, b, None, wedge, prior), truth)
    assert degrees.max() < 0.6
    assert shifts.max() < 0.06


def test_shifts_stay_within_their_limit(generator: torch.Generator) -> None:
    a, b, wedge, truth = make_pairs(3, 24, 100.0, generator)
    assert truth.shifts.abs().max() > 2
    found = make_aligner("exhaustive", AlignerOptions(max_shift=1.5), CPU).align(a, b, None, wedge)
    assert found.shifts.abs().max() <= 1.5


def test_the_band_can_be_limited(generator: torch.Generator) -> None:
    a, b, wedge, truth = make_pairs(2, 32, 100.0, generator)
    # Noise beyond the limit does no harm then.
    high = to_fourier(10 * b.std() * torch.randn(b.shape, generator=generator))
    k = frequencies(32).norm(dim=-1)
    b = b + to_real(torch.where(k > 0.27, high, 0), 32)
    degrees, _ = errors(
        make_aligner("exhaustive", AlignerOptions(max_frequency=0.25), CPU).align(a, b, None, wedge), truth
    )
    assert degrees.max() < 0.6


def test_autocast_changes_nothing(generator: torch.Generator) -> None:
    a, b, wedge, _ = make_pairs(1, 24, 10.0, generator)
    aligner = make_aligner("exhaustive", AlignerOptions(), CPU)
    plain = aligner.align(a, b, None, wedge)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = aligner.align(a, b, None, wedge)
    assert torch.equal(plain.rotations, cast.rotations)
    assert torch.equal(plain.shifts, cast.shifts)


def test_poses_come_out_orthogonal_in_float64() -> None:
    crooked = Candidates(torch.eye(3)[None, None] + 1e-4, torch.zeros(1, 1, 3), torch.zeros(1, 1))
    rotations = crooked.poses().rotations
    assert rotations.dtype == torch.float64
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3, dtype=torch.float64)[None])


def test_an_unknown_method_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="use one of: exhaustive, fa, gumnet, ht"):
        make_aligner("magic", AlignerOptions(), CPU)
