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
from gumnet.geometry.fourier import to_fourier, to_real
from gumnet.geometry.wedge import OBSERVED_THRESHOLD
from gumnet.types import Rotations, Volumes, Weights, centre

_PADDING = 2
_WIDTH = 3
# The shape that keeps aliases lowest for this width and padding (Beatty et al., IEEE Trans. Med. Imaging 2005, eq. 5).
_SHAPE = math.pi * math.sqrt((_WIDTH / _PADDING * (_PADDING - 0.5)) ** 2 - 0.8)
_VOLUME_AXES = (-3, -2, -1)
_IMAGE_AXES = (-2, -1)


def _embed(arrays: Tensor, box: int, axes: int) -> Tensor:
    """Return arrays in a larger, zero-filled box, or cut to a smaller one, voxel N // 2 staying the centre."""
    before = centre(box) - centre(arrays.shape[-1])
    after = box - arrays.shape[-1] - before
    return torch.nn.functional.pad(arrays, (before, after) * axes)


def _kernel(distance: Tensor) -> Tensor:
    """Return the Kaiser-Bessel kernel at distances in samples, up to half its width, of unit integral."""
    root = torch.sqrt((1 - (2 * distance / _WIDTH) ** 2).clamp(min=1e-12))
    values: Tensor = torch.special.i0(_SHAPE * root) * (_SHAPE / (_WIDTH * math.sinh(_SHAPE)))
    return values


def _correct(volumes: Tensor, padded: int) -> Tensor:
    """Divide volumes by the Fourier transform of the kernel, ``sinh(r) / r``, 1 at the centre."""
    box = volumes.shape[-1]
    position = torch.arange(box, device=volumes.device, dtype=torch.float64) - centre(box)
    root = torch.sqrt(_SHAPE**2 - (math.pi * _WIDTH * position / padded) ** 2)
    factor = (torch.sinh(root) / root * (_SHAPE / math.sinh(_SHAPE))).to(volumes.dtype)
    return volumes / (factor[:, None, None] * factor[:, None] * factor)


def _slice_positions(matrices: Tensor, padded: int) -> Tensor:
    """Return where the half slices of all tilts lie, (g, t, M, M // 2 + 1, 3), in samples of the padded spectrum."""
    k = image_frequencies(padded, device=matrices.device, dtype=matrices.dtype) * padded
    return torch.einsum("yxi,gtij->gtyxj", k, matrices[..., :2, :])


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
        fine = torch.fft.ifftshift(_embed(_correct(grouped, padded), padded, 3), dim=_VOLUME_AXES)
        spectra = torch.fft.fftshift(torch.fft.fftn(fine, dim=_VOLUME_AXES), dim=_VOLUME_AXES)
        half = _gather(spectra, _slice_positions(matrices, padded))
        images = torch.fft.fftshift(torch.fft.irfft2(half, s=(padded, padded)), dim=_IMAGE_AXES)
        return _embed(images, box, 2).flatten(0, 1)


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
        fine = torch.fft.ifftshift(_embed(images, padded, 2), dim=_IMAGE_AXES)
        half = torch.fft.rfft2(fine) / padded**2
        # The half slice stands for both of its halves, but for its columns kx = 0 and Nyquist, which are whole.
        half = torch.cat([half[..., :1], 2 * half[..., 1:-1], half[..., -1:]], dim=-1)
        spectra = _scatter(half, _slice_positions(matrices, padded), padded)
        unshifted = torch.fft.ifftn(torch.fft.ifftshift(spectra, dim=_VOLUME_AXES), dim=_VOLUME_AXES, norm="forward")
        volumes = torch.fft.fftshift(unshifted.real, dim=_VOLUME_AXES)
        return _correct(_embed(volumes, box, 3), padded)


