"""The coefficients that a search uses, and how much each shell of them counts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from gumnet.averaging.mask import soft_sphere
from gumnet.geometry.fourier import shell_sums, to_fourier
from gumnet.types import Spectra, Volume, Volumes

MODEL_ERROR = 0.1
"""Power of what no rigid pose explains (interpolation, flexibility, envelope), as a share of the signal's power.

Without it the shells of clean data, where noise is all but absent, would be weighted by an arbitrarily small number.
"""
MAP_SIGNAL = 0.3
"""Share of a map's power that is signal at least, in every shell. Corners of a map hold the rim of its structure and
what its fine shells ring; taken for noise, that leaves out shells that tell a particle's pose best. Where a map of many
particles has nothing but noise, they have no power of that shape either. How much matters little (docs/design.md)."""
_NOTHING = 1e-6
"""Of its strongest shell's power: a shell of a map with less holds what interpolation and rounding leave."""
_TINY = 1e-30
_RIM = (0.38, 0.44)
"""Radii, in boxes, between which noise is read where the corners were emptied."""
_EMPTIED = 0.2
"""Corners with less than this share of the rim's density of power were emptied."""
_NOISE_RADIUS = 0.5
"""Beyond this radius, in boxes, a volume holds noise and neighbours but little of its particle."""


