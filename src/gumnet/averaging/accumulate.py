"""Weighted averages in Fourier space, batch by batch.

A particle's spectrum is ``weights * signal + noise``, the variance of the noise proportional to the weights (see
`gumnet.types`). The least-squares estimate of the signal from many particles on one reference is then the sum of their
spectra over the sum of their weights, coefficient by coefficient: what no particle observed stays 0, what few observed
counts as much signal as what all did.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.geometry.fourier import shell_sums, spread_shells, to_fourier, to_real
from gumnet.geometry.warp import warp
from gumnet.geometry.wedge import rotate_weights
from gumnet.particles import Particles, Poses
from gumnet.progress import progress
from gumnet.types import Volume, Volumes, Weights

LEAST_OBSERVED = 0.1
"""Below this share of their shell's mean weight, coefficients are damped and no longer divided by their full weight:
what turned particles leak across the edges of their wedges would blow up there."""

UNOBSERVED = 1e-3
"""Below this share of their shell's mean weight, coefficients count as not observed at all."""


class Accumulator:
    """Running sums of spectra and weights, from which the average comes.

    Parameters
    ----------
    box
        Side of the cubic box N, in voxels.
    device
        Where the sums are kept and computed.
    dtype
        Floating-point type of the sums; float64, so that thousands of particles add up without loss.
    """

    def __init__(self, box: int, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float64) -> None:
        self.box = box
        self.count = 0
        shape = (box, box, box // 2 + 1)
        self.weights = torch.zeros(shape, device=device, dtype=dtype)
        self.spectrum = torch.complex(self.weights, self.weights)

    @torch.no_grad()
    def add(self, volumes: Volumes, weights: Weights | None, poses: Poses) -> None:
        """Put particles on the reference and add them.

        Parameters
        ----------
        volumes
            Shape (k, N, N, N). What a pose takes from outside the box is 0.
        weights
            Fourier weights (k, N, N, N // 2 + 1) of the particles, or None where everything was observed.
        poses
            The k poses.
        """
        if volumes.shape[-3:] != (self.box,) * 3:
            raise InputError(
                f"particles of shape {tuple(volumes.shape[-3:])} do not fit an average of {self.box}",
                cure="use particles of one box",
            )
        device = self.weights.device
        volumes = volumes.to(device)
        poses = poses.to(device, volumes.dtype)
        if weights is None:
            weights = torch.ones(1, *self.weights.shape)
        on_reference = warp(volumes, poses.rotations, poses.shifts, oversampling=2)
        self.spectrum += to_fourier(on_reference).to(self.spectrum.dtype).sum(dim=0)
        turned = rotate_weights(weights.to(device, volumes.dtype), poses.rotations)
        self.weights += turned.to(self.weights.dtype).sum(dim=0)
        self.count += len(volumes)

    def merge(self, other: Accumulator) -> Accumulator:
        """Return the sums of both, for averages made in parts."""
        both = Accumulator(self.box, device=self.weights.device, dtype=self.weights.dtype)
        both.spectrum = self.spectrum + other.spectrum.to(self.spectrum)
        both.weights = self.weights + other.weights.to(self.weights)
        both.count = self.count + other.count
        return both

    def with_spectrum(self, spectrum: Tensor) -> Accumulator:
        """Return sums of the same weights with another spectrum (N, N, N // 2 + 1)."""
        other = Accumulator(self.box, device=self.weights.device, dtype=self.weights.dtype)
        other.spectrum, other.weights, other.count = spectrum, self.weights, self.count
        return other

    def result(self, noise_to_signal: Tensor | float = 0.0) -> Volume:
        """Return the average (N, N, N), float32 on the CPU.

        ``sum of spectra / (sum of weights + tau)``, where ``tau`` is the noise-to-signal ratio of the average times the
        mean sum of weights of the shell. With the true ratio it is the Wiener estimate: the noise of a coefficient is
        ``noise / sum of weights``, and ``tau = noise / signal``. What no particle observed is 0.

        Parameters
        ----------
        noise_to_signal
            Noise over signal power of the average, one number or one a shell (N // 2 + 1,). 0 is the least-squares
            average, but for coefficients that few particles observed (`LEAST_OBSERVED`). Frequencies beyond the last
            whole shell, the corners, are 0.
        """
        box = self.box
        mean = shell_sums(self.weights, box) / shell_sums(torch.ones_like(self.weights), box)
        ratio = torch.as_tensor(noise_to_signal, dtype=mean.dtype, device=mean.device)
        level, tau = spread_shells(mean, box), spread_shells(mean * ratio, box)
        total = torch.maximum(self.weights + tau, LEAST_OBSERVED * level)
        observed = (level > 0) & (self.weights > UNOBSERVED * level)
        spectrum = torch.where(observed, self.spectrum / torch.where(observed, total, 1.0), 0.0)
        return to_real(spectrum, box).to("cpu", torch.float32)


def default_batch_size(box: int, device: torch.device) -> int:
    """Return how many particles of a box of ``box`` voxels to warp at once: about 100 MB on a CPU, 2 GB on a GPU."""
    voxels = 2**19 if device.type == "cpu" else 2**23
    return max(1, voxels // box**3)


def accumulate(
    particles: Particles,
    *,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
    shown: bool | None = None,
    description: str = "averaging",
) -> Accumulator:
    """Return the sums of particles at their own poses; reads them batch by batch, never all at once.

    Parameters
    ----------
    batch_size
        Particles to hold in memory at a time; by the size of the box unless given.
    shown
        Whether to show progress; by default on a terminal only.
    """
    device = torch.device(device)
    sums = Accumulator(particles.box, device=device)
    with progress(description, len(particles), shown=shown) as display:
        for batch in particles.batches(batch_size or default_batch_size(particles.box, device)):
            sums.add(particles.read_volumes(batch), particles.read_weights(batch), particles.poses[batch])
            display.advance(len(batch))
    return sums
