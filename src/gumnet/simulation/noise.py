"""Noise of a given colour, scaled to a given signal-to-noise ratio, and how that ratio is measured."""

from __future__ import annotations

import torch
from torch import Tensor

from gumnet.geometry.fourier import friedel_multiplicity, to_fourier, to_real
from gumnet.simulation.config import NoiseColour
from gumnet.types import Scores, Volumes, Weights


def variance(volumes: Volumes) -> Scores:
    """Return the variance over the voxels of each volume (n, N, N, N), shape (n,)."""
    return volumes.flatten(1).var(dim=1, correction=0)


def scaled_to(noise: Volumes, wanted: Tensor) -> Volumes:
    """Return noise volumes (n, N, N, N) scaled so that each has the variance ``wanted`` (n,), without a mean."""
    centred = noise - noise.mean(dim=(1, 2, 3), keepdim=True)
    return centred * (wanted / variance(centred)).sqrt()[:, None, None, None]


def with_noise(signal: Volumes, noise: Volumes, snr: float) -> Volumes:
    """Return ``signal + noise`` (n, N, N, N), the noise scaled so that each volume has the given ratio of variances.

    The variances are those of the volumes at hand, not their expectations, so the ratio holds for each of them.
    """
    return signal + scaled_to(noise, variance(signal) / snr)


def measured_snr(first: Volumes, second: Volumes) -> Scores:
    """Return c / (1 - c), (n,), with c the Pearson correlation of two noisy copies of the same signals (n, N, N, N).

    Frank and Al-Ali, Nature 256 (1975) 376. The expectation of c is var(signal) / (var(signal) + var(noise)).
    """
    a = first.flatten(1) - first.mean(dim=(1, 2, 3))[:, None]
    b = second.flatten(1) - second.mean(dim=(1, 2, 3))[:, None]
    c: Tensor = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    return c / (1 - c)


def noise_amplitude(colour: NoiseColour, transfer: Tensor, envelope: Tensor, observed: Weights) -> Tensor:
    """Return the standard deviation of the noise at every frequency, (N, N, N // 2 + 1), up to its scale.

    Parameters
    ----------
    colour
        white: 1 where observed. coloured: half of the variance, over all frequencies, goes as ``transfer^2``, half as
        ``envelope^2``. Independent Gaussian parts add up in power, so one draw with the summed power is their sum.
    transfer, envelope
        CTF with its envelope, and the envelope alone, (N, N, N // 2 + 1).
    observed
        Binary weights of the same shape.
    """
    if colour == "white":
        return observed
    multiplicity = friedel_multiplicity(observed.shape[0], dtype=observed.dtype)

    def power(filtered: Tensor) -> Tensor:
        values = filtered.square() * observed
        return values / (values * multiplicity).sum()

    amplitude: Tensor = (0.5 * power(transfer) + 0.5 * power(envelope)).sqrt()
    return amplitude


def filtered_noise(n: int, amplitude: Tensor, generator: torch.Generator) -> Volumes:
    """Return n volumes (n, N, N, N) of Gaussian noise with the given amplitude (N, N, N // 2 + 1) of its spectrum."""
    box = amplitude.shape[0]
    white = torch.randn(n, box, box, box, generator=generator)
    return to_real(to_fourier(white) * amplitude, box)
