"""A tomogram that is known everywhere in closed form: `oracles.gaussians` at given places and orientations."""

from __future__ import annotations

import warnings
from pathlib import Path

import mrcfile
import numpy as np
import torch
from oracles.gaussians import AMPLITUDES, CENTRES
from torch import Tensor


def tomogram(
    shape: tuple[int, int, int], places: Tensor, rotations: Tensor, *, scale: float = 1.0, sigma: float = 1.6
) -> Tensor:
    """Return the density (nz, ny, nx) of particles at ``places`` (n, 3), x y z in voxels, turned by ``rotations``.

    ``scale`` enlarges the particles, for a tomogram of finer voxels.
    """
    z, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij")
    points = torch.stack([x, y, z], dim=-1)
    blobs = torch.tensor(CENTRES, dtype=torch.float64) * scale
    out = torch.zeros(shape, dtype=torch.float64)
    for place, rotation in zip(places, rotations, strict=True):
        for blob, amplitude in zip(blobs, AMPLITUDES, strict=True):
            distance = (points - (place + rotation @ blob)).square().sum(-1)
            out += amplitude * torch.exp(-distance / (2 * (scale * sigma) ** 2))
    return out


def write_tomogram(path: Path, values: Tensor, voxel_size_angstrom: float) -> Path:
    """Write a tomogram (nz, ny, nx) as float32 MRC and return its path."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of NaN, which some tests are about
        mrc = mrcfile.new(path, values.numpy().astype(np.float32))
    with mrc:
        mrc.voxel_size = voxel_size_angstrom
    return path
