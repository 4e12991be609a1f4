from __future__ import annotations

import pytest
import torch
from oracles import gaussians

from gumnet.averaging.insertion import InsertionGrid, kernel, kernel_transform, samples
from gumnet.averaging.solve import solve
from gumnet.geometry.fourier import frequencies, friedel_multiplicity, shell_indices, to_fourier
from gumnet.geometry.so3 import random_rotations

CPU, DOUBLE = torch.device("cpu"), torch.float64


def test_kernel_is_positive_even_and_narrow() -> None:
    x = torch.linspace(-2, 2, 401, dtype=DOUBLE)
    values = kernel(x)
    assert float(values.min()) == 0
    assert float(kernel(torch.zeros(1))) == 1
    torch.testing.assert_close(values, values.flip(0))
    assert bool((values[x.abs() >= 1.5] == 0).all())
    # The transform at 0 is the integral; it falls, and what aliases onto the edge of the box is small beside it.
    assert float(kernel_transform(torch.zeros(1))) == pytest.approx(float(torch.trapezoid(values, x)), rel=1e-3)
    edge, alias = kernel_transform(torch.tensor([0.25, 0.75]))
    assert abs(float(alias / edge)) < 0.06


@pytest.mark.parametrize("box", [16, 17])
def test_samples_are_one_half_of_all_coefficients(box: int) -> None:
    taken = samples(box, CPU, DOUBLE)
    torch.testing.assert_close(taken.vectors, taken.take(frequencies(box, dtype=DOUBLE).movedim(-1, 0)).T)
    inside = shell_indices(box) <= box // 2
    if box % 2 == 0:
        inside &= (frequencies(box).abs() < 0.49).all(dim=-1)
    # Both halves of Fourier space hold twice the shares.
    whole = (inside * friedel_multiplicity(box)).sum()
    assert float(2 * taken.share.sum()) == pytest.approx(float(whole))


@pytest.mark.parametrize("box", [24, 25])
def test_spectra_are_read_between_coefficients(box: int, generator: torch.Generator) -> None:
    """Against the analytic transform, at any frequency, on the grid and off it."""
    grid = InsertionGrid(box)
    values = grid.unfolded(gaussians.density(box))
    anywhere = torch.rand(500, 3, generator=generator, dtype=DOUBLE) - 0.5
    on_grid = torch.round(anywhere * box) / box
    for at in (anywhere, on_grid):
        at = at[at.norm(dim=-1) < 0.5]
        expected = gaussians.spectrum(at)
        assert float((grid.read(values, at) - expected).norm() / expected.norm()) < 0.01


def test_insertion_is_the_transpose_of_reading(generator: torch.Generator) -> None:
    box = 12
    grid, taken = InsertionGrid(box), samples(box, CPU, DOUBLE)
    rotation = random_rotations(1, generator=generator).double()
    count = len(taken.index)
    data = torch.complex(*torch.randn(2, 1, count, generator=generator, dtype=DOUBLE))
    # A field of a real volume, so that reading may use Friedel mates.
    field = grid.unfolded(torch.randn(box, box, box, generator=generator, dtype=DOUBLE))
    sums = grid.zeros(CPU, DOUBLE)
    one = torch.ones(1, dtype=DOUBLE)
    grid.insert(sums, data, torch.ones(1, count, dtype=DOUBLE), rotation, torch.zeros(1, 3), one)
    inserted = torch.complex(sums[0], sums[1])
    read = grid.read(field, taken.vectors @ rotation[0])
    left = (field.conj() * inserted).sum().real
    right = (read.conj() * data[0] * taken.share).sum().real
    torch.testing.assert_close(left, right)


def test_even_weights_are_solved_by_division(generator: torch.Generator) -> None:
    """Many whole particles: the solution is the analytic spectrum, and its weights are their number on every shell."""
    box, n = 20, 30
    grid, taken = InsertionGrid(box), samples(box, CPU, DOUBLE)
    rotations = random_rotations(n, generator=generator).double()
    data = torch.stack([taken.take(to_fourier(gaussians.density(box, r))) for r in rotations])
    sums = grid.zeros(CPU, DOUBLE)
    ones = torch.ones(1, len(taken.index), dtype=DOUBLE)
    grid.insert(sums, data, ones, rotations, torch.zeros(n, 3), torch.ones(n, dtype=DOUBLE))
    spectrum, weights = solve(grid, sums)
    middle = (shell_indices(box) >= 3) & (shell_indices(box) <= 8)
    torch.testing.assert_close(weights[middle].mean().item(), float(n), rtol=0.03, atol=0)
    expected = gaussians.spectrum(frequencies(box, dtype=DOUBLE))
    low = shell_indices(box) <= 8
    found = spectrum / weights.clamp_min(1)
    assert float((found - expected)[low].norm() / expected[low].norm()) < 0.02
