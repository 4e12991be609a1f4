from __future__ import annotations

import pytest
import torch
from oracles.half_maps import noise

from gumnet.averaging.mask import low_pass
from gumnet.errors import InputError
from gumnet.resolution.local import band, band_centres, coarsest_angstrom, local_resolution, window_voxels

VOXEL = 4.0


def expected_frequency(cut: float, noise_variance: float, window: float) -> float:
    """Return where signal of power 1 up to ``cut``, in white noise, falls to half of a band's power, in cycles.

    The share of the band below ``cut`` is weighted by the square of its profile and the area of its shells.
    """
    k = torch.linspace(0, 0.75, 6001, dtype=torch.float64)
    centres = torch.linspace(cut - 1 / window, cut + 1 / window, 401, dtype=torch.float64)
    power = band(k, centres[:, None], window) ** 2 * k**2
    # The box holds the corners too: shells beyond Nyquist are not whole, but far from the bands that matter here.
    signal = (power * (k <= cut)).sum(dim=1) / power.sum(dim=1)
    correlation = signal / (signal + noise_variance)
    return float(centres[int((correlation < 0.5).nonzero()[0])])


@pytest.mark.parametrize("deviation", [0.3, 0.6])
def test_two_regions_of_different_bandwidth(deviation: float, generator: torch.Generator) -> None:
    box = 48
    white = noise(1, box, generator)[0]
    fine, coarse = low_pass(white, 0.30, 0.0), low_pass(white, 0.15, 0.0)
    right = (torch.arange(box) >= box // 2).double()
    halves = fine * right + coarse * (1 - right) + deviation * noise(2, box, generator)
    window = window_voxels(box)
    frequency = VOXEL / local_resolution(halves, voxel_size_angstrom=VOXEL)
    # In the middle of each half, a window away from both borders. The low pass itself falls over one shell.
    for cut, middle in ((0.15, box // 4), (0.30, 3 * box // 4)):
        found = float(frequency[:, :, middle].median())
        expected = expected_frequency(cut + 0.5 / box, deviation**2, window)
        assert found == pytest.approx(expected, abs=0.25 / window), (cut, deviation)


def test_noise_is_coarsest_and_equal_maps_are_finest_everywhere(generator: torch.Generator) -> None:
    box = 24
    halves = noise(2, box, generator)
    volume = local_resolution(halves, voxel_size_angstrom=VOXEL)
    assert volume.shape == (box,) * 3
    worst = coarsest_angstrom(box, VOXEL)
    assert worst == pytest.approx(VOXEL * window_voxels(box))
    assert float((volume == volume.max()).double().mean()) > 0.99
    assert float(volume.max()) == pytest.approx(worst)
    same = local_resolution(halves[:1].expand(2, -1, -1, -1), voxel_size_angstrom=VOXEL)
    torch.testing.assert_close(same, torch.full_like(same, 2 * VOXEL))


def test_scale_and_sign_of_the_maps_do_not_matter(generator: torch.Generator) -> None:
    signal = noise(1, 16, generator)[0]
    halves = signal + 0.8 * noise(2, 16, generator)
    first = local_resolution(halves, voxel_size_angstrom=VOXEL)
    torch.testing.assert_close(local_resolution(-7 * halves, voxel_size_angstrom=VOXEL), first)


def test_bands_reach_from_the_window_to_nyquist() -> None:
    centres = band_centres(12.0)
    assert centres[0] == pytest.approx(1 / 12)
    assert centres[-1] == 0.5
    steps = torch.tensor(centres).diff()
    assert float(steps.max()) <= 0.5 / 12 + 1e-6
    assert float(band(torch.tensor(0.3), 0.3, 12.0)) == 1
    assert float(band(torch.tensor(0.3 + 0.5 / 12), 0.3, 12.0)) == pytest.approx(0.5)


def test_wrong_input_is_named(generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="two cubes"):
        local_resolution(noise(3, 8, generator), voxel_size_angstrom=VOXEL)
    with pytest.raises(InputError, match="window"):
        local_resolution(noise(2, 16, generator), voxel_size_angstrom=VOXEL, window=12)
    with pytest.raises(InputError, match="NaN"):
        local_resolution(torch.full((2, 16, 16, 16), torch.nan), voxel_size_angstrom=VOXEL)
