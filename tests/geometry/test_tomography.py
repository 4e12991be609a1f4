from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import i0
from torch import Tensor

from gumnet.geometry.fourier import frequencies, shell_sums, to_fourier, to_real
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.tomography import (
    _kernel,
    back_project,
    filter_images,
    premultiplied,
    project,
)
from gumnet.geometry.warp import voxel_coordinates
from gumnet.geometry.wedge import missing_wedge


def tilt_matrices(tilts_degrees: Tensor) -> Tensor:
    """Return the matrices (t, 3, 3) that tilt the specimen about y: ``P = R_y(theta)``."""
    angle = torch.deg2rad(tilts_degrees.to(torch.float64))
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    rows = [[angle.cos(), zero, angle.sin()], [zero, one, zero], [-angle.sin(), zero, angle.cos()]]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def gaussians(box: int, places: Tensor, sigma: float) -> Tensor:
    """Return the sum (N, N, N) of Gaussians of unit height at ``places`` (m, 3), (x, y, z) from the centre."""
    points = voxel_coordinates(box, dtype=torch.float64)
    squared = ((points[..., None, :] - places) ** 2).sum(-1)
    return torch.exp(-squared / (2 * sigma**2)).sum(-1)


def projected_gaussians(box: int, places: Tensor, sigma: float) -> Tensor:
    """Return the line integrals (N, N) along z of `gaussians`, in closed form."""
    axis = torch.arange(box, dtype=torch.float64) - box // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    squared = (x[..., None] - places[:, 0]) ** 2 + (y[..., None] - places[:, 1]) ** 2
    return math.sqrt(2 * math.pi) * sigma * torch.exp(-squared / (2 * sigma**2)).sum(-1)


def correlation_by_shell(first: Tensor, second: Tensor) -> Tensor:
    box = first.shape[-1]
    a, b = to_fourier(first), to_fourier(second)
    power = shell_sums(a.abs() ** 2, box) * shell_sums(b.abs() ** 2, box)
    return shell_sums((a * b.conj()).real, box) / power.sqrt()


def blobs(box: int, generator: torch.Generator, *, radius: float, count: int = 12) -> Tensor:
    """Return an asymmetric volume (N, N, N) of sharp blobs within ``radius`` voxels of the centre."""
    places = torch.randn(count, 3, dtype=torch.float64, generator=generator)
    places = (
        places
        / places.norm(dim=-1, keepdim=True)
        * radius
        * torch.rand(count, 1, dtype=torch.float64, generator=generator)
    )
    return gaussians(box, places, 0.9)


@pytest.mark.parametrize("box", [24, 25])
def test_projection_of_gaussians_is_the_closed_form_at_the_right_place(box: int, generator: torch.Generator) -> None:
    places = torch.tensor([[3.0, -2.0, 1.0], [-1.0, 0.5, 4.0], [0.0, 4.0, -3.0]], dtype=torch.float64)
    matrices = random_rotations(5, generator=generator)
    images = project(gaussians(box, places, 1.5)[None], matrices)
    assert images.shape == (1, 5, box, box)
    for image, matrix in zip(images[0], matrices, strict=True):
        # The position in the image is the first two rows of P times the position in the volume.
        expected = projected_gaussians(box, places @ matrix.mT, 1.5)
        assert float((image - expected).abs().max()) < 0.015 * float(expected.max())


