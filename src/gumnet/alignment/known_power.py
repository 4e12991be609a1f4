"""What is known of signal and noise before a particle is compared with a reference, which by itself says it badly.

One noisy particle says how much noise it has in a shell to ten or twenty per cent in the lowest shells, where there are
few coefficients; its set says it to one. What the corners of an average say of its noise is worse: in the shells where
little signal is left they say that there is none, and these go unused, though two half maps agree there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.alignment.band import ShellPower, shell_power
from gumnet.alignment.score import TINY, deviation, unscaled
from gumnet.alignment.spectrum import transfer_of
from gumnet.geometry.fourier import shell_sums
from gumnet.particles import Particles
from gumnet.types import Volume, Weights

MOST = 1000
"""Particles that speak for a set, spread over it evenly: the mean of so many is as good as that of all."""
_BATCH_VOXELS = 2**20


@dataclass(frozen=True)
class KnownPower:
    """What is known of n particles and of the reference that they share.

    Parameters
    ----------
    particles
        Mean powers of the particles, each scaled to power 1 as a whole, (1, N // 2 + 1).
    reference_signal
        Which share of the reference's power is signal in shells 0 ... N // 2, (N // 2 + 1,), 0 to 1.
    amplitude
        What the reference's signal is multiplied by in what the particles show of it, (N // 2 + 1,), both scaled to
        power 1 as a whole; see `amplitude_of_average`. The corners of particles do not tell it: they have three times
        too much signal where there is little, which scores do not mind, but how sure a pose is does.
    """

    particles: ShellPower
    reference_signal: Tensor
    amplitude: Tensor

    def of(self, reference: ShellPower) -> tuple[ShellPower, ShellPower]:
        """Return the powers of a reference (1, N // 2 + 1) and of the particles."""
        shape = reference.divided(self.reference_signal)
        whole = (self.particles.signal + self.particles.noise).to(shape.signal)
        seen = shape.signal * self.amplitude.to(whole).square()
        return shape, ShellPower(seen, (whole - seen).clamp_min(0.0))


def spread_over(count: int, most: int) -> list[int]:
    """Return rows of a set of ``count``, ``most`` of them or fewer, from the first to the last at even steps."""
    return torch.linspace(0, count - 1, min(count, most)).round().long().tolist()


def mean_power(particles: Particles) -> ShellPower:
    """Return the mean powers (1, N // 2 + 1) of particles, of `MOST` of them at most, each scaled to power 1."""
    return power_and_deviation(particles)[0]


def power_and_deviation(particles: Particles) -> tuple[ShellPower, float]:
    """Return `mean_power` of particles, and the mean of their standard deviations, as they are scaled to power 1."""
    some = particles.select(spread_over(len(particles), MOST))
    powers, deviations = [], []
    for rows in some.batches(max(1, _BATCH_VOXELS // particles.box**3)):
        volumes, weights = some.read_volumes(rows), some.read_weights(rows)
        transfer = transfer_of(weights)
        white = unscaled(volumes, transfer)
        scale = deviation(white)
        deviations.append(scale.double().sum())
        power = shell_power(white / scale[:, None, None, None].clamp_min(TINY), transfer)
        powers.append(torch.stack([power.signal, power.noise]).sum(dim=1))
    signal, noise = torch.stack(powers).sum(dim=0)[:, None] / len(some)
    return ShellPower(signal, noise), float(torch.stack(deviations).sum()) / len(some)


def amplitude_of_average(average: Volume, weights: Weights, particle_deviation: float) -> Tensor:
    """Return by how much the signal of an average is multiplied in its particles, (N // 2 + 1,).

    Both have the same units: what particles have in common is in them what it is in their average. Wrong poses damp the
    average, and poses on it are less sure, rightly.

    Parameters
    ----------
    average, weights
        The average as one more particle, ``weights * signal + noise``, (N, N, N), and its weights
        (N, N, N // 2 + 1), in the units of the particles.
    particle_deviation
        Mean standard deviation of the particles as they are scaled to power 1; see `power_and_deviation`.
    """
    box = average.shape[-1]
    transfer = transfer_of(weights[None])
    scale = deviation(unscaled(average[None], transfer))
    observed = (weights > 0).to(weights)[None]
    # Divided by its transfer, the average holds its signal times that.
    mean = shell_sums(weights[None], box) / shell_sums(observed, box).clamp_min(1.0)
    return (scale / (particle_deviation * mean.clamp_min(1e-30).sqrt())).where(mean > 0, 0.0)[0].float()
