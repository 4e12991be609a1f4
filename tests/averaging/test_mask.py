from __future__ import annotations

import math

import pytest
import torch

from gumnet.averaging.mask import low_pass, soft_edge, soft_sphere
from gumnet.errors import InputError
from gumnet.geometry.fourier import to_fourier


def test_soft_edge_is_half_a_cosine() -> None:
    values = soft_edge(torch.tensor([-1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 9.0]), 4.0)
    half = math.sqrt(0.5) / 2
    torch.testing.assert_close(values, torch.tensor([1, 1, 0.5 + half, 0.5, 0.5 - half, 0, 0]))
    torch.testing.assert_close(soft_edge(torch.tensor([0.0, 0.1]), 0.0), torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("box", [31, 32])
def test_sphere_is_about_the_centre_voxel(box: int) -> None:
    sphere = soft_sphere(box, 8, 4)
    c = box // 2
    torch.testing.assert_close(sphere[c, c, c + 8 : c + 13], soft_edge(torch.arange(5.0), 4.0))
    for line in (sphere[c, c], sphere[c, :, c], sphere[:, c, c]):
        assert float(line[c - 8]) == float(line[c + 8]) == 1
        assert float(line[c - 12]) == float(line[c + 12]) == 0
    # Volume of a sphere whose edge is at half height in the middle: the integral of 4 pi r^2 times the profile.
    r = torch.linspace(0, 12, 20001, dtype=torch.float64)
    expected = float(torch.trapezoid(4 * math.pi * r**2 * soft_edge(r - 8, 4.0), r))
    assert float(sphere.sum()) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("box", [15, 32])
def test_default_sphere_ends_inside_the_box(box: int) -> None:
    sphere = soft_sphere(box)
    assert float(sphere.max()) == 1
    for face in (sphere[0], sphere[-1], sphere[:, 0], sphere[..., -1]):
        assert float(face.max()) < 1e-6


def test_low_pass_keeps_the_band(generator: torch.Generator) -> None:
    volume = torch.randn(32, 32, 32, generator=generator)
    before, after = to_fourier(volume), to_fourier(low_pass(volume, 0.2))
    k = torch.fft.rfftfreq(32)
    torch.testing.assert_close(after[0, 0, k <= 0.2], before[0, 0, k <= 0.2], atol=1e-3, rtol=0)
    assert float(after[0, 0, k > 0.24].abs().max()) < 1e-3


def test_empty_masks_are_refused() -> None:
    with pytest.raises(InputError, match="empty"):
        soft_sphere(16, 0)
