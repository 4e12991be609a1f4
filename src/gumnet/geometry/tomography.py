"""Projection of volumes at many tilts and its adjoint, by slices of Fourier space.

A matrix P takes a position in the volume to the image: ``x_image = P x_volume``, whose rows give the image's x, y and
the depth along the beam. Positions are in voxels from the centre, N // 2 on every axis. By the projection theorem the
spectrum of the image at (kx, ky) is that of the volume at ``kx P[0] + ky P[1]``; the third row of P has no part in it.

Volumes and images are padded to twice their size, so that neighbouring samples of a spectrum differ little, and
trilinear interpolation between them is undone by a division in real space (gridding correction).
"""

from __future__ import annotations

import torch
from torch import Tensor

from gumnet.geometry.ctf import image_frequencies
from gumnet.geometry.fourier import to_fourier, to_real
from gumnet.geometry.wedge import OBSERVED_THRESHOLD
from gumnet.types import Rotations, Volumes, Weights, centre

_PADDING = 2
_VOLUME_AXES = (-3, -2, -1)
_IMAGE_AXES = (-2, -1)


def _embed(arrays: Tensor, box: int, axes: int) -> Tensor:
    """Return arrays in a larger, zero-filled box, or cut to a smaller one, voxel N // 2 staying the centre."""
    before = centre(box) - centre(arrays.shape[-1])
    after = box - arrays.shape[-1] - before
    return torch.nn.functional.pad(arrays, (before, after) * axes)


def _gridding_correction(box: int, padded: int, like: Tensor) -> Tensor:
    """Return what trilinear interpolation in a padded spectrum does to a volume of ``box`` voxels, (N,) an axis."""
    position = torch.arange(box, device=like.device, dtype=like.dtype) - centre(box)
    return torch.sinc(position / padded) ** 2


def _correct(volumes: Tensor, padded: int) -> Tensor:
    factor = _gridding_correction(volumes.shape[-1], padded, volumes)
    return volumes / (factor[:, None, None] * factor[:, None] * factor)


def _slice_positions(matrices: Tensor, padded: int) -> Tensor:
    """Return where the half slices of all tilts lie, (n, t, M, M // 2 + 1, 3), in samples of the padded spectrum."""
    k = image_frequencies(padded, device=matrices.device, dtype=matrices.dtype) * padded
    return torch.einsum("yxi,ntij->ntyxj", k, matrices[..., :2, :])


def _per_volume(matrices: Rotations, n: int, dtype: torch.dtype) -> Tensor:
    matrices = matrices.to(dtype)
    return matrices.expand(n, *matrices.shape) if matrices.ndim == 3 else matrices


