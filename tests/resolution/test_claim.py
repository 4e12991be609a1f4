from __future__ import annotations

import math

import pytest
import torch
from oracles.half_maps import noise, noisy_phantom

from gumnet.averaging.fsc import fsc, resolution_angstrom
from gumnet.averaging.mask import soft_sphere
from gumnet.resolution.claim import (
    claimed_resolution_angstrom,
    independent_fraction,
    noise_deviations,
    shell_counts,
)


def test_shells_hold_the_coefficients_of_the_full_transform() -> None:
    # Of squared radius below 0.25, 2.25 and 6.25, counted by hand.
    assert shell_counts(16)[:3].tolist() == [1, 18, 62]
    assert shell_counts(15)[:3].tolist() == [1, 18, 62]


def test_fraction_of_a_binary_mask_is_its_share_of_the_box() -> None:
    mask = torch.zeros(16, 16, 16)
    mask[4:12, 4:12, 4:12] = 1
    assert independent_fraction(mask) == pytest.approx(1 / 8)
    assert independent_fraction(torch.ones(16, 16, 16)) == 1
    assert independent_fraction(None) == 1


@pytest.mark.parametrize("masked", [False, True])
def test_deviations_of_noise_are_standard_normal(masked: bool, generator: torch.Generator) -> None:
    box, repeats = 24, 150
    mask = soft_sphere(box, 6, 4, dtype=torch.float64) if masked else None
    fraction = independent_fraction(mask)
    curves = fsc(noise(repeats, box, generator), noise(repeats, box, generator), mask=mask)
    values = torch.tensor([noise_deviations(curve, box, 10, fraction) for curve in curves], dtype=torch.float64)
    assert abs(float(values.mean())) < 4 / math.sqrt(repeats)
    # The deviation of a deviation is 1 / sqrt(2 n); with a mask the fraction is an approximation for many shells.
    assert float(values.std()) == pytest.approx(1, abs=0.25)


def test_noise_claims_nothing_though_its_curve_often_starts_above_the_threshold(generator: torch.Generator) -> None:
    box, repeats = 16, 200
    curves = fsc(noise(repeats, box, generator), noise(repeats, box, generator))
    assert sum(math.isfinite(resolution_angstrom(curve, 10.0, box)) for curve in curves) > 0.1 * repeats
    assert not any(math.isfinite(claimed_resolution_angstrom(curve, 10.0, box)) for curve in curves)


def test_signal_is_claimed_where_the_curve_falls(generator: torch.Generator) -> None:
    box = 24
    _, halves = noisy_phantom(box, 0.3, generator)
    curve = fsc(halves[0], halves[1])
    claimed = claimed_resolution_angstrom(curve, 10.0, box)
    assert math.isfinite(claimed)
    assert claimed == resolution_angstrom(curve, 10.0, box)


def test_the_curve_without_mask_is_proof_too() -> None:
    box = 24
    curve = torch.zeros(box // 2 + 1, dtype=torch.float64)
    curve[:3] = 0.9
    # 80 coefficients, of which a mask of 1 % of the box leaves less than one.
    assert math.isinf(claimed_resolution_angstrom(curve, 10.0, box, fraction=0.01))
    assert math.isfinite(claimed_resolution_angstrom(curve, 10.0, box, fraction=0.01, unmasked=curve))


def test_halves_of_one_start_claim_no_more_than_its_band() -> None:
    """Noise that both halves got from the start agrees within its band, and leaks a little beyond."""
    box, voxel, shared = 32, 10.0, 7
    curve = torch.zeros(box // 2 + 1, dtype=torch.float64)
    curve[: shared + 1] = 0.8
    assert claimed_resolution_angstrom(curve, voxel, box) < voxel * box / shared
    assert claimed_resolution_angstrom(curve, voxel, box, shared_shells=shared) == voxel * box / shared
    # What they do not even reach of it is not claimed either.
    assert claimed_resolution_angstrom(curve, voxel, box, shared_shells=10) == resolution_angstrom(curve, voxel, box)


def test_finer_shells_of_halves_that_started_from_one_map_count_by_themselves() -> None:
    box, voxel, shared = 32, 10.0, 7
    curve = torch.zeros(box // 2 + 1, dtype=torch.float64)
    curve[: shared + 3] = 0.5
    assert claimed_resolution_angstrom(curve, voxel, box, shared_shells=shared) == resolution_angstrom(
        curve, voxel, box
    )
    # In a mask that leaves 2 % of their 1,800 coefficients independent, 0.5 is three deviations of noise.
    few = claimed_resolution_angstrom(curve, voxel, box, fraction=0.02, shared_shells=shared)
    assert few == voxel * box / shared
