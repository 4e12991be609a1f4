"""Spectral pooling against scipy's DCT, and its gradient against algorithm 2 of the paper."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import torch

from gumnet.errors import InputError
from gumnet.model.spectral_pool import SpectralPool, cosine_matrix, pooling_matrix

AXES = (-3, -2, -1)


def dct_crop_inverse(volumes: np.ndarray, keep: int, size_out: int) -> np.ndarray:
    """Transform, keep the lowest coefficients, pad to the output size, transform back."""
    spectrum = scipy.fft.dctn(volumes, type=2, norm="ortho", axes=AXES)
    padded = np.zeros((*volumes.shape[:-3], size_out, size_out, size_out))
    padded[..., :keep, :keep, :keep] = spectrum[..., :keep, :keep, :keep]
    return scipy.fft.idctn(padded, type=2, norm="ortho", axes=AXES)


@pytest.mark.parametrize(
    ("size_in", "size_out", "keep"), [(30, 26, 22), (24, 18, 15), (13, 9, 8), (8, 8, 5), (7, 9, 6)]
)
def test_same_numbers_as_dct_crop_and_inverse(
    size_in: int, size_out: int, keep: int, generator: torch.Generator
) -> None:
    maps = torch.randn(2, 3, size_in, size_in, size_in, generator=generator, dtype=torch.float64)
    pool = SpectralPool(size_in, size_out, keep)
    assert pool(maps).shape == (2, 3, size_out, size_out, size_out)
    expected = torch.from_numpy(dct_crop_inverse(maps.numpy(), keep, size_out))
    # The matrices are stored in float32.
    torch.testing.assert_close(pool(maps), expected, rtol=0, atol=3e-6)
    matrix = pooling_matrix(size_in, size_out, keep)
    exact = maps
    for axis in AXES:
        exact = torch.tensordot(exact, matrix, dims=([axis], [1])).movedim(-1, axis)
    torch.testing.assert_close(exact, expected, rtol=0, atol=1e-12)


def test_gradient_is_algorithm_2(generator: torch.Generator) -> None:
    maps = torch.randn(1, 2, 12, 12, 12, generator=generator, requires_grad=True)
    arriving = torch.randn(1, 2, 9, 9, 9, generator=generator)
    SpectralPool(12, 9, 7)(maps).backward(arriving)
    expected = torch.from_numpy(dct_crop_inverse(arriving.double().numpy(), 7, 12)).float()
    torch.testing.assert_close(maps.grad, expected, rtol=0, atol=5e-6)


def test_gradcheck(generator: torch.Generator) -> None:
    maps = torch.randn(1, 1, 5, 5, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(SpectralPool(5, 4, 3).double(), (maps,))


def test_cosine_matrix_is_orthonormal() -> None:
    matrix = cosine_matrix(11)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(11, dtype=torch.float64), rtol=0, atol=1e-14)


def test_constant_map_scales_by_the_root_of_the_sizes() -> None:
    pooled = SpectralPool(30, 26, 22)(torch.ones(1, 1, 30, 30, 30))
    torch.testing.assert_close(pooled, torch.full_like(pooled, (26 / 30) ** -1.5), rtol=1e-5, atol=0)


def test_keeps_position_of_a_blob() -> None:
    # Voxel i covers the interval i to i + 1, so its centre at 30 lies at (i + 1/2) * 26/30 - 1/2 after pooling.
    axis = torch.arange(30, dtype=torch.float64)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    blob = torch.exp(-((x - 10) ** 2 + (y - 14.3) ** 2 + (z - 17.7) ** 2) / (2 * 2.5**2))
    pooled = SpectralPool(30, 26, 22)(blob[None, None])[0, 0]
    small = torch.arange(26, dtype=torch.float64)
    for dim, place in enumerate((17.7, 14.3, 10.0)):
        profile = pooled.sum(dim=[d for d in range(3) if d != dim])
        found = (profile * small).sum() / profile.sum()
        assert found.item() == pytest.approx((place + 0.5) * 26 / 30 - 0.5, abs=1e-3)


@pytest.mark.parametrize("keep", [0, 27])
def test_impossible_sizes_are_refused(keep: int) -> None:
    with pytest.raises(InputError, match="keep 1 to 26"):
        SpectralPool(30, 26, keep)
