"""Resampling of volumes under rigid transformations, n volumes with n poses at once."""

from __future__ import annotations

import torch

from gumnet.geometry.fourier import resize
from gumnet.types import Rotations, Vectors, Volumes, centre


def voxel_coordinates(
    box: int, *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Return the coordinates (N, N, N, 3) of all voxels, in (x, y, z) order, in voxels from the centre."""
    axis = torch.arange(box, device=device, dtype=dtype) - centre(box)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack([x, y, z], dim=-1)


def warp(volumes: Volumes, rotations: Rotations, shifts: Vectors, *, oversampling: int = 1) -> Volumes:
    """Put particles on the reference: ``out(x) = volume(R x + t)``, trilinear, zeros outside the box.

    Differentiable in all three. Runs in the volumes' own precision with autocast off: bfloat16 coordinates silently
    lose signal.

    Parameters
    ----------
    volumes
        Shape (n, N, N, N), or n = 1 for one volume that all poses share. float32 or float64.
    rotations
        Shape (n, 3, 3).
    shifts
        Shape (n, 3), (x, y, z), in voxels.
    oversampling
        Volumes are enlarged this many times by Fourier padding before they are sampled. Linear interpolation damps
        a frequency f to sinc^2(f / oversampling) on each axis: half of Nyquist keeps 95 % at 2, and 81 % at 1.

    Returns
    -------
    Volumes
        Shape (n, N, N, N).
    """
    box = volumes.shape[-1]
    n = rotations.shape[0]
    dtype = volumes.dtype
    with torch.autocast(volumes.device.type, enabled=False):
        fine = volumes if oversampling == 1 else resize(volumes, box * oversampling)
        fine_box = fine.shape[-1]
        points = voxel_coordinates(box, device=volumes.device, dtype=dtype)
        sampled = torch.einsum("zyxc,ndc->nzyxd", points, rotations.to(dtype)) + shifts.to(dtype)[:, None, None, None]
        # Fourier enlargement keeps voxel N // 2 at (N * oversampling) // 2, so positions from the centre just scale.
        grid = (sampled * oversampling + centre(fine_box)) * (2 / (fine_box - 1)) - 1
        out = torch.nn.functional.grid_sample(
            fine[:, None].expand(n, -1, -1, -1, -1), grid, mode="bilinear", padding_mode="zeros", align_corners=True
        )
    return out[:, 0]
