"""Fourier weights of RELION's subtomograms (rlnCtfImage), brought into the form of `gumnet.types`.

Three layouts are known: the full cube (N, N, N) with frequency 0 at N // 2; the half (N, N, N // 2 + 1) as FFTW and
`torch.fft.rfftn` have it; and RELION 4's (2N, N, N // 2 + 1), the sum of CTF^2 and then the multiplicity.

Where the data were not multiplied by the CTF (RELION 3), they are ``C signal + noise`` with a CTF that may be negative.
Multiplied by C on reading, they are ``C^2 signal + C noise``: weights C^2, and a noise variance proportional to them.
Where they were, the data have that form already and stay. Their file holds the CTF for RELION 3.1, which squares it and
so does this reader, and the sum of CTF^2 only for RELION 4 and 5, whose file has two parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.geometry.fourier import to_fourier, to_real
from gumnet.io.check import finite
from gumnet.io.mrc import Entry, MrcSource, existing_particle, read_block
from gumnet.io.mrc_header import read_header
from gumnet.types import Volumes, Weights

_CURE = "give weights that were made for these particles, or leave it out with --skip-bad"
_ROUNDING = 1e-3
"""Sums of squares may be this much below zero, relative to the largest: float16 and interpolation do that."""


@dataclass(frozen=True)
class CtfSource:
    """Fourier weights (N, N, N // 2 + 1) from 3D CTF files, read when asked for.

    Parameters
    ----------
    entries
        Where the CTF of each particle is.
    box
        N, the box of the particles.
    premultiplied
        For each particle, whether its data were multiplied by the CTF already.
    """

    entries: tuple[Entry, ...]
    box: int
    premultiplied: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, indices: Sequence[int]) -> Weights:
        """Return the weights (k, N, N, N // 2 + 1) at ``indices``, float32, 0 or more."""
        weights = torch.empty(len(indices), self.box, self.box, self.box // 2 + 1)
        for out, index in zip(weights, indices, strict=True):
            ctf, is_sum = self.read_ctf(index)
            out.copy_(self._checked_sum(ctf, index) if is_sum else ctf.square())
        return weights

    def read_ctf(self, index: int) -> tuple[Tensor, bool]:
        """Return what the file of a particle holds, (N, N, N // 2 + 1), and whether it is the sum of CTF^2."""
        path, number = self.entries[index]
        name = f"particle {index + 1}"
        block = read_block(read_header(existing_particle(path, name)), number)
        values = torch.from_numpy(finite(block, path, f"rlnCtfImage of {name}"))
        box, half = self.box, self.box // 2 + 1
        if tuple(values.shape) == (box, box, half):
            found, is_sum = values, False
        elif tuple(values.shape) == (2 * box, box, half):
            found, is_sum = values[:box], True
        elif tuple(values.shape) == (box, box, box):
            found, is_sum = half_from_centred(values), False
        else:
            shape = " x ".join(str(n) for n in reversed(values.shape))
            raise InputError(
                f"rlnCtfImage of {name} is {shape}, but a box of {box} has {box} x {box} x {box}, "
                f"or {half} x {box} x {box} for the half that is not redundant",
                cure=_CURE,
                path=path,
            )
        if not bool(found.any()):
            raise InputError(f"rlnCtfImage of {name} is zero everywhere", cure=_CURE, path=path)
        return found, is_sum

    def _checked_sum(self, values: Tensor, index: int) -> Tensor:
        if float(values.min()) < -_ROUNDING * float(values.max()):
            raise InputError(
                f"rlnCtfImage of particle {index + 1} is negative, but is to be a sum of CTF^2",
                cure=_CURE,
                path=self.entries[index][0],
            )
        return values.clamp(min=0.0)


@dataclass(frozen=True)
class CtfMultiplied:
    """Volumes multiplied by their CTF when they are read, unless they were before."""

    volumes: MrcSource
    ctf: CtfSource

    @property
    def box(self) -> int:
        """Side of the cubic box in voxels."""
        return self.volumes.box

    def __len__(self) -> int:
        return len(self.volumes)

    def read(self, indices: Sequence[int]) -> Volumes:
        """Return the volumes (k, N, N, N) at ``indices``, float32."""
        volumes = self.volumes.read(indices)
        for volume, index in zip(volumes, indices, strict=True):
            if self.ctf.premultiplied[index]:
                continue  # the file is not needed here, and every read of it costs
            ctf, is_sum = self.ctf.read_ctf(index)
            if not is_sum and not bool((ctf == 1).all()):
                volume.copy_(to_real(to_fourier(volume) * ctf, self.box))
        return volumes


def half_from_centred(full: Tensor) -> Tensor:
    """Return the half (N, N, N // 2 + 1) of even weights on the full cube (N, N, N) with frequency 0 at N // 2.

    Frequency k is read at N // 2 - k, as RELION does: the cube of an even N has -N / 2 but not N / 2.
    """
    box = full.shape[0]
    centre = box // 2
    index = (centre - torch.arange(box)) % box
    columns = centre - torch.arange(centre + 1)
    return full[index[:, None, None], index[None, :, None], columns[None, None, :]]
