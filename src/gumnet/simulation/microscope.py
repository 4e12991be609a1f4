"""The fast model of imaging: CTF and missing wedge act on the spectrum of the volume itself."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gumnet.geometry.ctf import electron_wavelength_angstrom
from gumnet.geometry.fourier import frequencies, to_fourier, to_real
from gumnet.geometry.wedge import missing_wedge
from gumnet.simulation.config import SimulationConfig
from gumnet.simulation.noise import filtered_noise, noise_amplitude, with_noise
from gumnet.types import Volumes, Weights


def envelope(config: SimulationConfig) -> Tensor:
    """Return the damping of the CTF, (N, N, N // 2 + 1): ``exp(-(k / envelope_frequency)^2)``; ones without a CTF."""
    if not config.ctf:
        return torch.ones(config.box, config.box, config.box // 2 + 1)
    k2 = frequencies(config.box, dtype=torch.float64).square().sum(-1)
    return torch.exp(-k2 / config.envelope_frequency**2).to(torch.float32)


def radial_transfer(config: SimulationConfig) -> Tensor:
    """Return CTF times envelope in three dimensions, (N, N, N // 2 + 1); ones where the CTF is switched off.

    The formula of `gumnet.geometry.ctf.ctf` without astigmatism, at the length of the frequency vector: what a tilt
    series of one defocus leaves where it observes.
    """
    if not config.ctf:
        return torch.ones(config.box, config.box, config.box // 2 + 1)
    k2 = frequencies(config.box, dtype=torch.float64).square().sum(-1) / config.voxel_size_angstrom**2
    wavelength = electron_wavelength_angstrom(config.voltage_kv)
    aberration = 0.5 * math.pi * 1e7 * config.spherical_aberration_mm * wavelength**3
    phase = math.pi * wavelength * 1e4 * config.defocus_um * k2 - aberration * k2**2
    return torch.sin(phase + math.asin(config.amplitude_contrast)).to(torch.float32) * envelope(config)


class FourierImaging:
    """Turns posed structures into noisy subtomograms by filters in Fourier space.

    Parameters
    ----------
    config
        What to simulate.
    has_wedge
        Whether the missing wedge is cut out, or everything is observed.
    """

    def __init__(self, config: SimulationConfig, *, has_wedge: bool) -> None:
        box = config.box
        observed = missing_wedge(box, config.tilt_max_degrees) if has_wedge else torch.ones(box, box, box // 2 + 1)
        transfer = radial_transfer(config)
        again = transfer if config.ctf_in_weights else torch.ones_like(transfer)
        self._snr = config.snr
        self._signal_filter = transfer * again * observed
        self._noise_filter = noise_amplitude(config.noise, transfer, envelope(config), observed) * again
        self.weights: Weights = again.square() * observed
        """Fourier weights (N, N, N // 2 + 1) of every volume it makes."""

    def signal(self, volumes: Volumes) -> Volumes:
        """Return what reaches the final volumes (n, N, N, N) of posed structures (n, N, N, N), without noise."""
        return to_real(to_fourier(volumes) * self._signal_filter, volumes.shape[-1])

    def subtomograms(self, volumes: Volumes, generator: torch.Generator) -> Volumes:
        """Return the noisy subtomograms (n, N, N, N) of posed structures (n, N, N, N)."""
        signal = self.signal(volumes)
        if math.isinf(self._snr):
            return signal
        return with_noise(signal, filtered_noise(len(volumes), self._noise_filter, generator), self._snr)
