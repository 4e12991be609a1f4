"""Scores of all pairs at the poses that the particles have, by matrix products.

All particles are put on the reference, masked there, and cut to a band: spectra F of white noise with the transfer c of
each (see `gumnet.alignment.score`). With one weight g a shell, that of the whole set, the score of a pair

    sum g Re(F_i conj(F_j)) c_i c_j / sqrt(sum g |F_i|^2 c_j^2  sum g |F_j|^2 c_i^2)

is made of three products of matrices with a row a particle. It differs from the score of a search in two ways: the mask
is on both particles, and shell weights are those of the set in place of those of the pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.alignment.aligner import AlignerOptions
from gumnet.alignment.band import Band, ShellPower, shell_power, shell_weights
from gumnet.alignment.score import TINY, default_mask, whiten
from gumnet.alignment.spectrum import transfer_of
from gumnet.alignment.to_particle import observed
from gumnet.averaging.accumulate import default_batch_size
from gumnet.geometry.fourier import to_fourier
from gumnet.geometry.warp import warp
from gumnet.geometry.wedge import rotate_weights
from gumnet.particles import Particles
from gumnet.progress import Progress, progress
from gumnet.types import Volume, Volumes, Weights

_BYTES_A_COEFFICIENT = 32
"""Of a particle: its spectrum, power and transfer, those of the other side of a pair, and copies on the way."""
_DEFAULT_GIGABYTES = 2.0


@dataclass(frozen=True)
class OnReference:
    """Particles on the reference within a band, all (n, M) and real.

    Parameters
    ----------
    signal
        ``sqrt(g) F c``, real parts and then imaginary parts, (n, 2 M).
    power
        ``g |F|^2``.
    transfer_power
        ``c^2``, or None where everything was observed.
    """

    signal: Tensor
    power: Tensor
    transfer_power: Tensor | None

    def scores(self, others: OnReference) -> Tensor:
        """Return the scores (n, m) with other particles."""
        numerator = self.signal @ others.signal.mT
        if self.transfer_power is None or others.transfer_power is None:
            below = self.power.sum(dim=1)[:, None] * others.power.sum(dim=1)
        else:
            below = (self.power @ others.transfer_power.mT) * (self.transfer_power @ others.power.mT)
        return numerator / below.clamp_min(TINY).sqrt()


@dataclass(frozen=True)
class PosedScores:
    """Scores of pairs at the particles' own poses; see `gumnet.clustering.blocks.PairScores`.

    Parameters
    ----------
    particles
        The n particles.
    device
        Where to compute.
    band
        The coefficients that count.
    weights
        Of the shells, (N // 2 + 1,), one set for all pairs.
    mask
        Soft mask on the reference, (N, N, N).
    tile
        How many particles are held on each side at a time.
    """

    particles: Particles
    device: torch.device
    band: Band
    weights: Tensor
    mask: Volume
    tile: int

    @classmethod
    def of(
        cls,
        particles: Particles,
        options: AlignerOptions,
        device: torch.device,
        *,
        memory_gigabytes: float | None = None,
        tile: int | None = None,
    ) -> PosedScores:
        """Return the scores that the options ask for, not computed yet; reads all particles for the shell weights.

        Parameters
        ----------
        memory_gigabytes
            What the tiles may take; 2 unless given.
        tile
            Particles on each side at a time; by the memory unless given.
        """
        box = particles.box
        band = Band.up_to(box, options.max_shell(box), device)
        mask = default_mask(box, device) if options.mask is None else options.mask.to(device)
        weights = _set_weights(particles, device, float(mask.square().mean()))
        weights[: options.min_shell(box)] = 0
        if tile is None:
            gigabytes = _DEFAULT_GIGABYTES if memory_gigabytes is None else memory_gigabytes
            tile = max(1, int(gigabytes * 1e9 / (_BYTES_A_COEFFICIENT * len(band.shell))))
        return cls(particles, device, band, weights, mask, min(tile, len(particles)))

    @property
    def block(self) -> int:
        """How many pairs a block has, or more: those of one tile of first particles, so that it is made once."""
        return self.tile * len(self)

    def __len__(self) -> int:
        return len(self.particles)

    @torch.no_grad()
    def rows(self, first: int, last: int, display: Progress) -> Tensor:
        """Return the scores of all pairs (i, j), first <= i < last and i < j, condensed."""
        n = len(self)
        scores = torch.empty(last - first, n)
        for start in range(first, last, self.tile):
            rows = range(start, min(start + self.tile, last))
            own = self.on_reference(list(rows))
            for others in _batches(range(start, n), self.tile):
                there = own if others == list(rows) else self.on_reference(others)
                scores[start - first : rows.stop - first, others[0] : others[-1] + 1] = own.scores(there).cpu()
            display.advance(sum(n - 1 - i for i in rows))
        return torch.cat([scores[i - first, i + 1 :] for i in range(first, last)])

    def on_reference(self, rows: list[int]) -> OnReference:
        """Return some particles on the reference."""
        size = default_batch_size(self.particles.box, self.device)
        parts = [self._spectra(batch) for batch in _batches(rows, size)]
        spectra = torch.cat([part[0] for part in parts])
        g = self.weights[self.band.shell]
        power = g * (spectra.real**2 + spectra.imag**2)
        if parts[0][1] is None:
            signal = g.sqrt() * spectra
            return OnReference(torch.cat([signal.real, signal.imag], dim=1), power, None)
        transfer = torch.cat([part[1] for part in parts if part[1] is not None])
        signal = g.sqrt() * transfer * spectra
        return OnReference(torch.cat([signal.real, signal.imag], dim=1), power, transfer**2)

    def _spectra(self, rows: list[int]) -> tuple[Tensor, Tensor | None]:
        """Return the spectra (n, M), complex, and the transfer (n, M) of a few particles on the reference."""
        volumes, transfer = _white(self.particles, rows, self.device)
        poses = self.particles.poses[rows].to(self.device, volumes.dtype)
        turned = warp(volumes, poses.rotations, poses.shifts, oversampling=2)
        spectra = self.band.take(to_fourier(turned * self.mask))
        if transfer is None:
            return spectra, None
        return spectra, self.band.take(rotate_weights(transfer, poses.rotations))


def _batches(rows: Sequence[int], size: int) -> list[list[int]]:
    """Return ``rows`` in order, ``size`` at a time."""
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]


def _white(particles: Particles, rows: list[int], device: torch.device) -> tuple[Volumes, Weights | None]:
    """Return some particles with white noise, and what acts on their signal."""
    volumes, weights = observed(particles, rows, device)
    transfer = transfer_of(weights)
    return whiten(volumes, transfer), transfer


@torch.no_grad()
def _set_weights(particles: Particles, device: torch.device, share: float) -> Tensor:
    """Return the weights (N // 2 + 1,) of the shells for two particles of the set, from the mean of their powers.

    Parameters
    ----------
    share
        The mask's share of the box, which holds all of the signal.
    """
    signal = noise = torch.zeros(particles.box // 2 + 1, device=device)
    with progress("Reading", len(particles)) as display:
        for rows in particles.batches(default_batch_size(particles.box, device)):
            power = shell_power(*_white(particles, rows, device))
            signal, noise = signal + power.signal.sum(dim=0), noise + power.noise.sum(dim=0)
            display.advance(len(rows))
    mean = ShellPower(signal / len(particles), noise / len(particles)).concentrated(share)
    return shell_weights(mean, mean)
