"""Spectra on spherical shells in Fourier space, and their coefficients in spherical harmonics."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.alignment.spectrum import PADDING, TurnedSpectra, transfer_of
from gumnet.geometry.fourier import to_fourier, to_real
from gumnet.geometry.spherical_harmonics import spherical_transform
from gumnet.geometry.wedge import full_from_half
from gumnet.types import Vectors, Volumes, Weights

BANDWIDTH = 36
"""Spherical harmonics of degree below this are used, on a grid of 5 degrees: the number of H-T align's authors.

A particle of radius p voxels has degrees up to about 2 pi p k at k cycles per voxel: at 32^3 the 36 degrees hold the
whole of a particle of radius 12 up to Nyquist, where the envelope of the microscope has left little in any case.
"""


@dataclass(frozen=True)
class Masked:
    """Volumes of mean 0 with their masks in Fourier space, on which both methods build.

    Parameters
    ----------
    volumes
        Shape (n, N, N, N), 0 in Fourier space where nothing was observed.
    mask
        Shape (1 or n, N, N, N // 2 + 1), from 0 to 1; 1 everywhere where all was observed.
    """

    volumes: Volumes
    mask: Weights

    @classmethod
    def of(cls, volumes: Volumes, weights: Weights | None) -> Masked:
        """Return volumes (n, N, N, N) with the root of their weights, scaled to 1, as mask.

        For a missing wedge that is the wedge itself. Other weights, such as CTF^2, make a soft mask, and the volumes
        are divided by it so that their noise is the same wherever they were observed.
        """
        box = volumes.shape[-1]
        volumes = volumes - volumes.mean(dim=(-3, -2, -1), keepdim=True)
        transfer = transfer_of(weights)
        if transfer is None:
            return cls(volumes, volumes.new_ones(1, box, box, box // 2 + 1))
        mask = transfer / transfer.amax(dim=(-3, -2, -1), keepdim=True)
        spectra = torch.where(mask > 0, to_fourier(volumes) / mask.clamp_min(1e-6), 0)
        return cls(to_real(spectra, box), mask)


@dataclass(frozen=True)
class Shells:
    """Spectra of n volumes on r shells of t rings of p samples.

    The edge of a mask is as soft as its interpolation makes it: to leave out all samples beside it would spare clean
    volumes what leaks across, but cost noisy ones their lowest shells, where much is beside an edge.

    Parameters
    ----------
    values, mask
        Complex (n, r, t, p), and real (n, r, t, p) from 0 to 1.
    frequencies
        Where, (r, t, p, 3), (x, y, z), in cycles per voxel.
    """

    values: Tensor
    mask: Tensor
    frequencies: Tensor

    @classmethod
    def of(cls, masked: Masked, shells: int) -> Shells:
        """Return the spectra on shells 1 ... ``shells``, in units of 1 / N."""
        volumes = masked.volumes
        box, device = volumes.shape[-1], volumes.device
        directions = spherical_transform(BANDWIDTH, device).directions
        radius = torch.arange(1, shells + 1, device=device) / box
        frequencies = radius[:, None, None, None] * directions
        parts = _sample(TurnedSpectra.of(volumes, None, shells).fine, frequencies, PADDING * box)
        mask = _sample(full_from_half(masked.mask)[:, None], frequencies, box)[:, 0]
        return cls(torch.complex(parts[:, 0], parts[:, 1]), mask, frequencies)

    @property
    def volume(self) -> Tensor:
        """Volume (r,) that each shell stands for, up to a factor."""
        return torch.arange(1, self.values.shape[1] + 1, device=self.values.device).to(self.mask) ** 2

    def moved(self, shifts: Vectors) -> Tensor:
        """Return the spectra (n, r, t, p) of the volumes shifted by (n, 3) voxels; one volume serves all shifts."""
        angle = -2 * math.pi * torch.einsum("rtpc,nc->nrtp", self.frequencies, shifts.to(self.frequencies))
        return self.values * torch.polar(torch.ones_like(angle), angle)


def harmonics(values: Tensor) -> Tensor:
    """Return coefficients (..., r, L, L) for l, m >= 0 of real values (..., r, t, p) on shells."""
    return spherical_transform(BANDWIDTH, values.device).forward(values)


def _sample(grid: Tensor, frequencies: Tensor, box: int) -> Tensor:
    """Return (n, c, r, t, p) of centred grids (n, c, D, D, D), in steps of 1 / ``box``, at (r, t, p, 3)."""
    positions = frequencies * (box / (grid.shape[-1] // 2))
    return torch.nn.functional.grid_sample(
        grid,
        positions.expand(len(grid), -1, -1, -1, -1),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=True,
    )
