"""Projection of volumes at many tilts and its adjoint, by slices of Fourier space.

A matrix P takes a position in the volume to the image: ``x_image = P x_volume``, whose rows give the image's x, y and
the depth along the beam. Positions are in voxels from the centre, N // 2 on every axis. By the projection theorem the
spectrum of the image at (kx, ky) is that of the volume at ``kx P[0] + ky P[1]``; the third row of P has no part in it.

Volumes and images are padded to twice their size, and their spectra sampled with a Kaiser-Bessel kernel three samples
wide, whose effect is divided out in real space (gridding; Jackson et al., IEEE Trans. Med. Imaging 1991). Trilinear
interpolation is no substitute: it changes nothing where a slice meets the grid, as along the tilt axis, and much
between, so no division undoes both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from gumnet.geometry.ctf import image_frequencies
from gumnet.geometry.fourier import embed, to_fourier
from gumnet.types import Rotations, Volumes, Weights, centre

_PADDING = 2
_WIDTH = 3
# The shape that keeps aliases lowest for this width and padding (Beatty et al., IEEE Trans. Med. Imaging 2005, eq. 5).
_SHAPE = math.pi * math.sqrt((_WIDTH / _PADDING * (_PADDING - 0.5)) ** 2 - 0.8)
# The kernel, I_0(_SHAPE sqrt(u)), as its power series in u, highest power first: right to 1e-8 of the peak, and several
# times faster than the Bessel function, which would take most of the time of a projection.
_SERIES = [
    (_SHAPE / 2) ** (2 * k) / math.factorial(k) ** 2 * _SHAPE / (_WIDTH * math.sinh(_SHAPE)) for k in range(12, -1, -1)
]
# Points that are interpolated at a time: few enough for a processor's cache, where most of the time would go otherwise.
_BLOCK = 2**14
_VOLUME_AXES = (-3, -2, -1)
_IMAGE_AXES = (-2, -1)


def _kernel(distance: Tensor) -> Tensor:
    """Return the Kaiser-Bessel kernel at distances in samples, up to half its width, of unit integral."""
    u = 1 - (2 * distance / _WIDTH).square()
    values = torch.full_like(u, _SERIES[0])
    for coefficient in _SERIES[1:]:
        values = values * u + coefficient
    return values


def _correct(volumes: Tensor, padded: int) -> Tensor:
    """Divide volumes by the Fourier transform of the kernel, ``sinh(r) / r``, 1 at the centre."""
    box = volumes.shape[-1]
    position = torch.arange(box, device=volumes.device, dtype=torch.float64) - centre(box)
    root = torch.sqrt(_SHAPE**2 - (math.pi * _WIDTH * position / padded) ** 2)
    factor = (torch.sinh(root) / root * (_SHAPE / math.sinh(_SHAPE))).to(volumes.dtype)
    return volumes / (factor[:, None, None] * factor[:, None] * factor)


def _slice_positions(matrices: Tensor, padded: int) -> Tensor:
    """Return where the half slices of all tilts lie, (g, 3, t, M, M // 2 + 1), in samples of the padded spectrum."""
    k = image_frequencies(padded, device=matrices.device, dtype=matrices.dtype) * padded
    return torch.einsum("yxi,gtij->gjtyx", k, matrices[..., :2, :])


def _grouped(arrays: Tensor, matrices: Rotations) -> tuple[Tensor, Tensor]:
    """Return arrays (g, c, ...) and matrices (g, t, 3, 3): the c arrays of a group share their matrices."""
    matrices = matrices.to(arrays.dtype)
    return (arrays[None], matrices[None]) if matrices.ndim == 3 else (arrays[:, None], matrices)


def project(volumes: Volumes, matrices: Rotations) -> Tensor:
    """Return the projections of volumes along the beam, the line integrals in units of voxels.

    Differentiable in both. Volumes that share their matrices cost less than each with its own.

    Parameters
    ----------
    volumes
        Shape (n, N, N, N), zero outside the box.
    matrices
        Shape (t, 3, 3), shared by all volumes, or (n, t, 3, 3); ``x_image = P x_volume``.

    Returns
    -------
    Tensor
        Images of shape (n, t, N, N), indexed [y, x].
    """
    box = volumes.shape[-1]
    padded = _PADDING * box
    with torch.autocast(volumes.device.type, enabled=False):
        grouped, matrices = _grouped(volumes, matrices)
        fine = torch.fft.ifftshift(embed(_correct(grouped, padded), padded, 3), dim=_VOLUME_AXES)
        spectra = torch.fft.fftn(fine, dim=_VOLUME_AXES)
        positions = _slice_positions(matrices, padded)
        half = torch.stack([_gather(s, p) for s, p in zip(spectra, positions, strict=True)])
        images = torch.fft.fftshift(torch.fft.irfft2(half, s=(padded, padded)), dim=_IMAGE_AXES)
        return embed(images, box, 2).flatten(0, 1)


def back_project(images: Tensor, matrices: Rotations) -> Volumes:
    """Return the sums over tilts of images smeared along the beam: the adjoint of `project`, without any filter.

    Parameters
    ----------
    images
        Shape (n, t, N, N), indexed [y, x], zero outside.
    matrices
        Shape (t, 3, 3) or (n, t, 3, 3); ``x_image = P x_volume``.

    Returns
    -------
    Volumes
        Shape (n, N, N, N): ``out(x) = sum_t image_t((P_t x)_xy)``. Differentiable in both.
    """
    grouped, matrices = _grouped(images, matrices)
    return _back_project(grouped, matrices).flatten(0, 1)


def _back_project(images: Tensor, matrices: Tensor) -> Tensor:
    """Return the volumes (g, c, N, N, N) of images (g, c, t, N, N) with matrices (g, t, 3, 3)."""
    box = images.shape[-1]
    padded = _PADDING * box
    with torch.autocast(images.device.type, enabled=False):
        fine = torch.fft.ifftshift(embed(images, padded, 2), dim=_IMAGE_AXES)
        half = torch.fft.rfft2(fine) / padded**2
        # The half slice stands for both of its halves, but for its columns kx = 0 and Nyquist, which are whole.
        half = torch.cat([half[..., :1], 2 * half[..., 1:-1], half[..., -1:]], dim=-1)
        positions = _slice_positions(matrices, padded)
        spectra = torch.stack([_scatter(h, p, padded) for h, p in zip(half, positions, strict=True)])
        fine = torch.fft.ifftn(spectra, dim=_VOLUME_AXES, norm="forward").real
        return _correct(embed(torch.fft.fftshift(fine, dim=_VOLUME_AXES), box, 3), padded)


def _neighbours(positions: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield, for each of the kernel's 27 offsets, the grid points beside positions (3, m) and the kernel there, (m,).

    Positions are in samples of a spectrum (size, size, size) as `torch.fft.fftn` orders it, whose points are counted
    through in memory order [z, y, x]. Points beyond its last frequency have kernel 0.
    """
    offsets = torch.arange(_WIDTH, device=positions.device)[:, None] - _WIDTH // 2
    places = positions.detach().round()[:, None] + offsets
    inside = (places >= -centre(size)) & (places < size - centre(size))
    kernel_x, kernel_y, kernel_z = torch.where(inside, _kernel(positions[:, None] - places), 0.0)
    x, y, z = places.to(torch.int64) % size
    for i in range(_WIDTH):
        for j in range(_WIDTH):
            row, kernel = (z[i] * size + y[j]) * size, kernel_z[i] * kernel_y[j]
            for k in range(_WIDTH):
                yield row + x[k], kernel * kernel_x[k]


def _gather(spectra: Tensor, positions: Tensor) -> Tensor:
    """Return spectra (c, M, M, M) at positions (3, ...): complex values (c, ...)."""
    grids, parts = spectra.flatten(1).unbind(), []
    for block in torch.split(positions.flatten(1), _BLOCK, dim=1):
        values = [torch.zeros_like(block[0], dtype=spectra.dtype) for _ in grids]
        for index, kernel in _neighbours(block, spectra.shape[-1]):
            for grid, value in zip(grids, values, strict=True):
                value += kernel * grid.gather(0, index)
        parts.append(torch.stack(values))
    return torch.cat(parts, dim=1).reshape(-1, *positions.shape[1:])


def _scatter(values: Tensor, positions: Tensor, size: int) -> Tensor:
    """Return grids (c, size, size, size) of complex values (c, ...) added at positions: the adjoint of `_gather`."""
    grids = [torch.zeros(size**3, device=values.device, dtype=values.dtype) for _ in values]
    split = [torch.split(array.flatten(1), _BLOCK, dim=1) for array in (values, positions)]
    for channels, block in zip(*split, strict=True):
        for index, kernel in _neighbours(block, size):
            for grid, channel in zip(grids, channels, strict=True):
                grid.scatter_add_(0, index, kernel * channel)
    return torch.stack(grids).view(-1, size, size, size)


def filter_images(images: Tensor, transfer: Tensor) -> Tensor:
    """Return images (..., N, N) with their spectra multiplied by ``transfer`` (..., N, N // 2 + 1), real."""
    box = images.shape[-1]
    filtered: Tensor = torch.fft.irfft2(torch.fft.rfft2(images) * transfer, s=(box, box))
    return filtered


def premultiplied(
    images: Tensor, matrices: Rotations, transfer: Tensor, *, multiply: bool = True, tilts: int | None = None
) -> tuple[Volumes, Weights]:
    """Return volumes and Fourier weights, ``spectrum = weights * signal + noise``, from the images of all tilts.

    An image is ``transfer * projection + noise``, with noise that is white and equally strong in all of them. Least
    squares over all tilts then needs the sum over tilts of slices of ``transfer * image``, and of ``transfer^2``: the
    volumes and the weights. Both go through the same `back_project`, the weights as the point spread functions of
    their tilts, so that the finite box blurs them alike; where that makes weights negative they are put to 0.

    Parameters
    ----------
    images
        Shape (n, t, N, N).
    matrices
        Shape (t, 3, 3) or (n, t, 3, 3).
    transfer
        What each image kept of the signal, its CTF times its dose weights: shape (t, N, N // 2 + 1) or
        (n, t, N, N // 2 + 1), real.
    multiply
        False for images that were multiplied by ``transfer`` already.
    tilts
        How many tilts full weight stands for, t unless given. Both results are divided by it: give the same number
        for all particles whose weights must compare.

    Returns
    -------
    tuple
        Volumes (n, N, N, N) and weights (n, N, N, N // 2 + 1), 0 or more; 1 where all tilts saw the whole signal.
    """
    box = images.shape[-1]
    scale = 1 / (box * (images.shape[1] if tilts is None else tilts))
    transfer = transfer.to(images.dtype).expand(*images.shape[:2], box, box // 2 + 1)
    return _with_weights(filter_images(images, transfer) if multiply else images, matrices, transfer**2, scale)


def _with_weights(images: Tensor, matrices: Rotations, values: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Return back-projections of images, and weights of slices with real ``values`` (n, t, N, N // 2 + 1)."""
    box = images.shape[-1]
    spread = torch.fft.fftshift(torch.fft.irfft2(values, s=(box, box)), dim=_IMAGE_AXES)
    n = len(images)
    if matrices.ndim == 3:
        both = back_project(torch.cat([images, spread]), matrices)
        volumes, points = both[:n], both[n:]
    else:
        volumes, points = _back_project(torch.stack([images, spread], dim=1), matrices.to(images.dtype)).unbind(1)
    return volumes * scale, to_fourier(points).real.clamp(min=0) * scale
