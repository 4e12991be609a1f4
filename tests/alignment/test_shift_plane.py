from __future__ import annotations

import math

import pytest
import torch

from gumnet.alignment.band import Band
from gumnet.alignment.shift_plane import ShiftPlane


@pytest.mark.parametrize(("box", "shells"), [(24, 5), (25, 5), (16, 7), (9, 4), (32, 1)])
def test_correlations_are_the_direct_sums(box: int, shells: int, generator: torch.Generator) -> None:
    band = Band.up_to(box, shells)
    plane = ShiftPlane.of(band, box / 4)
    products = torch.randn(3, len(band.index), dtype=torch.complex64, generator=generator)
    angle = 2 * math.pi * plane.shifts.double() @ (band.index.double() / box).mT
    direct = (products[:, None] * torch.polar(torch.ones_like(angle), angle)).real.sum(dim=-1)
    found = plane.correlations(plane.laid_out(products))
    torch.testing.assert_close(found.double(), direct, atol=1e-4, rtol=1e-4)


def test_the_peak_is_at_the_shift() -> None:
    band = Band.up_to(24, 5)
    plane = ShiftPlane.of(band, 5.0, 2.4)
    # Two voxels a place: 12 places over 24 voxels.
    shift = torch.tensor([2.0, -4.0, 0.0])
    # Of P = exp(-2 pi i k t) the sum of P exp(2 pi i k t') is largest at t' = t.
    angle = 2 * math.pi * (band.frequencies @ shift)
    plane_peak = plane.correlations(plane.laid_out(torch.polar(torch.ones_like(angle), -angle)[None]))[0].argmax()
    torch.testing.assert_close(plane.shifts[plane_peak], shift)


@pytest.mark.parametrize("max_shift", [0.0, 0.9, 2.0, 4.7, 12.0])
def test_shifts_keep_their_limit_and_cover_what_is_within(max_shift: float) -> None:
    band = Band.up_to(24, 5)
    plane = ShiftPlane.of(band, max_shift)
    assert plane.shifts.abs().max() <= max_shift
    step = 24 / (3 * 5)
    axis = torch.unique(plane.shifts)
    assert len(plane.shifts) == len(axis) ** 3
    anywhere = torch.linspace(-max_shift, max_shift, 101)
    distance = (anywhere[:, None] - axis).abs()
    # Shifts of half a box either way are the same one.
    distance = torch.minimum(distance, (24 - distance).abs())
    assert distance.min(dim=1).values.max() <= step / 2 + 1e-5


def test_no_shift_at_all_is_one_place() -> None:
    assert torch.equal(ShiftPlane.of(Band.up_to(24, 5), 0.0).shifts, torch.zeros(1, 3))
