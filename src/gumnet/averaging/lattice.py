"""Maps from spectra of many orientations, in a low band: the transpose of reading turned spectra.

`TurnedSpectra.read` gives the coefficients of a map turned by R by linear interpolation on a grid twice as fine. Here
spectra in R are put back with the same eight weights onto the same grid, with their precisions beside them, and their
quotient is the map. Trilinear weights smear a little (`gumnet.averaging.accumulate` does better); in the low shells of
a first map that does not matter, and thousands of orientations take a tenth of a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gumnet.alignment.band import Band
from gumnet.alignment.corners import turned_corners
from gumnet.alignment.spectrum import PADDING
from gumnet.geometry.warp import voxel_coordinates
from gumnet.types import Rotations, Volume, centre

_TINY = 1e-20


@dataclass(frozen=True)
class Lattice:
    """A centred grid ``PADDING`` times as fine as that of a box, out to one shell beyond those of a band.

    Parameters
    ----------
    band
        The coefficients that are put on it.
    """

    band: Band

    @cached_property
    def half(self) -> int:
        """Grid points on either side of the origin."""
        return PADDING * (self.band.shells + 1)

    @property
    def side(self) -> int:
        """Grid points along an axis, D."""
        return 2 * self.half + 1

    def zeros(self) -> Tensor:
        """Return empty sums, (D^3, 3): real part, imaginary part and precision, on the CPU."""
        return torch.zeros(self.side**3, 3)

    def add(self, sums: Tensor, rotations: Rotations, spectra: Tensor, precision: Tensor) -> None:
        """Add spectra of maps that were turned by R to sums, in place.

        On the CPU always: there the same numbers are added in the same order every time.

        Parameters
        ----------
        sums
            From `zeros`.
        rotations
            Shape (r, 3, 3).
        spectra
            Real and imaginary parts side by side, (r, 2 M), each times its precision.
        precision
            Shape (r, M).
        """
        count = precision.shape[1]
        points = self.band.frequencies.cpu() * (PADDING * self.band.box)
        # A(R^-1 k) was read there.
        for rows, corners in turned_corners(rotations.cpu().float(), points, self.side):
            part = spectra[rows].cpu()
            index = corners.index.flatten()
            # Column by column: torch adds numbers four times as fast as short rows of them.
            for column, each in enumerate((part[:, :count], part[:, count:], precision[rows].cpu())):
                sums[:, column].index_add_(0, index, (each.reshape(-1, 1) * corners.weights).flatten())

    def common_power(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the power of a coefficient that two sums of different particles have in common, (S + 1,).

        Noise averages out of the products of the two, so this is what they say of the structure at present: less than
        its power as long as orientations are unsure. 0 or more, for shells 0 ... S.
        """
        products = (first[:, :2] * second[:, :2]).sum(dim=1), first[:, 2] * second[:, 2]
        shell = self.shell.flatten().clamp(max=self.band.shells + 1)
        above, below = (torch.zeros(self.band.shells + 2).index_add_(0, shell, values) for values in products)
        return (above / below.clamp_min(_TINY)).clamp_min(0)[:-1]

    @cached_property
    def shell(self) -> Tensor:
        """Shell of each grid point, (D, D, D)."""
        axis = torch.arange(-self.half, self.half + 1, dtype=torch.float32) / PADDING
        return torch.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).round().long()

    def map(self, sums: Tensor, signal: Tensor) -> Volume:
        """Return the map (N, N, N) of sums: ``sum / (precision + 1 / signal)``, the Wiener estimate.

        Parameters
        ----------
        signal
            Expected power of a coefficient in shells 0 ... S, (S + 1,); shells beyond, and the mean, are 0.
        """
        box, side = self.band.box, self.side
        real, imaginary, precision = sums.T.reshape(3, side, side, side)
        # One of each Friedel pair was put there.
        spectrum = torch.complex(real + real.flip(0, 1, 2), imaginary - imaginary.flip(0, 1, 2))
        precision = precision + precision.flip(0, 1, 2)
        shell = self.shell
        inside = (shell >= 1) & (shell <= self.band.shells)
        # The precision of one coefficient is spread over PADDING^3 points.
        prior = 1 / (PADDING**3 * signal.cpu().clamp_min(_TINY))[shell.clamp(max=self.band.shells)]
        spectrum = torch.where(inside, spectrum / (precision + prior), 0)
        fine = PADDING * box
        points = torch.arange(-self.half, self.half + 1) % fine
        padded = spectrum.new_zeros(fine, fine, fine)
        padded[points[:, None, None], points[:, None], points] = spectrum
        volume = torch.fft.fftshift(torch.fft.ifftn(padded).real)
        start = centre(fine) - centre(box)
        inner = slice(start, start + box)
        # The trilinear weights multiplied the map by this function, as they do where spectra are read.
        window = torch.sinc(voxel_coordinates(box) / fine).square().prod(dim=-1)
        found: Volume = volume[inner, inner, inner] / window
        return found
