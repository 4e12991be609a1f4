"""The score of `gumnet.alignment.score`, with gradients to both volumes, for many rotations at all shifts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.alignment.band import Band, ShellPower, pooled, shell_weights
from gumnet.alignment.score import default_mask
from gumnet.alignment.spectrum import TurnedSpectra, as_complex
from gumnet.geometry.fourier import to_fourier
from gumnet.model.matched_filter import MatchedFilter
from gumnet.types import Rotations, Vectors, Volumes, Weights

_TINY = 1e-30


@dataclass(frozen=True)
class Cleaned:
    """n volumes after the filter, ready to be compared with one another.

    Parameters
    ----------
    volumes
        As the filter left them.
    turned
        The volumes masked, as references.
    values, transfer
        Their spectra in the band, and what acted on the signal there, (n, K).
    power
        Signal and noise of their shells before the filter.
    """

    band: Band
    volumes: Volumes
    turned: TurnedSpectra
    values: Tensor
    transfer: Tensor
    power: ShellPower

    @classmethod
    def of(cls, model: MatchedFilter, volumes: Volumes, transfer: Weights) -> Cleaned:
        """Return volumes (n, M, M, M) with transfer (n, M, M, M // 2 + 1) cleaned, M the filter's working grid."""
        band = Band.up_to(volumes.shape[-1], model.config.shells, volumes.device)
        power = model.power(volumes, transfer)
        cleaned = model(volumes, transfer, power)
        turned = TurnedSpectra.of(cleaned * default_mask(band.box, volumes.device), transfer, band.shells)
        return cls(band, cleaned, turned, band.take(to_fourier(cleaned)), band.take(transfer), power)


@dataclass(frozen=True)
class Pairs:
    """p pairs of cleaned volumes: which of them are reference and particle, and what weighs their correlation.

    Parameters
    ----------
    reference, particle
        Rows (p,).
    weights
        The weight of each coefficient, (p, K).
    sharpness
        Factor from scores to log likelihoods, (p,).
    """

    reference: Tensor
    particle: Tensor
    weights: Tensor
    sharpness: Tensor

    @classmethod
    def of(cls, model: MatchedFilter, cleaned: Cleaned, reference: Tensor, particle: Tensor) -> Pairs:
        """Return the pairs of rows (p,) and (p,) of ``cleaned``."""
        a, b = rows_of(cleaned.power, reference), rows_of(cleaned.power, particle)
        weights = model.shell_weights(search_weights(a, b, cleaned.band.box), a, b)
        return cls(reference, particle, weights[:, cleaned.band.shell], model.sharpness(a, b))

    def __getitem__(self, rows: slice | Tensor) -> Pairs:
        return Pairs(self.reference[rows], self.particle[rows], self.weights[rows], self.sharpness[rows])


def search_weights(a: ShellPower, b: ShellPower, box: int) -> Tensor:
    """Return the weights of shells that the search gives pairs of such powers, (p, s), see `Comparison.of`."""
    share = float(default_mask(box).square().mean())
    return shell_weights(*(power.concentrated(share) for power in pooled(a, b)))


def whole_shifts(largest: float, device: torch.device | str = "cpu") -> Vectors:
    """Return all whole shifts (s, 3) up to ``largest`` voxels of the grid on each axis."""
    reach = math.floor(largest)
    axis = torch.arange(-reach, reach + 1, dtype=torch.float32, device=device)
    return torch.cartesian_prod(axis, axis, axis)


def shift_waves(band: Band, largest: float) -> Tensor:
    """Return the cosines and sines (2 K, s) of all whole shifts up to ``largest`` voxels of the grid on each axis."""
    angle = 2 * math.pi * (band.frequencies @ whole_shifts(largest, band.index.device).T)
    return torch.cat([torch.cos(angle), torch.sin(angle)])


def scores(cleaned: Cleaned, pairs: Pairs, values: Tensor, transfer: Tensor, waves: Tensor) -> Tensor:
    """Return the scores of pairs in r rotations each at all s shifts, (p, r, s).

    Parameters
    ----------
    values, transfer
        The references of the pairs turned by r rotations each, (p, r, K).
    waves
        Of the shifts, see `shift_waves`.
    """
    b, c = cleaned.values[pairs.particle], cleaned.transfer[pairs.particle]
    product = values * transfer * (pairs.weights * b.conj() * c)[:, None]
    numerator = (torch.cat([product.real, product.imag], dim=-1).to(waves.dtype) @ waves).to(values.real.dtype)
    own = (values.real**2 + values.imag**2) @ (pairs.weights * c**2)[..., None]
    other = transfer**2 @ (pairs.weights * (b.real**2 + b.imag**2))[..., None]
    return numerator * (own * other).clamp_min(_TINY).rsqrt()


def log_likelihoods(cleaned: Cleaned, pairs: Pairs, values: Tensor, transfer: Tensor, waves: Tensor) -> Tensor:
    """Return the log of the summed likelihoods of all shifts, up to a constant, (p, r); arguments as of `scores`."""
    found = scores(cleaned, pairs, values, transfer, waves)
    return torch.logsumexp(found * pairs.sharpness[:, None, None], dim=-1)


def read(cleaned: Cleaned, rotations: Rotations) -> tuple[Tensor, Tensor]:
    """Return values and transfer (n, r, K) of all volumes turned by rotations (n, r, 3, 3)."""
    values, transfer = cleaned.turned.read(rotations, cleaned.band)
    assert transfer is not None
    return as_complex(values), transfer


def rows_of(power: ShellPower, rows: Tensor) -> ShellPower:
    """Return some rows of powers."""
    return ShellPower(power.signal[rows], power.noise[rows])
