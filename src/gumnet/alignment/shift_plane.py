"""All shifts of a low band at once, by small Fourier matrices.

Of the shifts that an inverse FFT gives, most lie beyond the largest that is wanted. Three products with matrices that
hold the wanted ones alone, an axis each, take less than half of its time and no room for frequencies beyond the band.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.alignment.band import Band
from gumnet.types import Vectors


@dataclass(frozen=True)
class ShiftPlane:
    """Where the coefficients of a band lie in a dense block of frequencies, and the waves of the allowed shifts.

    Parameters
    ----------
    side
        Frequencies -s ... s of the y and z axes, 2 s + 1 of them; those of the x axis are 0 ... s.
    places
        Place of each coefficient in the flat block, (M,).
    waves_x, waves_y
        ``exp(2 pi i k t)`` of the a shifts of an axis, (s + 1, a) and (2 s + 1, a).
    waves_z
        Its real part for numbers that are pairs of reals, (2 (2 s + 1), a).
    shifts
        The shifts, (a^3, 3), (x, y, z), in voxels.
    """

    side: int
    places: Tensor
    waves_x: Tensor
    waves_y: Tensor
    waves_z: Tensor
    shifts: Vectors

    @classmethod
    def of(cls, band: Band, max_shift: float, samples: float = 3.0) -> ShiftPlane:
        """Return the layout for shifts up to ``max_shift`` voxels along each axis.

        Parameters
        ----------
        samples
            Shifts in a period of the highest shell, on each axis, at least; above 2.
        """
        device, s = band.index.device, band.shells
        x, y, z = band.index.unbind(-1)
        side = 2 * s + 1
        step = band.box / max(side, math.ceil(samples * s))
        # Even about 0, and the largest allowed shift at each end where it is not on the grid.
        reach = min(math.floor(max_shift / step + 0.5), math.floor(band.box / 2 / step))
        axis = (torch.arange(-reach, reach + 1, device=device, dtype=torch.float32) * step).clamp(-max_shift, max_shift)
        angle = 2 * math.pi / band.box * torch.arange(-s, s + 1, device=device, dtype=torch.float32)[:, None] * axis
        waves = torch.polar(torch.ones_like(angle), angle)
        grid = torch.meshgrid(axis, axis, axis, indexing="ij")
        return cls(
            side,
            ((z + s) * side + y + s) * (s + 1) + x,
            waves[s:].contiguous(),
            waves,
            torch.stack([waves.real, -waves.imag], dim=1).flatten(0, 1),
            torch.stack(grid, dim=-1).reshape(-1, 3),
        )

    @property
    def values(self) -> int:
        """How many numbers a rotation takes at once: its coefficients in the block, or its shifts."""
        return max(self.side**2 * len(self.waves_x), len(self.shifts))

    def laid_out(self, values: Tensor) -> Tensor:
        """Return coefficients of the band (..., M), complex, in the flat block (..., (2 s + 1)^2 (s + 1))."""
        out = values.new_zeros(*values.shape[:-1], self.side**2 * len(self.waves_x))
        out[..., self.places] = values
        return out

    def correlations(self, products: Tensor) -> Tensor:
        """Return ``Re sum P exp(2 pi i k t)`` over the band at all shifts, (n, a^3), of laid-out P (n, ...)."""
        n, a = len(products), self.waves_x.shape[1]
        along_x = products.reshape(n * self.side**2, -1) @ self.waves_x
        along_y = along_x.reshape(n, self.side, self.side, a).transpose(2, 3).reshape(-1, self.side) @ self.waves_y
        last = along_y.reshape(n, self.side, a * a).transpose(1, 2).contiguous()
        return (torch.view_as_real(last).flatten(2).reshape(n * a * a, -1) @ self.waves_z).reshape(n, -1)
