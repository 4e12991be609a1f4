"""Spectra that can be read off at turned frequencies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.alignment.band import Band
from gumnet.alignment.corners import Corners
from gumnet.geometry.fourier import fast_size, resize
from gumnet.geometry.warp import voxel_coordinates
from gumnet.geometry.wedge import full_from_half
from gumnet.types import Rotations, Volumes, Weights

PADDING = 2
"""Volumes are padded with zeros this many times before their spectra are interpolated."""
_GUARD_SHELLS = 8
"""How many samples a box that holds a low band has beyond two a shell: what rings past its edges is small then."""
_OBSERVED_FLOOR = 1e-5
"""Weights below this share of the largest count as not observed. A guard against rounding only: the weights of a few
tilts with CTF and dose fall to a thousandth of their largest value and still carry signal."""


def transfer_of(weights: Weights | None) -> Weights | None:
    """Return what acts on the signal once the noise is white, ``sqrt(weights)``, same shape; tiny weights become 0."""
    if weights is None:
        return None
    largest = weights.amax(dim=(-3, -2, -1), keepdim=True)
    return torch.where(weights > _OBSERVED_FLOOR * largest, weights, 0.0).sqrt()


@dataclass(frozen=True)
class TurnedSpectra:
    """Spectra of n volumes on a fine, centred grid, ready to be read at any frequency within a band.

    Parameters
    ----------
    box
        Side N of the volumes.
    fine
        Real and imaginary parts, shape (n, 2, D, D, D) or, with those of the derivative by rotation after them,
        (n, 8, D, D, D).
    transfer
        Square root of the Fourier weights on the full grid (n, 1, M, M, M), or None where everything was observed.
    """

    box: int
    fine: Tensor
    transfer: Tensor | None

    @classmethod
    def of(cls, volumes: Volumes, transfer: Weights | None, shells: int, *, gradient: bool = False) -> TurnedSpectra:
        """Return the spectra of volumes (n, N, N, N) for frequencies up to shell ``shells``.

        Parameters
        ----------
        transfer
            Shape (1 or n, N, N, N // 2 + 1), or None.
        gradient
            Whether the derivative of the spectra by a rotation about x, y and z is wanted too, see `_by_rotation`.
        """
        box = volumes.shape[-1]
        full = None if transfer is None else full_from_half(transfer)[:, None].expand(len(volumes), -1, -1, -1, -1)
        # A low band of a large box is the whole of a smaller box, which costs less to pad and transform.
        small = min(box, fast_size(2 * shells + _GUARD_SHELLS))
        volumes = resize(volumes, small) * (box / small) ** 3 if small < box else volumes
        points = voxel_coordinates(small, device=volumes.device, dtype=volumes.dtype)
        # Trilinear reading of the fine spectrum multiplies the volume by this function; divided out here.
        corrected = volumes / torch.sinc(points / (PADDING * small)).square().prod(dim=-1)
        # Its products are those of a Fourier transform: bfloat16 would ruin them.
        with torch.autocast(volumes.device.type, enabled=False):
            if gradient and volumes.device.type == "cpu" and not volumes.requires_grad:
                return cls(box, _rows_of(corrected, shells), full)
            spectra = _spectra(corrected, shells, gradient)
        return cls(box, _whole(spectra), full)

    def __getitem__(self, rows: slice | Tensor) -> TurnedSpectra:
        return TurnedSpectra(self.box, self.fine[rows], None if self.transfer is None else self.transfer[rows])

    def of_rows(self, rows: slice | Tensor) -> TurnedSpectra:
        """Return the spectra for some particles: one that all share stays as it is."""
        return self if len(self.fine) == 1 else self[rows]

    @property
    def plain(self) -> TurnedSpectra:
        """The spectra without their derivatives, which take most of the time of a read."""
        return TurnedSpectra(self.box, self.fine[:, :2], self.transfer)

    def read(self, rotations: Rotations, band: Band) -> tuple[Tensor, Tensor | None]:
        """Return the spectra of the volumes turned by R at the frequencies of a band, and their transfer.

        A volume turned by R is ``A(R^-1 x)``, its spectrum ``A(R^-1 k)``.

        Parameters
        ----------
        rotations
            Shape (n, r, 3, 3): r rotations of each volume.

        Returns
        -------
        tuple
            Real and imaginary parts (n, c, r, M), c = 2, or 8 with those of the derivatives by rotation after them; and
            (n, r, M) or None.
        """
        # q = R^T k
        q = torch.einsum("mj,nrji->nrmi", band.frequencies.to(rotations), rotations)
        half = self.fine.shape[-1] // 2
        inmost = self.fine.permute(0, 2, 3, 4, 1)
        if inmost.is_contiguous() and self.fine.shape[1] > 2 and not self.fine.requires_grad:
            # Several channels that lie side by side are read as rows, two to three times as fast.
            values = _rows(inmost, q * (PADDING * self.box))
        else:
            values = _sample(self.fine, q * (PADDING * self.box / half))
        if self.transfer is None:
            return values, None
        return values, _sample(self.transfer, q * (self.box / (self.transfer.shape[-1] // 2)))[:, 0]


def as_complex(values: Tensor) -> Tensor:
    """Return the spectra (n, r, M), complex, of what `TurnedSpectra.read` gives, (n, c, r, M)."""
    return torch.complex(values[:, 0], values[:, 1])


def _by_rotation(moments: Tensor, box: int) -> Tensor:
    """Return the derivatives of fine spectra by a rotation about x, y and z, (n, 3, 2, D, D, H), as `_fine` gives them.

    Turning the reference by a small rotation vector v before R moves ``q = R^-1 k`` by ``q x v``, so the derivative of
    ``A(q)`` by v is ``grad A x q``; and ``grad A`` is ``-2 pi i`` times the spectrum of ``x A``. Both live on the
    grid, so the product is formed there, once, and interpolated like the spectrum itself.

    Parameters
    ----------
    moments
        Fine spectra of ``x A``, ``y A`` and ``z A``, (n, 3, 2, D, D, H).
    """
    half = moments.shape[-1] - 1
    axis = torch.arange(-half, half + 1, device=moments.device, dtype=moments.dtype) * (2 * math.pi / (PADDING * box))
    z, y, x = axis[:, None, None], axis[:, None], axis[half:]
    mx, my, mz = moments.unbind(1)
    turned = torch.stack([my * z - mz * y, mz * x - mx * z, mx * y - my * x], dim=1)
    # Times -i.
    return torch.stack([turned[:, :, 1], -turned[:, :, 0]], dim=2)


def _sample(grid: Tensor, positions: Tensor) -> Tensor:
    """Return (n, c, r, M) of grids (n, c, D, D, D) at positions (n, r, M, 3), -1 and 1 the outermost points."""
    sampled = torch.nn.functional.grid_sample(
        grid, positions[:, None], mode="bilinear", padding_mode="zeros", align_corners=True
    )
    return sampled[:, :, 0]


def _fine(volumes: Volumes, shells: int, moments: bool) -> Tensor:
    """Return half of the centred spectra of volumes padded to PADDING boxes, cut to what ``shells`` need.

    By products with the waves of the wanted frequencies, an axis each: an FFT of the padded box transforms zeros,
    gives frequencies that are not wanted, and in an order that is not. The moments share the axes that they have alike.

    Parameters
    ----------
    moments
        Whether the spectra of x, y and z times the volumes are wanted too.

    Returns
    -------
    Tensor
        Real and imaginary parts, (n, 1 or 4, 2, D, D, H), at kx of 0 or more, H of them.
    """
    box = volumes.shape[-1]
    # One point beyond the highest frequency, so that every read lies between two points.
    half = min(PADDING * (shells + 1), PADDING * box // 2)
    points = torch.arange(box, device=volumes.device) - box // 2
    turns = torch.outer(torch.arange(-half, half + 1, device=volumes.device), points) % (PADDING * box)
    angle = (turns * (2 * math.pi / (PADDING * box))).to(volumes.dtype)
    waves = torch.stack([angle.cos(), -angle.sin()])
    powers = [waves, waves * points] if moments else [waves]

    n, d, h = len(volumes), 2 * half + 1, half + 1

    # A number and its waves multiply as matrices of their real and imaginary parts.
    def along_x(waves: Tensor) -> Tensor:
        """Return (n, z, 2, y, H) of the volumes."""
        found = volumes @ waves[:, half:].flatten(0, 1).mT
        return found.reshape(n, box, box, 2, h).transpose(2, 3).contiguous()

    def along_y(values: Tensor, waves: Tensor) -> Tensor:
        """Return (n, z, 2, D, H) of (n, z, 2, y, H)."""
        cosine, sine = waves
        matrix = torch.cat([torch.cat([cosine, -sine], dim=1), torch.cat([sine, cosine], dim=1)])
        return (matrix @ values.reshape(n, box, 2 * box, h)).reshape(n, box, 2, d, h)

    def along_z(values: Tensor, waves: Tensor) -> Tensor:
        """Return (n, 2, D, D, H) of (n, z, 2, D, H), whose parts lie inmost of z."""
        cosine, sine = waves
        matrix = torch.stack([torch.stack([cosine, -sine], dim=-1), torch.stack([sine, cosine], dim=-1)])
        return (matrix.reshape(2 * d, 2 * box) @ values.reshape(n, 2 * box, d * h)).reshape(n, 2, d, d, h)

    plain_x = along_x(powers[0])
    plain = along_y(plain_x, powers[0])
    fields = [along_z(plain, powers[0])]
    if moments:
        fields.append(along_z(along_y(along_x(powers[1]), powers[0]), powers[0]))
        fields.append(along_z(along_y(plain_x, powers[1]), powers[0]))
        fields.append(along_z(plain, powers[1]))
    return torch.stack(fields, dim=1)


def _spectra(volumes: Volumes, shells: int, gradient: bool) -> Tensor:
    """Return half of the centred spectra (n, 2 or 8, D, D, H), with those of the derivative by rotation if wanted."""
    spectra = _fine(volumes, shells, gradient)
    if gradient:
        spectra = torch.cat([spectra[:, :1], _by_rotation(spectra[:, 1:], volumes.shape[-1])], dim=1)
    return spectra.flatten(1, 2)


def _whole(halves: Tensor) -> Tensor:
    """Return whole spectra (n, c, D, D, D), c real and imaginary parts in turn, of those at kx of 0 or more."""
    return torch.cat([_mirrored(halves), halves], dim=-1)


def _mirrored(halves: Tensor) -> Tensor:
    """Return the other half of spectra, at kx below 0, which are those of real volumes."""
    mirrored = halves[..., 1:].flip(-3, -2, -1)
    mirrored[:, 1::2] *= -1
    return mirrored


def _rows_of(volumes: Volumes, shells: int) -> Tensor:
    """Return whole spectra with their derivatives, (n, 8, D, D, D), those of a point side by side in memory.

    One volume at a time: what is made on the way then stays in the cache of a CPU: 11 ms each in place of 20
    (16 volumes of 32 voxels, one thread, by hand, 2026-11-28).
    """
    first = _spectra(volumes[:1], shells, gradient=True)
    c, d = first.shape[1:3]
    whole = first.new_empty(len(volumes), d, d, d, c).permute(0, 4, 1, 2, 3)
    for i in range(len(volumes)):
        halves = first if i == 0 else _spectra(volumes[i : i + 1], shells, gradient=True)
        whole[i : i + 1, ..., : d // 2], whole[i : i + 1, ..., d // 2 :] = _mirrored(halves), halves
    return whole


def _rows(grids: Tensor, positions: Tensor) -> Tensor:
    """Return (n, c, r, M) of grids (n, D, D, D, c) at positions (n, r, M, 3) in steps from their centres."""
    side, (n, r, m) = grids.shape[1], positions.shape[:3]
    points = positions.reshape(n, r * m, 3) + side // 2
    found = [Corners.of(own.mT, side).read(grid.flatten(0, 2)) for grid, own in zip(grids, points, strict=True)]
    return torch.stack([values.mT.reshape(-1, r, m) for values in found])