def _neighbours(positions: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the grid points around positions (g, ..., 3) and the kernel there, both flat, (g * ...,).

    Positions are in samples from the centre of g grids (size, size, size), whose points are counted through in memory
    order [g, z, y, x]. Points outside have kernel 0.
    """
    groups = len(positions)
    positions = positions.reshape(groups, -1, 3) + centre(size)
    nearest = positions.detach().round()
    first = torch.arange(groups, device=positions.device)[:, None] * size**3
    places, kernels = [], []
    for offset in range(-(_WIDTH // 2), _WIDTH // 2 + 1):
        place = nearest + offset
        inside = (place >= 0) & (place < size)
        kernels.append(torch.where(inside, _kernel(positions - place), 0.0))
        places.append(place.clamp(0, size - 1).to(torch.int64))
    for z in range(_WIDTH):
        for y in range(_WIDTH):
            row = first + (places[z][..., 2] * size + places[y][..., 1]) * size
            kernel = kernels[z][..., 2] * kernels[y][..., 1]
            for x in range(_WIDTH):
                yield (row + places[x][..., 0]).flatten(), (kernel * kernels[x][..., 0]).flatten()


def _gather(spectra: Tensor, positions: Tensor) -> Tensor:
    """Return centred spectra (g, c, M, M, M) at positions (g, ..., 3): complex values (g, c, ...)."""
    channels, size = spectra.shape[1], spectra.shape[-1]
    grid = torch.view_as_real(spectra.movedim(1, -1).contiguous()).reshape(-1, 2 * channels)
    values = torch.zeros(positions.numel() // 3, 2 * channels, device=grid.device, dtype=grid.dtype)
    for index, kernel in _neighbours(positions, size):
        values = values + kernel[:, None] * grid[index]
    values = torch.view_as_complex(values.reshape(*positions.shape[:-1], channels, 2))
    return values.movedim(-1, 1)


def _scatter(values: Tensor, positions: Tensor, size: int) -> Tensor:
    """Return grids (g, c, size, size, size) of complex values (g, c, ...) added at positions: adjoint of `_gather`."""
    groups, channels = values.shape[:2]
    parts = torch.view_as_real(values.movedim(1, -1).contiguous()).reshape(-1, 2 * channels)
    grid = torch.zeros(groups * size**3, 2 * channels, device=values.device, dtype=parts.dtype)
    for index, kernel in _neighbours(positions, size):
        grid = grid.index_add(0, index, kernel[:, None] * parts)
    return torch.view_as_complex(grid.view(groups, size, size, size, channels, 2)).movedim(-1, 1)


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


def overlap_filter(matrices: Rotations, box: int) -> Tensor:
    """Return the filter (..., t, N, N // 2 + 1) that gives every coefficient weight 1, however many slices meet there.

    One over the number of slices within one voxel of it in Fourier space (Harauz and van Heel, Optik 1986). For
    even tilt steps it is the ramp of weighted back-projection, but it holds for any set of tilts.

    Parameters
    ----------
    matrices
        Shape (..., t, 3, 3).
    box
        Side N of the images.
    """
    k = image_frequencies(box, device=matrices.device, dtype=matrices.dtype) * box
    # The depth, in the frame of tilt s, of the slice of tilt t: its distance from slice s in voxels of Fourier space.
    relative = torch.einsum("...sj,...tij->...sti", matrices[..., 2, :], matrices[..., :2, :])
    overlap = torch.zeros(*matrices.shape[:-2], box, box // 2 + 1, device=matrices.device, dtype=matrices.dtype)
    for row in relative.unbind(dim=-3):
        overlap = overlap + (1 - torch.einsum("yxi,...ti->...tyx", k, row).abs()).clamp(min=0)
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
    box = images.shape[-1]
    density = overlap_filter(matrices.to(images.dtype), box).expand(*images.shape[:2], box, box // 2 + 1)
    volumes, weights = _with_weights(filter_images(images, density), matrices, density, 1 / box)
    # What the closed form of the filter leaves over: near 1 wherever a slice passes, so the division is harmless.
    observed = weights >= OBSERVED_THRESHOLD
    spectra = torch.where(observed, to_fourier(volumes) / weights.clamp(min=OBSERVED_THRESHOLD), 0)
    return to_real(spectra, box), observed.to(images.dtype)