@pytest.mark.parametrize("box", [12, 13])
def test_a_point_at_the_rotation_centre_stays_at_n_half_under_every_tilt(box: int) -> None:
    volume = torch.zeros(1, box, box, box, dtype=torch.float64)
    volume[0, box // 2, box // 2, box // 2] = 1
    images = project(volume, tilt_matrices(torch.tensor([-50.0, 0.0, 35.0])))
    for image in images[0]:
        assert int(image.argmax()) == (box // 2) * box + box // 2


def test_without_tilt_projection_is_the_sum_over_z() -> None:
    volume = torch.zeros(1, 16, 16, 16, dtype=torch.float64)
    volume[0, 4:13, 5:11, 6:10] = torch.rand(9, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    image = project(volume, torch.eye(3, dtype=torch.float64)[None])[0, 0]
    torch.testing.assert_close(image, volume[0].sum(0), atol=0.03 * float(volume.sum(1).max()), rtol=0)


def test_the_third_row_of_the_matrix_has_no_part_in_images(generator: torch.Generator) -> None:
    volume = blobs(16, generator, radius=5)[None]
    matrices = random_rotations(3, generator=generator)
    mirrored = matrices * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)[:, None]
    torch.testing.assert_close(project(volume, mirrored), project(volume, matrices))


@pytest.mark.parametrize(("box", "tilts"), [(10, 3), (11, 3), (24, 20)])
def test_back_projection_is_the_adjoint_of_projection(box: int, tilts: int, generator: torch.Generator) -> None:
    volumes = torch.randn(2, box, box, box, dtype=torch.float64, generator=generator)
    matrices = random_rotations(2 * tilts, generator=generator).reshape(2, tilts, 3, 3)
    images = torch.randn(2, tilts, box, box, dtype=torch.float64, generator=generator)
    forward = (project(volumes, matrices) * images).sum()
    backward = (volumes * back_project(images, matrices)).sum()
    torch.testing.assert_close(forward, backward, rtol=1e-10, atol=0)


def test_back_projection_smears_a_point_along_the_beam() -> None:
    image = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    axis = torch.arange(16, dtype=torch.float64) - 8
    image[0, 0] = torch.exp(-((axis[:, None] - 2) ** 2 + (axis - 1) ** 2) / 4)
    smeared = back_project(image, torch.eye(3, dtype=torch.float64)[None])[0]
    for z in (2, 8, 13):
        torch.testing.assert_close(smeared[z], image[0, 0], atol=0.02, rtol=0)


def test_one_batch_gives_what_each_volume_gives_alone(generator: torch.Generator) -> None:
    volumes = torch.stack([blobs(12, generator, radius=3) for _ in range(3)])
    matrices = random_rotations(6, generator=generator).reshape(3, 2, 3, 3)
    images = project(volumes, matrices)
    restored, weights = premultiplied(images, matrices, torch.ones(12, 7, dtype=torch.float64))
    for i in range(3):
        torch.testing.assert_close(project(volumes[i : i + 1], matrices[i])[0], images[i])
        alone = premultiplied(images[i : i + 1], matrices[i], torch.ones(12, 7, dtype=torch.float64))
        torch.testing.assert_close(alone[0][0], restored[i])
        torch.testing.assert_close(alone[1][0], weights[i])
    torch.testing.assert_close(project(volumes, matrices[0])[1], project(volumes[1:2], matrices[0])[0])


def test_many_tilts_at_once_are_the_sum_of_each_alone(generator: torch.Generator) -> None:
    matrices = random_rotations(20, generator=generator)
    images = torch.randn(2, 20, 24, 24, dtype=torch.float64, generator=generator)
    alone = sum(back_project(images[:, i : i + 1], matrices[i : i + 1]) for i in range(20))
    torch.testing.assert_close(back_project(images, matrices), alone)


def test_the_kernel_is_a_bessel_function() -> None:
    distance = torch.linspace(0, 1.5, 301, dtype=torch.float64)
    shape = math.pi * math.sqrt(2.25**2 - 0.8)  # three samples wide, padded twice
    expected = i0(shape * np.sqrt(1 - (distance.numpy() / 1.5) ** 2)) * shape / (3 * math.sinh(shape))
    np.testing.assert_allclose(_kernel(distance).numpy(), expected, atol=2e-8, rtol=0)


def test_gradients(generator: torch.Generator) -> None:
    volume = torch.randn(1, 4, 4, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    images = torch.randn(1, 2, 4, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    matrices = random_rotations(2, generator=generator).requires_grad_()
    assert torch.autograd.gradcheck(project, (volume, matrices), atol=1e-6)
    assert torch.autograd.gradcheck(back_project, (images, matrices), atol=1e-6)


def test_many_tilts_over_all_directions_give_the_volume_back(generator: torch.Generator) -> None:
    box = 24
    volume = blobs(box, generator, radius=6)[None].to(torch.float32)
    matrices = random_rotations(1000, generator=generator)
    images = project(volume, matrices)
    volumes, weights = premultiplied(images, matrices, torch.ones(box, box // 2 + 1))
    restored = to_real(to_fourier(volumes) / weights.clamp(min=1e-3 * float(weights.max())), box)
    correlation = correlation_by_shell(restored, volume)[0]
    assert float(correlation[1:10].min()) > 0.96  # to 0.4 cycles per voxel


def test_weights_are_one_at_the_origin_of_fourier_space_and_follow_the_transfer(generator: torch.Generator) -> None:
    box = 16
    matrices = tilt_matrices(torch.arange(-40.0, 41.0, 4.0))
    images = torch.zeros(1, len(matrices), box, box, dtype=torch.float64)
    ones = torch.ones(box, box // 2 + 1, dtype=torch.float64)
    _, full = premultiplied(images, matrices, ones)
    # A smear at tilt theta is 1 / cos(theta) as long within the box: a mean of 1 to 1 / cos(40).
    assert 1.0 <= float(full[0, 0, 0, 0]) < 1.3
    _, half = premultiplied(images, matrices, 0.5 * ones)
    torch.testing.assert_close(half, 0.25 * full)
    _, shared = premultiplied(images, matrices, ones, tilts=2 * len(matrices))
    torch.testing.assert_close(shared, 0.5 * full)
    assert float(full.min()) >= 0


def test_premultiplied_spectrum_is_weights_times_signal(generator: torch.Generator) -> None:
    box = 24
    matrices = tilt_matrices(torch.arange(-60.0, 61.0, 3.0))
    volume = blobs(box, generator, radius=5)[None]
    k = torch.fft.rfftfreq(box, dtype=torch.float64)
    transfer = torch.cos(6 * k).expand(len(matrices), box, -1).contiguous()  # changes sign, as a CTF does
    images = filter_images(project(volume, matrices), transfer)
    volumes, weights = premultiplied(images, matrices, transfer)
    model = to_real(weights * to_fourier(volume), box)
    # Next to Nyquist the finite box blurs slices and signal in different ways.
    assert float(correlation_by_shell(volumes, model)[0, 1:9].min()) > 0.97
    scale = float((volumes * model).sum() / (model * model).sum())
    assert scale == pytest.approx(1.0, abs=0.05)
    already, same = premultiplied(filter_images(images, transfer), matrices, transfer, multiply=False)
    torch.testing.assert_close(already, volumes)
    torch.testing.assert_close(same, weights)


def test_noise_has_the_power_of_the_weights(generator: torch.Generator) -> None:
    """White noise of unit variance in all images becomes noise whose variance is proportional to the weights."""
    box, repeats = 16, 48
    matrices = tilt_matrices(torch.arange(-60.0, 61.0, 4.0))
    transfer = torch.rand(len(matrices), 1, 1, dtype=torch.float64, generator=generator).expand(-1, box, box // 2 + 1)
    noise = torch.randn(repeats, len(matrices), box, box, dtype=torch.float64, generator=generator)
    volumes, weights = premultiplied(noise, matrices, transfer)
    power = (to_fourier(volumes).abs() ** 2).mean(0)
    shells = frequencies(box).norm(dim=-1) * box
    inside = (shells > 2) & (shells < 7) & (weights[0] > 0.02 * weights.max())
    p, w = power[inside], weights[0][inside]
    assert float(torch.corrcoef(torch.stack([p, w]))[0, 1]) > 0.9
    strong, weak = w > w.median(), w <= w.median()
    ratio = (p[strong].sum() / w[strong].sum()) / (p[weak].sum() / w[weak].sum())
    assert 0.75 < float(ratio) < 1.3


def test_weights_vanish_in_the_missing_wedge_of_an_asymmetric_range() -> None:
    """The plane that a tilt observes is ``kz = tan(theta) kx``, with the sign of `gumnet.geometry.wedge`."""
    box = 32
    matrices = tilt_matrices(torch.arange(-20.0, 61.0, 2.0))
    images = torch.zeros(1, len(matrices), box, box, dtype=torch.float64)
    _, weights = premultiplied(images, matrices, torch.ones(box, box // 2 + 1, dtype=torch.float64))
    shells = frequencies(box).norm(dim=-1) * box
    ring = (shells > 5) & (shells < 15)
    right, mirrored = missing_wedge(box, 60, -20) > 0, missing_wedge(box, 20, -60) > 0
    inside, outside = weights[0][ring & right].mean(), weights[0][ring & ~right].mean()
    assert float(outside / inside) < 0.06
    assert float(weights[0][ring & right & ~mirrored].mean() / inside) > 0.8
    assert float(weights[0][ring & ~right & mirrored].mean() / inside) < 0.06