def project(volumes: Volumes, matrices: Rotations) -> Tensor:
    """Return the projections of volumes along the beam, the line integrals in units of voxels.

    Differentiable in both.

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
    n, box = volumes.shape[0], volumes.shape[-1]
    padded = _PADDING * box
    with torch.autocast(volumes.device.type, enabled=False):
        fine = _embed(_correct(volumes, padded), padded, 3)
        spectra = torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(fine, dim=_VOLUME_AXES), dim=_VOLUME_AXES))
        spectra = torch.stack([spectra.real, spectra.imag], dim=1)
        positions = _slice_positions(_per_volume(matrices, n, volumes.dtype), padded)
        grid = (positions + centre(padded)) * (2 / (padded - 1)) - 1
        slices = torch.nn.functional.grid_sample(
            spectra, grid, mode="bilinear", padding_mode="zeros", align_corners=True
        )
        half = torch.complex(slices[:, 0], slices[:, 1])
        images = torch.fft.fftshift(torch.fft.irfft2(half, s=(padded, padded)), dim=_IMAGE_AXES)
        return _embed(images, box, 2)


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
    n, box = images.shape[0], images.shape[-1]
    padded = _PADDING * box
    with torch.autocast(images.device.type, enabled=False):
        fine = torch.fft.ifftshift(_embed(images, padded, 2), dim=_IMAGE_AXES)
        half = torch.fft.rfft2(fine) / padded**2
        # The half slice stands for both of its halves, but for its columns kx = 0 and Nyquist, which are whole.
        half = torch.cat([half[..., :1], 2 * half[..., 1:-1], half[..., -1:]], dim=-1)
        positions = _slice_positions(_per_volume(matrices, n, images.dtype), padded) + centre(padded)
        spectra = _scatter(half, positions, padded)
        volumes = torch.fft.fftshift(
            torch.fft.ifftn(torch.fft.ifftshift(spectra, dim=_VOLUME_AXES), dim=_VOLUME_AXES, norm="forward").real,
            dim=_VOLUME_AXES,
        )
        return _correct(_embed(volumes, box, 3), padded)


def _scatter(values: Tensor, positions: Tensor, size: int) -> Tensor:
    """Add complex values (n, ...) at positions (n, ..., 3) to grids (n, size, size, size): the adjoint of sampling."""
    n = values.shape[0]
    values, positions = values.reshape(n, -1), positions.reshape(n, -1, 3)
    low = positions.detach().floor()
    upper_share = positions - low
    corner = low.to(torch.int64)
    first = torch.arange(n, device=values.device)[:, None] * size**3
    grid = torch.zeros(n * size**3, 2, device=values.device, dtype=positions.dtype)
    parts = torch.view_as_real(values)
    for offset in range(8):
        share = torch.ones_like(upper_share[..., 0])
        index = torch.zeros_like(corner[..., 0])
        inside = torch.ones_like(index, dtype=torch.bool)
        for axis in (2, 1, 0):  # z, y, x: the order of the grid in memory
            bit = (offset >> axis) & 1
            place = corner[..., axis] + bit
            share = share * (upper_share[..., axis] if bit else 1 - upper_share[..., axis])
            inside = inside & (place >= 0) & (place < size)
            index = index * size + place
        share = torch.where(inside, share, 0.0)
        index = torch.where(inside, first + index, 0)
        grid = grid.index_add(0, index.flatten(), (share[..., None] * parts).flatten(0, 1))
    return torch.view_as_complex(grid).view(n, size, size, size)


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
    volumes = back_project(filter_images(images, transfer) if multiply else images, matrices) * scale
    return volumes, _slice_weights(transfer**2, matrices, scale)


def _slice_weights(values: Tensor, matrices: Rotations, scale: float) -> Weights:
    """Return the weights (n, N, N, N // 2 + 1) of slices with the given real values (n, t, N, N // 2 + 1)."""
    box = values.shape[-2]
    spread = torch.fft.fftshift(torch.fft.irfft2(values, s=(box, box)), dim=_IMAGE_AXES)
    return to_fourier(back_project(spread, matrices)).real.clamp(min=0) * scale


def overlap_filter(matrices: Rotations, box: int) -> Tensor:
    """Return the filter (n, t, N, N // 2 + 1) that gives every coefficient weight 1, however many slices meet there.

    One over the number of slices within one voxel of it in Fourier space (Harauz and van Heel, Optik 1986). For
    even tilt steps it is the ramp of weighted back-projection, but it holds for any set of tilts.

    Parameters
    ----------
    matrices
        Shape (n, t, 3, 3).
    box
        Side N of the images.
    """
    k = image_frequencies(box, device=matrices.device, dtype=matrices.dtype) * box
    # The depth, in the frame of tilt s, of the slice of tilt t: its distance from slice s in voxels of Fourier space.
    relative = torch.einsum("nsj,ntij->nsti", matrices[..., 2, :], matrices[..., :2, :])
    overlap = torch.zeros(*matrices.shape[:2], box, box // 2 + 1, device=matrices.device, dtype=matrices.dtype)
    for row in relative.unbind(dim=1):
        overlap = overlap + (1 - torch.einsum("yxi,nti->ntyx", k, row).abs()).clamp(min=0)
    return 1 / overlap


def fourier_weighted(images: Tensor, matrices: Rotations) -> tuple[Volumes, Weights]:
    """Return weighted back-projections, with spectrum ``observed * signal``, and which coefficients are observed.

    Parameters
    ----------
    images
        Shape (n, t, N, N).
    matrices
        Shape (t, 3, 3) or (n, t, 3, 3).

    Returns
    -------
    tuple
        Volumes (n, N, N, N), zero in Fourier space where no slice passes, and binary weights (n, N, N, N // 2 + 1).
    """
    n, _, box, _ = images.shape
    matrices = _per_volume(matrices, n, images.dtype)
    density = overlap_filter(matrices, box)
    spectra = to_fourier(back_project(filter_images(images, density), matrices)) / box
    # What the closed form of the filter leaves over: near 1 wherever a slice passes, so the division is harmless.
    weights = _slice_weights(density, matrices, 1 / box)
    observed = weights >= OBSERVED_THRESHOLD
    volumes = to_real(torch.where(observed, spectra / weights.clamp(min=OBSERVED_THRESHOLD), 0), box)
    return volumes, observed.to(images.dtype)