@dataclass(frozen=True, eq=False)
class Band:
    """The coefficients of the shells 1 ... ``shells``, one of each Friedel pair.

    Parameters
    ----------
    box
        Side N of the volumes.
    shells
        Highest shell, in units of 1 / N.
    index
        Integer frequencies (M, 3), in (x, y, z) order, kx 0 or more.
    shell
        Shell of each coefficient, (M,).
    """

    box: int
    shells: int
    index: Tensor
    shell: Tensor

    @classmethod
    @lru_cache(maxsize=32)
    def up_to(cls, box: int, shells: int, device: torch.device | str = "cpu") -> Band:
        """Return the band of shells 1 ... ``shells`` of a box of N voxels; the Nyquist frequency is left out."""
        shells = max(1, min(shells, (box - 1) // 2))
        axis = torch.arange(-shells, shells + 1, device=device)
        z, y, x = torch.meshgrid(axis, axis, axis[shells:], indexing="ij")
        shell = torch.round(torch.sqrt((x**2 + y**2 + z**2).to(torch.float64))).to(torch.int64)
        # The half kx >= 0 holds the plane kx = 0 whole: one of each pair in it is enough.
        one_of_pair = (x > 0) | (y > 0) | ((y == 0) & (z > 0))
        keep = one_of_pair & (shell <= shells)
        return cls(box, shells, torch.stack([x[keep], y[keep], z[keep]], dim=-1), shell[keep])

    @property
    def frequencies(self) -> Tensor:
        """Frequencies (M, 3), (x, y, z), in cycles per voxel, float32."""
        return self.index.to(torch.float32) / self.box

    def take(self, spectra: Tensor) -> Tensor:
        """Return the band (..., M) of half transforms (..., N, N, N // 2 + 1)."""
        x, y, z = self.index.unbind(-1)
        return spectra[..., z % self.box, y % self.box, x]

    def put(self, values: Tensor) -> Spectra:
        """Return half transforms (..., N, N, N // 2 + 1) with values (..., M) of the band, 0 beyond; undoes `take`."""
        box = self.box
        spectra = values.new_zeros(*values.shape[:-1], box, box, box // 2 + 1)
        x, y, z = self.index.unbind(-1)
        # The plane kx = 0 is whole in a half transform, so there a coefficient has its partner beside it.
        edge = x == 0
        spectra[..., -z[edge] % box, -y[edge] % box, 0] = values[..., edge].conj()
        spectra[..., z % box, y % box, x] = values
        return spectra


@dataclass(frozen=True)
class ShellPower:
    """Power per observed coefficient of n volumes in shells 0 ... N // 2, split in two.

    Parameters
    ----------
    signal, noise
        Shape (n, N // 2 + 1), 0 or more.
    """

    signal: Tensor
    noise: Tensor

    def concentrated(self, share: float) -> ShellPower:
        """Return the powers within a part of the box that holds all of the signal: it is denser there, noise is not.

        Parameters
        ----------
        share
            The part's share of the box, above 0, up to 1.
        """
        return ShellPower(self.signal / share, self.noise)

    def of_map(self) -> ShellPower:
        """Return the powers of a map that many particles share: at least `MAP_SIGNAL` of each shell is signal."""
        whole = self.signal + self.noise
        held = whole > _NOTHING * whole.amax(dim=-1, keepdim=True)
        signal = torch.where(held, torch.maximum(self.signal, MAP_SIGNAL * whole), self.signal)
        return ShellPower(signal, whole - signal)

    def divided(self, signal: Tensor) -> ShellPower:
        """Return the same power, of which a share (N // 2 + 1,) of each shell is signal, 0 to 1."""
        whole = self.signal + self.noise
        return ShellPower(whole * signal.to(whole), whole * (1 - signal.to(whole)))


def shell_power(volumes: Volumes, transfer: Tensor | None) -> ShellPower:
    """Return signal and noise power of each shell of volumes (n, N, N, N), read off the volumes themselves.

    The corners of a box, beyond the sphere that fits in it, hold noise alone; what the whole box has more than that
    density of power is signal. Neighbours in the corners count as noise, rightly. Where the corners were emptied, as
    programs do that cut particles out as spheres, the noise is read from the rim of that sphere instead.

    Parameters
    ----------
    volumes
        Volumes whose noise is the same wherever they were observed.
    transfer
        What acts on their signal, (n or 1, N, N, N // 2 + 1), or None where everything was observed.
    """
    box = volumes.shape[-1]
    outside = 1 - soft_sphere(box, _NOISE_RADIUS * box - 1, 2.0, device=volumes.device, dtype=volumes.dtype)
    share = (outside**2).mean()
    observed = torch.ones(1, box, box, box // 2 + 1, device=volumes.device) if transfer is None else (transfer > 0)
    count = shell_sums(observed.to(volumes.dtype), box).clamp_min(1.0)

    def power(v: Volumes) -> Tensor:
        spectra: Spectra = to_fourier(v)
        return shell_sums(spectra.abs() ** 2 * observed, box) / count

    whole = power(volumes)

    def ball(radius: float, edge: float) -> Volume:
        return soft_sphere(box, radius, edge, device=volumes.device, dtype=volumes.dtype)

    rim = ball(_RIM[1] * box, 1.0) - ball(_RIM[0] * box, 1.0)
    rim_share = (rim**2).mean()
    at_corners, at_rim = ((volumes * part).square().mean(dim=(1, 2, 3)) for part in (outside, rim))
    emptied = (at_corners / share < _EMPTIED * at_rim / rim_share)[:, None]
    noise = power(volumes * outside) / share
    if bool(emptied.any()):
        # The emptied box holds that density within the sphere alone.
        filled = ball(_NOISE_RADIUS * box - 1, 2.0).square().mean()
        noise = torch.where(emptied, power(volumes * rim) / rim_share, noise)
        signal = whole - torch.where(emptied, filled * noise, noise)
        return ShellPower(signal.clamp_min(0.0), torch.where(emptied, noise, torch.minimum(noise, whole)))
    noise = torch.minimum(noise, whole)
    return ShellPower(whole - noise, noise)


def pooled(a: ShellPower, b: ShellPower) -> tuple[ShellPower, ShellPower]:
    """Return the powers of two sets of volumes with one shape of the signal's spectrum, since the signal is the same.

    The shape is the mean of both, each weighted by the square of its share of signal: a reference that is nearly free
    of noise sets it alone, two equally noisy volumes halve its error.
    """
    share_a, share_b = (p.signal.sum(-1) / (p.signal + p.noise).sum(-1).clamp_min(_TINY) for p in (a, b))
    trust_a, trust_b = (share[..., None] ** 2 + _TINY for share in (share_a, share_b))
    total_a, total_b = (p.signal.sum(-1, keepdim=True).clamp_min(_TINY) for p in (a, b))
    shape = (trust_a * a.signal / total_a + trust_b * b.signal / total_b) / (trust_a + trust_b)

    def divided(power: ShellPower, total: Tensor) -> ShellPower:
        whole = power.signal + power.noise
        return ShellPower(total * shape, (whole - total * shape).clamp_min(0.0))

    return divided(a, total_a), divided(b, total_b)


def shell_weights(a: ShellPower, b: ShellPower) -> Tensor:
    """Return the weight (n, N // 2 + 1) of each shell in the score of volumes a against volumes b.

    For ``A = S + noise`` of power N_a and ``B = S + noise`` of power N_b, the log likelihood ratio of "the same signal"
    weights ``Re A conj(B)`` by ``S / (N_a N_b + S (N_a + N_b))``: S / (N (N + 2 S)) for equal noise, and the matched
    filter 1 / N_b for a noise-free reference. Where A and B differ in scale, ``S_a`` and ``S_b`` take its place.
    """
    noise_a = a.noise + MODEL_ERROR * a.signal
    noise_b = b.noise + MODEL_ERROR * b.signal
    below = noise_a * noise_b + noise_a * b.signal + noise_b * a.signal
    return torch.sqrt(a.signal * b.signal) / below.clamp_min(_TINY)
