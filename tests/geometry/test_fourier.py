import math

import numpy as np
import pytest
import torch
from oracles import gaussians

from gumnet.geometry import fourier

BOXES = [15, 16]


@pytest.mark.parametrize("box", BOXES)
def test_a_point_at_the_centre_voxel_has_no_phase(box):
    volume = torch.zeros(box, box, box, dtype=torch.float64)
    volume[box // 2, box // 2, box // 2] = 1.0
    spectrum = fourier.to_fourier(volume)
    assert torch.allclose(spectrum, torch.ones_like(spectrum))


@pytest.mark.parametrize("box", BOXES)
def test_transform_and_inverse_cancel(box, generator):
    volumes = torch.randn(2, box, box, box, dtype=torch.float64, generator=generator)
    assert torch.allclose(fourier.to_real(fourier.to_fourier(volumes), box), volumes)


@pytest.mark.parametrize("box", [31, 32])
def test_spectrum_of_gaussians_is_the_closed_form(box):
    volume = gaussians.density(box)
    k = fourier.frequencies(box, dtype=torch.float64)
    inside = k.norm(dim=-1) < 0.35
    error = (fourier.to_fourier(volume) - gaussians.spectrum(k)).abs()[inside]
    assert error.max() < 1e-3 * float(gaussians.spectrum(torch.zeros(1, 3, dtype=torch.float64)).abs())


@pytest.mark.parametrize("box", BOXES)
def test_frequencies_are_in_xyz_order_and_cycles_per_voxel(box):
    k = fourier.frequencies(box, dtype=torch.float64)
    assert torch.allclose(k[0, 0, :, 0], torch.from_numpy(np.fft.rfftfreq(box)))
    assert torch.allclose(k[0, :, 0, 1], torch.from_numpy(np.fft.fftfreq(box)))
    assert torch.allclose(k[:, 0, 0, 2], torch.from_numpy(np.fft.fftfreq(box)))


@pytest.mark.parametrize("box", BOXES)
def test_friedel_multiplicity_makes_half_sums_full_sums(box, generator):
    """Parseval: the weighted sum of powers over the half transform is N^3 times the sum of squares."""
    volume = torch.randn(box, box, box, dtype=torch.float64, generator=generator)
    power = fourier.to_fourier(volume).abs() ** 2
    total = (power * fourier.friedel_multiplicity(box, dtype=torch.float64)).sum()
    assert float(total) == pytest.approx(float((volume**2).sum()) * box**3)


@pytest.mark.parametrize("box", BOXES)
def test_shell_sums_equal_sums_over_the_full_transform(box, generator):
    volume = torch.randn(box, box, box, dtype=torch.float64, generator=generator)
    full = np.abs(np.fft.fftn(volume.numpy())) ** 2
    axes = np.fft.fftfreq(box) * box
    radius = np.sqrt(sum(a**2 for a in np.meshgrid(axes, axes, axes)))
    shells = np.round(radius)
    expected = [full[shells == s].sum() for s in range(box // 2 + 1)]
    ours = fourier.shell_sums(fourier.to_fourier(volume)[None].abs() ** 2, box)
    assert ours.shape == (1, box // 2 + 1)
    assert torch.allclose(ours[0], torch.tensor(expected))


def test_spread_shells_is_zero_beyond_the_last_shell():
    spread = fourier.spread_shells(torch.arange(1.0, 10.0), 16)
    shells = fourier.shell_indices(16)
    assert torch.equal(spread, torch.where(shells <= 8, shells + 1.0, 0.0))


@pytest.mark.parametrize("box", [31, 32])
def test_shift_moves_the_analytic_density(box):
    shift = torch.tensor([1.3, -2.25, 0.6], dtype=torch.float64)
    moved = fourier.shift_volumes(gaussians.density(box)[None], shift[None])
    assert torch.allclose(moved[0], gaussians.density(box, shift=shift), atol=2e-4)


def test_shift_by_whole_voxels_is_a_roll(generator):
    volume = torch.randn(1, 12, 12, 12, dtype=torch.float64, generator=generator)
    moved = fourier.shift_volumes(volume, torch.tensor([[1.0, -2.0, 3.0]], dtype=torch.float64))
    assert torch.allclose(moved, torch.roll(volume, (3, -2, 1), dims=(1, 2, 3)))


@pytest.mark.parametrize(("old", "new"), [(24, 48), (25, 50), (24, 35), (25, 40), (48, 24), (50, 25), (40, 25)])
def test_resize_keeps_the_centre_the_level_and_the_density(old, new):
    """The same Gaussians on a finer or coarser grid over the same extent."""
    sigma = 2.4 * max(1.0, old / 32)
    volume = gaussians.density(old, sigma=sigma)
    axis = (torch.arange(new, dtype=torch.float64) - new // 2) * (old / new)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], dim=-1)
    expected = sum(
        a * torch.exp(-((points - torch.tensor(c, dtype=torch.float64)) ** 2).sum(-1) / (2 * sigma**2))
        for c, a in zip(gaussians.CENTRES, gaussians.AMPLITUDES, strict=True)
    )
    # The Gaussians' tails wrap around at the faces of the box, so compare inside.
    inner = slice(new // 4, -(new // 4))
    error = (fourier.resize(volume, new) - expected)[inner, inner, inner].abs().max()
    assert error < 0.01


def test_shells_reach_nyquist():
    shells = fourier.shell_indices(16)
    assert int(shells[0, 0, 8]) == 8
    assert int(shells.max()) == round(8 * math.sqrt(3))


@pytest.mark.parametrize("small", BOXES)
@pytest.mark.parametrize("large", [20, 21])
def test_embedding_keeps_the_centre_voxel_and_cutting_undoes_it(small, large, generator):
    volumes = torch.randn(2, small, small, small, generator=generator)
    wide = fourier.embed(volumes, large)
    assert torch.equal(wide[:, large // 2, large // 2, large // 2], volumes[:, small // 2, small // 2, small // 2])
    assert wide.abs().sum() == pytest.approx(float(volumes.abs().sum()))
    assert torch.equal(fourier.embed(wide, small), volumes)
    assert fourier.embed(volumes, large, axes=2).shape == (2, small, large, large)
