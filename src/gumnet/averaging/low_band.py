"""The low shells of a whole particle set, held in memory: what the search for its first maps works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.alignment.band import MODEL_ERROR, Band, shell_power
from gumnet.alignment.score import whiten
from gumnet.alignment.spectrum import transfer_of
from gumnet.geometry.fourier import to_fourier
from gumnet.particles import Particles
from gumnet.progress import progress

_TINY = 1e-20
_BATCH_VOXELS = 2**20


@dataclass(frozen=True)
class LowBand:
    """Coefficients of n particles in the shells of a band, in the units that a Gaussian likelihood asks for.

    A particle is ``X = c S + noise``, with the noise the same wherever it was observed (`gumnet.alignment.score`) and
    of power ``N`` in each shell. The log likelihood of a map A in some pose is then, for one of each Friedel pair and
    up to a constant, ``2 Re(conj(A) X c / N) - |A|^2 c^2 / N``.

    Parameters
    ----------
    band
        The coefficients, M of them.
    matched
        ``c X / N``, complex, (n, M).
    precision
        ``c^2 / N``, (n, M), or (1, M) where all particles observed the same.
    signal
        Power of a coefficient of the structure in shells 0 ... S, as the particles' own power spectra say it, (S + 1,).
    """

    band: Band
    matched: Tensor
    precision: Tensor
    signal: Tensor

    def __len__(self) -> int:
        return len(self.matched)

    @classmethod
    def of(
        cls, particles: Particles, shells: int, *, device: torch.device | str = "cpu", shown: bool | None = None
    ) -> LowBand:
        """Return the band of shells 1 ... ``shells`` of particles, which are read once, batch by batch.

        The power of noise and signal is that of the whole set, each particle scaled to the same total power: the
        corners of the boxes say what is noise (`gumnet.alignment.band.shell_power`).
        """
        band = Band.up_to(particles.box, shells, device)
        size = max(1, _BATCH_VOXELS // particles.box**3)
        spectra, transfers, powers = [], [], []
        with progress("Reading low shells", len(particles), shown=shown) as display:
            for rows in particles.batches(size):
                volumes, weights = particles.read_volumes(rows).to(device), particles.read_weights(rows)
                transfer = transfer_of(None if weights is None else weights.to(device))
                white = whiten(volumes, transfer)
                power = shell_power(white, transfer)
                powers.append(torch.stack([power.signal, power.noise]).sum(dim=1))
                spectra.append(band.take(to_fourier(white)))
                transfers.append(torch.ones(1, 1) if transfer is None else band.take(transfer))
                display.advance(len(rows))
        seen, noise = torch.stack(powers).sum(dim=0) / len(particles)
        # Where there is next to no noise, what the model does not explain takes its place.
        noise = (noise + MODEL_ERROR * seen).clamp_min(_TINY)[band.shell]
        transfer = _once_if_equal(transfers, len(band.shell)).to(device)
        # What particles show of the structure went through their transfer.
        signal = seen[: band.shells + 1] / _mean_squares(transfer, band)
        return cls(band, torch.cat(spectra) * transfer / noise, transfer.square() / noise, signal)

    def up_to(self, shells: int) -> LowBand:
        """Return the band of shells 1 ... ``shells``, as many or fewer."""
        if shells >= self.band.shells:
            return self
        keep = self.band.shell <= shells
        band = Band.up_to(self.band.box, shells, self.band.index.device)  # its coefficients are in the same order
        return LowBand(band, self.matched[:, keep], self.precision[:, keep], self.signal[: shells + 1])

    def rows(self, rows: Tensor | Sequence[int]) -> LowBand:
        """Return some of the particles."""
        index = torch.as_tensor(rows, device=self.matched.device)
        precision = self.precision if len(self.precision) == 1 else self.precision[index]
        return LowBand(self.band, self.matched[index], precision, self.signal)


def _mean_squares(transfer: Tensor, band: Band) -> Tensor:
    """Return the mean square of transfers (n or 1, M) where they are above 0, in shells 0 ... S, (S + 1,).

    1 in shells without any, as in shell 0, which no band has.
    """
    squares, seen = transfer.square().sum(dim=0), (transfer > 0).to(transfer.dtype).sum(dim=0)
    total, count = (transfer.new_zeros(band.shells + 1).index_add(0, band.shell, each) for each in (squares, seen))
    return torch.where(count > 0, total / count.clamp_min(1), 1.0)


def _once_if_equal(transfers: list[Tensor], coefficients: int) -> Tensor:
    """Return transfers of all particles (n, M), or (1, M) where they are all the same."""
    first = transfers[0][:1]
    if all(bool((part == first).all()) for part in transfers):
        return first.expand(1, coefficients)
    return torch.cat(transfers)
