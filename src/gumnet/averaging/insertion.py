"""Insertion of turned spectra into a padded grid: what sums of many particles are kept in.

Every coefficient of a particle, and its weight with it, is spread over the grid points about the frequency that its
pose turns it to. Coefficient and weight share one kernel, so that weights which change from coefficient to coefficient
(the edge of a wedge, a CTF) stay with the data that they belong to; nothing is interpolated between coefficients of a
particle, and nothing is cut in real space. This is the gridding of Jackson et al. (IEEE Trans. Med. Imaging 10, 473,
1991) as cryo-EM uses it, with the kernel of Barnett, Magland and af Klinteberg (SIAM J. Sci. Comput. 41, C479, 2019).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.geometry.fourier import embed, frequencies, friedel_multiplicity, shell_indices
from gumnet.types import Rotations, Spectra, Vectors, Volume, Weights, centre

PADDING = 2
"""Grid points per coefficient of the box, along every axis."""
WIDTH = 3
"""Width of the kernel in grid points: 27 points a coefficient. Two (trilinear) leave 5 % where particles are not
turned at all, since the points between then stay empty."""
_SHARPNESS = 6.7
"""Of the kernel: 2.3 a point of width, as Barnett et al. advise for twofold padding, less a little."""
_AT_ONCE = 2**15
"""Coefficients to spread at once, each to 27 points."""


def kernel(distance: Tensor) -> Tensor:
    """Return the kernel at distances in grid points, any shape: ``exp(b (sqrt(1 - (2 x / w)^2) - 1))``, 0 outside."""
    inside = (1 - (distance * (2 / WIDTH)).square()).clamp_min(0)
    return torch.exp(_SHARPNESS * (inside.sqrt() - 1)) * (inside > 0)


def kernel_transform(positions: Tensor) -> Tensor:
    """Return the Fourier transform of `kernel` at positions in cycles per grid point, any shape, in float64."""
    points = torch.linspace(-WIDTH / 2, WIDTH / 2, 2001, dtype=torch.float64, device=positions.device)
    waves = torch.cos(2 * math.pi * positions.double()[..., None] * points)
    return torch.trapezoid(kernel(points) * waves, points, dim=-1)


@dataclass(frozen=True)
class Samples:
    """The coefficients of a box that are inserted: those of one half of Fourier space, up to the last whole shell.

    Parameters
    ----------
    index
        Where they lie in the flattened half transform (N, N, N // 2 + 1), shape (m,).
    vectors
        Their frequencies (m, 3), (x, y, z), in cycles per voxel.
    share
        1, or 1/2 where the half transform holds a coefficient and its Friedel mate, shape (m,).
    """

    index: Tensor
    vectors: Tensor
    share: Tensor

    def take(self, values: Tensor) -> Tensor:
        """Return values (..., N, N, N // 2 + 1) at these coefficients, (..., m)."""
        return values.flatten(-3)[..., self.index]


@functools.lru_cache(maxsize=8)
def samples(box: int, device: torch.device, dtype: torch.dtype) -> Samples:
    """Return the coefficients of a box of ``box`` voxels.

    Those on the Nyquist planes of an even box are left out: they stand for two frequencies, which turn apart.
    """
    vectors = frequencies(box, device=device, dtype=dtype)
    below_nyquist = (vectors.abs() * box < box / 2 - 0.25).all(dim=-1) if box % 2 == 0 else True
    keep = (shell_indices(box, device=device) <= box // 2) & below_nyquist
    index = torch.nonzero(keep.flatten())[:, 0]
    share = friedel_multiplicity(box, device=device, dtype=dtype).expand(box, box, -1).flatten()[index] / 2
    return Samples(index, vectors.reshape(-1, 3)[index], share)


@dataclass(frozen=True)
class InsertionGrid:
    """A padded grid about the origin of Fourier space, 1 / (2 N) cycles per voxel apart, for the half with x of 0 on.

    Parameters
    ----------
    box
        Side N of the particles.
    """

    box: int

    @property
    def shells(self) -> int:
        """Highest shell that is inserted, the last whole one."""
        return self.box // 2

    @property
    def half(self) -> int:
        """Number of points from the origin to either end of an axis."""
        return PADDING * self.shells + WIDTH

    @property
    def shape(self) -> tuple[int, int, int]:
        """Points along z, y and x. Along x, one lies before the origin: the kernel reaches that far."""
        return (2 * self.half + 1, 2 * self.half + 1, self.half + 2)

    def zeros(self, device: torch.device | str, dtype: torch.dtype) -> Tensor:
        """Return empty sums (3, *shape): real part, imaginary part and weights."""
        return torch.zeros(3, *self.shape, device=device, dtype=dtype)

    def insert(
        self,
        sums: Tensor,
        spectra: Spectra,
        weights: Weights,
        rotations: Rotations,
        shifts: Vectors,
        scales: Tensor,
    ) -> None:
        """Add k particles to sums, in place.

        Parameters
        ----------
        sums
            From `zeros`.
        spectra, weights
            At the `samples` of this box, (k, m), complex and real. Weights may be (1, m) for all.
        rotations, shifts
            The poses (k, 3, 3) and (k, 3).
        scales
            What spectrum and weights of each particle are multiplied by, (k,).
        """
        coefficients = samples(self.box, sums.device, sums.dtype)
        weights = weights.expand(len(spectra), -1)
        count = max(1, _AT_ONCE // len(coefficients.index))
        for start in range(0, len(spectra), count):
            some = slice(start, start + count)
            r = rotations[some].to(sums)
            # exp(2 pi i k.t) takes the shift away; then the coefficient at k belongs to the reference's R^-1 k.
            phases = 2 * math.pi * torch.einsum("mc,kc->km", coefficients.vectors, shifts[some].to(sums))
            share = scales[some].to(sums)[:, None] * coefficients.share
            values = spectra[some] * torch.polar(share, phases)
            turned = torch.einsum("mj,kji->kmi", coefficients.vectors, r) * (PADDING * self.box)
            w = weights[some] * share
            mirrored = turned[..., 0] < 0
            turned = torch.where(mirrored[..., None], -turned, turned)
            imaginary = torch.where(mirrored, -values.imag, values.imag)
            self._spread(sums, torch.stack([values.real, imaginary, w]).flatten(1), turned.reshape(-1, 3))

    def read(self, values: Tensor, frequencies: Tensor) -> Tensor:
        """Return what a grid holds at frequencies, by the same kernel: the transpose of insertion.

        Parameters
        ----------
        values
            Complex, of `shape`.
        frequencies
            Shape (m, 3), (x, y, z), in cycles per voxel.

        Returns
        -------
        Tensor
            Complex, (m,); the values of negative x are the conjugates of their Friedel mates.
        """
        positions = frequencies * (PADDING * self.box)
        mirrored = positions[:, 0] < 0
        taps, index = self._points(torch.where(mirrored[:, None], -positions, positions))
        read = (values.flatten()[index] * taps).sum(dim=-1)
        return torch.where(mirrored, read.conj(), read)

    def _points(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the kernel and the indices (m, WIDTH^3) of the points about positions (m, 3), x of 0 or more."""
        first = torch.ceil(positions - WIDTH / 2)
        steps = torch.arange(WIDTH, device=positions.device)
        x, y, z = kernel(first[..., None] + steps - positions[..., None]).unbind(dim=1)
        taps = (z[:, :, None, None] * y[:, None, :, None] * x[:, None, None, :]).flatten(1)
        _, ny, nx = self.shape
        corner = first.long() + torch.tensor([1, self.half, self.half], device=positions.device)
        corner = (corner[:, 2] * ny + corner[:, 1]) * nx + corner[:, 0]
        around = ((steps[:, None, None] * ny + steps[:, None]) * nx + steps).flatten()
        return taps, corner[:, None] + around

    def _spread(self, sums: Tensor, values: Tensor, positions: Tensor) -> None:
        """Add values (3, m) at positions (m, 3), in grid points, x of 0 or more."""
        taps, index = self._points(positions)
        index = index.flatten()
        for total, value in zip(sums.flatten(1), values, strict=True):
            spread = (taps * value[:, None]).flatten()
            if sums.is_cuda:  # sorted there, so that the same sums come out every time
                total.index_put_((index,), spread, accumulate=True)
            else:
                total.scatter_add_(0, index, spread)

    def unfolded(self, volume: Volume) -> Tensor:
        """Return the padded spectrum of a volume (N, N, N), ready for `read`: complex, of `shape`."""
        size = PADDING * self.box
        axis = torch.arange(self.box, device=volume.device, dtype=volume.dtype) - centre(self.box)
        curve = kernel_transform(axis / size).to(volume)
        corrected = volume / (curve[:, None, None] * curve[:, None] * curve)
        spectrum = torch.fft.fftn(torch.fft.ifftshift(embed(corrected, size)))
        points = torch.arange(-self.half, self.half + 1, device=volume.device) % size
        along_x = torch.arange(-1, self.half + 1, device=volume.device) % size
        cut: Tensor = spectrum[points[:, None, None], points[:, None], along_x]
        return cut

    def folded(self, sums: Tensor) -> tuple[Spectra, Weights]:
        """Return sums as half transforms (P, P, P // 2 + 1) of the padded box, P = PADDING * N.

        What lies beyond the frequencies of that box is left out.
        """
        size = PADDING * self.box
        # Before the origin lies what belongs to Friedel mates; on the plane of the origin both count.
        whole = sums[..., 1:].clone()
        mates = sums[..., :2].flip(-3, -2, -1)  # x of 0 and 1
        mates = torch.stack([mates[0], -mates[1], mates[2]])
        whole[..., :2] += mates
        reach = min(self.half, size // 2)
        axis = torch.arange(-reach, min(reach, (size - 1) // 2) + 1, device=sums.device)
        kept = axis + self.half
        out = torch.zeros(3, size, size, size // 2 + 1, device=sums.device, dtype=sums.dtype)
        target = axis % size
        out[:, target[:, None], target[None, :], : reach + 1] = whole[:, kept[:, None], kept[None, :], : reach + 1]
        return torch.complex(out[0], out[1]), out[2]
