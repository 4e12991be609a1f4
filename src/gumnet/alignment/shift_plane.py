"""All shifts of a low band at once, by a small inverse FFT."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.alignment.band import Band
from gumnet.geometry.fourier import fast_size
from gumnet.types import Vectors


@dataclass(frozen=True)
class ShiftPlane:
    """Where the coefficients of a band lie in a small half transform, and which of its shifts are allowed.

    Parameters
    ----------
    box
        Side b of the small box: just over two samples a period of the highest shell.
    source, target
        Coefficient of the band, and its place in the flat half transform, (P,): the plane kx = 0 is its own mirror
        image, and the inverse transform wants both of each pair there, so P is above M.
    conjugated
        Whether the place holds the conjugate of the coefficient, (P,).
    allowed
        Places of the allowed shifts among all b^3, (S,).
    shifts
        These shifts, (S, 3), (x, y, z), in voxels.
    """

    box: int
    source: Tensor
    target: Tensor
    conjugated: Tensor
    allowed: Tensor
    shifts: Vectors

    @classmethod
    def of(cls, band: Band, max_shift: float) -> ShiftPlane:
        """Return the layout for shifts up to ``max_shift`` voxels along each axis."""
        device = band.index.device
        box = fast_size(2 * band.shells + 2)
        x, y, z = band.index.unbind(-1)
        half = box // 2 + 1
        mates = torch.nonzero(x == 0)[:, 0]
        places = ((z % box) * box + y % box) * half + x
        mirrored = (((-z[mates]) % box) * box + (-y[mates]) % box) * half
        everything = torch.arange(len(x), device=device)
        conjugated = torch.cat([torch.zeros_like(everything), torch.ones_like(mates)]).bool()
        step = band.box / box
        axis = torch.fft.fftfreq(box, 1 / box, device=device) * step
        zs, ys, xs = torch.meshgrid(axis, axis, axis, indexing="ij")
        shifts = torch.stack([xs, ys, zs], dim=-1).reshape(-1, 3)
        allowed = torch.nonzero((shifts.abs() <= max_shift + step / 2).all(dim=-1))[:, 0]
        return cls(
            box,
            torch.cat([everything, mates]),
            torch.cat([places, mirrored]),
            conjugated,
            allowed,
            shifts[allowed].clamp(-max_shift, max_shift),
        )

    def laid_out(self, values: Tensor) -> Tensor:
        """Return coefficients of the band (..., M), complex, as flat half transforms (..., b b (b // 2 + 1))."""
        out = values.new_zeros(*values.shape[:-1], self.box * self.box * (self.box // 2 + 1))
        taken = values[..., self.source]
        out[..., self.target] = torch.where(self.conjugated, taken.conj(), taken)
        return out

    def correlations(self, products: Tensor) -> Tensor:
        """Return ``Re sum conj(P) exp(-2 pi i k t)`` over the band at the allowed shifts, (n, S), of laid-out P."""
        half = products.reshape(len(products), self.box, self.box, self.box // 2 + 1)
        everything = torch.fft.irfftn(half, s=(self.box,) * 3, dim=(-3, -2, -1), norm="forward")
        # The inverse transform counts both of each Friedel pair, the sum one.
        correlations: Tensor = everything.reshape(len(products), -1)[:, self.allowed] / 2
        return correlations
