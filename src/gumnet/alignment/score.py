"""The score of a pose: constrained correlation of two spectra, each shell weighted by what it can tell.

A volume is ``A = w_a S + noise``, the variance of the noise proportional to ``w_a``. Divided by ``c_a = sqrt(w_a)`` its
noise is the same wherever it was observed, and ``c_a`` is what acts on the signal. The score of two such volumes is the
correlation of each times the other's ``c``, with the shells weighted by g,

    sum g Re(A conj(B)) c_a c_b / sqrt(sum g |A|^2 c_b^2  sum g |B|^2 c_a^2),

which is 1 for two noise-free volumes whatever their weights, and for binary wedges the correlation on the shared
observed region (Förster et al., J. Struct. Biol. 161, 276, 2008). Turning a changes A and c_a, so both norms depend on
the rotation; a shift changes phases only, so one inverse FFT gives the numerator at all shifts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import roma
import torch
from torch import Tensor

from gumnet.alignment.band import Band, pooled, shell_power, shell_weights
from gumnet.alignment.spectrum import TurnedSpectra, as_complex, transfer_of
from gumnet.averaging.mask import soft_sphere
from gumnet.geometry.fourier import phase_ramp, to_fourier, to_real
from gumnet.particles import Poses
from gumnet.types import Rotations, Spectra, Vectors, Volume, Volumes, Weights

if TYPE_CHECKING:
    from gumnet.alignment.judging import Judging
    from gumnet.alignment.known_power import KnownPower
    from gumnet.model.matched_filter import MatchedFilter

TINY = 1e-30
"""Guards divisions by norms of 0."""
_MASK_RADIUS, _MASK_EDGE = 1 / 3, 1 / 10
"""In boxes. A box is commonly one and a half to two diameters of its particle wide, so this holds the particle; beyond
is noise. On simulated pairs it takes a fifth off the median error of the largest sphere in the box."""


@dataclass(frozen=True)
class BandData:
    """What the score needs of n particles within one band, all of shape (n, M).

    Parameters
    ----------
    matched
        ``g conj(B) c_b``, complex: times the reference's ``A c_a`` and summed, this is the numerator.
    transfer_power
        ``g c_b^2``: the norm of the reference is its sum with ``|A|^2``.
    power
        ``g |B|^2``: the norm of the particle is its sum with ``c_a^2``.
    """

    band: Band
    matched: Tensor
    transfer_power: Tensor
    power: Tensor

    def __getitem__(self, rows: slice | Tensor) -> BandData:
        return BandData(self.band, self.matched[rows], self.transfer_power[rows], self.power[rows])


@dataclass(frozen=True)
class Comparison:
    """n particles made ready to be compared with one reference, or with one each.

    Parameters
    ----------
    reference
        Volumes (1 or n, N, N, N) of white noise, masked by a soft sphere.
    reference_transfer
        Shape (1 or n, N, N, N // 2 + 1), or None where everything was observed.
    spectra
        Spectra of the particles (n, N, N, N // 2 + 1), of white noise.
    transfer
        Shape (1 or n, N, N, N // 2 + 1), or None.
    shell_weights
        Shape (n, N // 2 + 1).
    sharpness
        Factor from scores to log likelihoods, (n,), where it was learned; None where it follows from the weights.
    judging
        What judges the best poses, where a network for that was learned.
    uncleaned
        The volumes as they were before a filter cleaned them, and the weights of their shells, where one did.
    to_map
        Whether particles share the reference, a map of little noise, and nothing learned takes part.
    measured
        Whether weights are of powers that were measured on a set, signal in the units of the particles: likelihoods are
        then as they come out, and need no tempering.
    """

    reference: Volumes
    reference_transfer: Weights | None
    spectra: Spectra
    transfer: Weights | None
    shell_weights: Tensor
    sharpness: Tensor | None = None
    judging: Judging | None = None
    uncleaned: Comparison | None = None
    to_map: bool = False
    measured: bool = False

    @classmethod
    def of(
        cls,
        reference: Volumes,
        particles: Volumes,
        weights_reference: Weights | None,
        weights_particles: Weights | None,
        *,
        mask: Volume | None = None,
        lowest_shell: int = 1,
        centres: Vectors | None = None,
        cleaner: MatchedFilter | None = None,
        known: KnownPower | None = None,
        to_map: bool = False,
    ) -> Comparison:
        """Return the comparison of particles (n, N, N, N) with a reference (1 or n, N, N, N), in float32.

        Parameters
        ----------
        mask
            Soft mask of the reference, (N, N, N); `default_mask` unless given.
        lowest_shell
            Shells below count nothing.
        centres
            Shifts (n, 3) of the particles, in voxels, that the shifts of candidates are relative to; 0 unless given.
        cleaner
            Learned filter that cleans both sides, once each, and corrects the weights of the shells.
        known
            Powers of the set and of the reference that it shares; those of each volume by itself unless given. A
            filter has learned to correct the latter, so without effect beside one.
        to_map
            Whether all particles share the reference, a map of many; without effect beside a filter.
        """
        box = reference.shape[-1]
        mask = default_mask(box, reference.device) if mask is None else mask.to(reference)
        c_a, c_b = transfer_of(weights_reference), transfer_of(weights_particles)
        a, b = whiten(reference, c_a), whiten(particles, c_b)
        to_map = to_map and cleaner is None
        power_a, measured = shell_power(a, c_a), known is not None and cleaner is None
        if known is not None and measured:
            power = known.of(power_a)
        else:
            power = pooled(power_a.of_map() if to_map else power_a, shell_power(b, c_b))
        # Only what lies in the mask is compared, and there the signal is denser than in the box as a whole.
        share = float(mask.square().mean())
        weights = shell_weights(*(p.concentrated(share) for p in power)).expand(len(b), -1).clone()

        def of(a: Volumes, b: Volumes, weights: Tensor) -> Comparison:
            spectra = to_fourier(b)
            if centres is not None:
                spectra = spectra * phase_ramp(box, -centres.to(spectra.real))
            counted = torch.arange(weights.shape[1], device=weights.device) >= lowest_shell
            return cls(a * mask, c_a, spectra, c_b, weights * counted, to_map=to_map, measured=measured)

        if cleaner is None:
            return of(a, b, weights)
        power_a, power_b = cleaner.power(a, c_a), cleaner.power(b, c_b)
        corrected = cleaner.shell_weights(weights, power_a, power_b)
        cleaned = of(cleaner(a, c_a, power_a), cleaner(b, c_b, power_b), corrected)
        return replace(
            cleaned,
            sharpness=cleaner.sharpness(power_a, power_b),
            judging=cleaner.judging(power_a, power_b),
            uncleaned=of(a, b, weights),
        )

    @property
    def box(self) -> int:
        """Side of the cubic box in voxels."""
        return self.reference.shape[-1]

    def __len__(self) -> int:
        return len(self.spectra)

    def __getitem__(self, rows: slice | Tensor) -> Comparison:
        def some(values: Tensor) -> Tensor:
            # What all particles share stays as it is.
            return values if len(values) == 1 else values[rows]

        return Comparison(
            some(self.reference),
            None if self.reference_transfer is None else some(self.reference_transfer),
            self.spectra[rows],
            None if self.transfer is None else some(self.transfer),
            self.shell_weights[rows],
            None if self.sharpness is None else self.sharpness[rows],
            None if self.judging is None else replace(self.judging, described=self.judging.described[rows]),
            None if self.uncleaned is None else self.uncleaned[rows],
            self.to_map,
            self.measured,
        )

    def turned_reference(self, shells: int, *, gradient: bool = False) -> TurnedSpectra:
        """Return the reference (1 or n) ready to be turned, up to shell ``shells``."""
        return TurnedSpectra.of(self.reference, self.reference_transfer, shells, gradient=gradient)

    def within(self, band: Band) -> BandData:
        """Return what the score needs of the particles within a band."""
        g = self.shell_weights[:, band.shell]
        spectra = band.take(self.spectra)
        c = torch.ones_like(g) if self.transfer is None else band.take(self.transfer).expand_as(g)
        return BandData(band, g * spectra.conj() * c, g * c**2, g * spectra.abs() ** 2)


@dataclass(frozen=True)
class Candidates:
    """k poses for each of n particles, the best first.

    Parameters
    ----------
    rotations, shifts, scores
        Shapes (n, k, 3, 3), (n, k, 3) and (n, k).
    """

    rotations: Rotations
    shifts: Vectors
    scores: Tensor

    def __getitem__(self, rows: slice | Tensor) -> Candidates:
        return Candidates(self.rotations[rows], self.shifts[rows], self.scores[rows])

    def best(self, k: int) -> Candidates:
        """Return the k candidates of each particle with the highest scores, the best first."""
        scores, index = self.scores.topk(min(k, self.scores.shape[1]), dim=1)
        rows = torch.arange(len(index), device=index.device)[:, None]
        return Candidates(self.rotations[rows, index], self.shifts[rows, index], scores)

    @classmethod
    def concatenate(cls, parts: Sequence[Candidates]) -> Candidates:
        """Return the candidates of all particles of ``parts``, in order."""
        columns = zip(*((p.rotations, p.shifts, p.scores) for p in parts), strict=True)
        return cls(*(torch.cat(column) for column in columns))

    @classmethod
    def from_poses(cls, poses: Poses, device: torch.device) -> Candidates:
        """Return one candidate a particle, from poses (n)."""
        moved = poses.to(device, torch.float32)
        return cls(moved.rotations[:, None], moved.shifts[:, None], moved.scores[:, None])

    def poses(self) -> Poses:
        """Return the first candidate of each particle as poses in float64 on the CPU, its matrix made orthogonal."""
        rotations = roma.special_procrustes(self.rotations[:, 0].double().cpu())
        return Poses(rotations, self.shifts[:, 0].double().cpu(), self.scores[:, 0].double().cpu())


def default_mask(box: int, device: torch.device | str | None = None) -> Volume:
    """Return a soft sphere (N, N, N) that falls from 1 to 0 between 0.33 and 0.43 boxes from the centre."""
    return soft_sphere(box, _MASK_RADIUS * box, _MASK_EDGE * box, device=device)


def norms(power: Tensor, transfer: Tensor | None, data: BandData) -> Tensor:
    """Return the denominator (n, r) of the score: ``|A|^2`` (1 or n, r, M) of the turned reference, its transfer."""
    return torch.sqrt((_contract(power, data.transfer_power) * particle_power(transfer, data)).clamp_min(TINY))


def particle_power(transfer: Tensor | None, data: BandData) -> Tensor:
    """Return the particles' share of the denominator, squared, (n, r or 1), for transfers (1 or n, r, M)."""
    return data.power.sum(dim=-1)[:, None] if transfer is None else _contract(transfer**2, data.power)


def _contract(values: Tensor, weights: Tensor) -> Tensor:
    """Return sums over M (n, r) of values (1 or n, r, M) with weights (n, M)."""
    if len(values) == 1:
        return weights @ values[0].mT
    return (values @ weights[:, :, None])[..., 0]


def phases(band: Band, shifts: Vectors) -> Tensor:
    """Return ``exp(-2 pi i k t)``, (..., M), of shifts (..., 3)."""
    angle = -2 * math.pi * (shifts @ band.frequencies.to(shifts).mT)
    return torch.polar(torch.ones_like(angle), angle)


def read_at(turned: TurnedSpectra, rotations: Rotations, band: Band) -> tuple[Tensor, Tensor | None]:
    """Return spectra (n, c, r, M) and transfer (n, r, M) of the reference turned by rotations (n, r, 3, 3).

    A reference that all particles share is turned for all of them in one read. See `TurnedSpectra.read`.
    """
    if len(turned.fine) == len(rotations):
        return turned.read(rotations, band)
    n, r = rotations.shape[:2]
    values, transfer = turned.read(rotations.reshape(1, n * r, 3, 3), band)
    values = values[0].reshape(-1, n, r, values.shape[-1]).transpose(0, 1)
    return values, None if transfer is None else transfer.reshape(n, r, -1)


def scores_at(turned: TurnedSpectra, data: BandData, rotations: Rotations, shifts: Vectors) -> Tensor:
    """Return the scores (n, k) of poses (n, k) of a reference, (1 or n), without derivatives."""
    values, transfer = read_at(turned, rotations, data.band)
    model = as_complex(values) * phases(data.band, shifts)
    if transfer is not None:
        model = model * transfer
    numerator = (model * data.matched[:, None]).real.sum(dim=-1)
    return numerator / norms(values[:, 0] ** 2 + values[:, 1] ** 2, transfer, data)


def rescored(
    comparison: Comparison, candidates: Candidates, shells: int, turned: TurnedSpectra | None = None
) -> Candidates:
    """Return the same poses with the scores that they have in the shells up to ``shells``.

    ``turned`` is the reference for these shells, where it was made before.
    """
    data = comparison.within(Band.up_to(comparison.box, shells, comparison.reference.device))
    turned = comparison.turned_reference(data.band.shells) if turned is None else turned
    return replace(candidates, scores=scores_at(turned, data, candidates.rotations, candidates.shifts))


def whiten(volumes: Volumes, transfer: Weights | None) -> Volumes:
    """Return volumes (n, N, N, N) of mean 0 and power 1, divided by their transfer where it is above 0."""
    volumes = unscaled(volumes, transfer)
    return volumes / deviation(volumes)[..., None, None, None].clamp_min(TINY)


def unscaled(volumes: Volumes, transfer: Weights | None) -> Volumes:
    """Return volumes (n, N, N, N) of mean 0, divided by their transfer where it is above 0: see `whiten`."""
    box = volumes.shape[-1]
    if transfer is not None:
        spectra = to_fourier(volumes)
        volumes = to_real(torch.where(transfer > 0, spectra / transfer.clamp_min(TINY**0.5), 0), box)
    return volumes - volumes.mean(dim=(-3, -2, -1), keepdim=True)


def deviation(volumes: Volumes) -> Tensor:
    """Return the root mean square (n,) of volumes (n, N, N, N)."""
    return volumes.square().mean(dim=(-3, -2, -1)).sqrt()
