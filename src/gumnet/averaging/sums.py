"""Sums of spectra and weights on the grid of a box, and the average they make."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gumnet.averaging.solve import denominator, shell_level
from gumnet.geometry.fourier import spread_shells, to_real
from gumnet.types import Spectra, Volume, Weights


@dataclass(frozen=True)
class BoxSums:
    """Sums on the grid of a box, from which the average comes: those that the least-squares map would have.

    Parameters
    ----------
    box
        Side N, in voxels.
    spectrum
        ``weights * signal + noise`` of all particles together, (N, N, N // 2 + 1), complex.
    weights
        Sum of their weights on the reference, (N, N, N // 2 + 1).
    count
        Number of particles, each counted by its confidence.
    """

    box: int
    spectrum: Spectra
    weights: Weights
    count: float

    @classmethod
    def empty(cls, box: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float64) -> BoxSums:
        """Return the sums of no particle."""
        weights = torch.zeros(box, box, box // 2 + 1, device=device, dtype=dtype)
        return cls(box, torch.complex(weights, weights), weights, 0.0)

    def merge(self, other: BoxSums) -> BoxSums:
        """Return the sums of both."""
        total = self.spectrum + other.spectrum.to(self.spectrum)
        return BoxSums(self.box, total, self.weights + other.weights.to(self.weights), self.count + other.count)

    def with_spectrum(self, spectrum: Spectra) -> BoxSums:
        """Return sums of the same weights with another spectrum (N, N, N // 2 + 1)."""
        return replace(self, spectrum=spectrum)

    def result(self, noise_to_signal: Tensor | float = 0.0) -> Volume:
        """Return the average (N, N, N), float32 on the CPU.

        ``spectrum / (weights + tau)``, where ``tau`` is the noise-to-signal ratio of the average times the mean weight
        of the shell. With the true ratio it is the Wiener estimate: the noise of a coefficient is ``noise / weights``,
        and ``tau = noise / signal``. What no particle observed is 0.

        Parameters
        ----------
        noise_to_signal
            Noise over signal power of the average, one number or one a shell (N // 2 + 1,). 0 is the least-squares
            average, but for coefficients that few particles observed (`gumnet.averaging.solve.LEAST_OBSERVED`).
            Frequencies beyond the last whole shell, the corners, are 0.
        """
        return self.estimate(noise_to_signal).to("cpu", torch.float32)

    def estimate(self, noise_to_signal: Tensor | float = 0.0) -> Volume:
        """Return what `result` does, as precise as the sums and where they are."""
        level = shell_level(self.weights)
        ratio = torch.as_tensor(noise_to_signal, dtype=level.dtype, device=level.device)
        tau = level * (ratio if ratio.ndim == 0 else spread_shells(ratio, self.box))
        total, observed = denominator(self.weights, level)
        total = torch.maximum(self.weights + tau, total)
        spectrum = torch.where(observed, self.spectrum / torch.where(observed, total, 1.0), 0.0)
        return to_real(spectrum, self.box)
