"""The full model of imaging: projection at every tilt, CTF, noise in the images, and reconstruction."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gumnet.geometry.ctf import ctf
from gumnet.geometry.tomography import back_project, filter_images, premultiplied, project
from gumnet.simulation.config import SimulationConfig
from gumnet.simulation.noise import variance
from gumnet.types import Rotations, Volumes, Weights


def tilt_matrices(config: SimulationConfig, *, has_wedge: bool = True) -> Rotations:
    """Return the projection matrices (t, 3, 3), ``x_image = P x_volume``, of all tilts about y.

    Tilts lie ``tilt_step_degrees`` apart, symmetric about 0; without a wedge, they go once round, 180 degrees, at the
    nearest step that divides them evenly.
    """
    if has_wedge:
        half = math.floor(config.tilt_max_degrees / config.tilt_step_degrees + 1e-9)
        angles = torch.arange(-half, half + 1, dtype=torch.float64) * config.tilt_step_degrees
    else:
        count = max(1, round(180 / config.tilt_step_degrees))
        angles = torch.arange(count, dtype=torch.float64) * (180 / count) - 90
    cos, sin = torch.cos(torch.deg2rad(angles)), torch.sin(torch.deg2rad(angles))
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    rows = [torch.stack(row, dim=-1) for row in ((cos, zero, sin), (zero, one, zero), (-sin, zero, cos))]
    return torch.stack(rows, dim=-2)


class TiltSeriesImaging:
    """Turns posed structures into noisy subtomograms by way of their tilt series.

    Every tilt gets the same dose, so the same noise; the defocus is that of the particle's centre at every tilt, and
    radiation damage, which begins to matter beyond the resolution of such volumes, is left out. Reconstruction sums
    the images times their CTF, and gives the sum of CTF^2 as weights.

    Parameters
    ----------
    config
        What to simulate.
    has_wedge
        Whether the tilts end at ``tilt_max_degrees``, or go all round.
    """

    def __init__(self, config: SimulationConfig, *, has_wedge: bool) -> None:
        self._config = config
        self.matrices: Rotations = tilt_matrices(config, has_wedge=has_wedge).to(torch.float32)
        """Projection matrices (t, 3, 3)."""
        tilts, box = len(self.matrices), config.box
        self.transfer: Tensor = torch.ones(tilts, box, box // 2 + 1)
        """What each image keeps of the signal, (t, N, N // 2 + 1)."""
        if config.ctf:
            self.transfer = ctf(
                box,
                config.voxel_size_angstrom,
                torch.full((tilts,), 1e4 * config.defocus_um),
                voltage_kv=config.voltage_kv,
                spherical_aberration_mm=config.spherical_aberration_mm,
                amplitude_contrast=config.amplitude_contrast,
                envelope_frequency=config.envelope_frequency,
            )
        self.weights: Weights = premultiplied(torch.zeros(1, tilts, box, box), self.matrices, self.transfer)[1][0]
        """Fourier weights (N, N, N // 2 + 1) of every volume it makes."""

    def images(self, volumes: Volumes) -> Tensor:
        """Return the images (n, t, N, N) of posed volumes (n, N, N, N) without detector noise."""
        return filter_images(project(volumes, self.matrices), self.transfer)

    def reconstruct(self, images: Tensor) -> Volumes:
        """Return the volumes (n, N, N, N) of images (n, t, N, N), as `gumnet.geometry.tomography.premultiplied` does.

        Without its weights, which are the same for all.
        """
        scale = 1 / (images.shape[-1] * len(self.matrices))
        return back_project(filter_images(images, self.transfer), self.matrices) * scale

    def noisy_images(self, volumes: Volumes, generator: torch.Generator) -> Tensor:
        """Return the images (n, t, N, N) of posed volumes (n, N, N, N) with noise, before reconstruction."""
        return self._exposed(volumes, generator)[0]

    def subtomograms(self, volumes: Volumes, generator: torch.Generator) -> Volumes:
        """Return the noisy subtomograms (n, N, N, N) of posed structures (n, N, N, N)."""
        return self._exposed(volumes, generator)[1]

    def _exposed(self, volumes: Volumes, generator: torch.Generator) -> tuple[Tensor, Volumes]:
        """Return noisy images (n, t, N, N) and their reconstructions (n, N, N, N).

        The noise is white detector noise and, where it is coloured, the images of a white random volume around the
        particle. Each is scaled by the variance of its reconstruction, where the SNR is defined; reconstruction is
        linear, so that of the sum is the sum of theirs.
        """
        images = self.images(volumes)
        reconstructed = self.reconstruct(images)
        if math.isinf(self._config.snr):
            return images, reconstructed
        noises = [torch.randn(images.shape, generator=generator)]
        if self._config.noise == "coloured":
            noises.append(self.images(torch.randn(volumes.shape, generator=generator)))
        wanted = variance(reconstructed) / (self._config.snr * len(noises))
        for noise in noises:
            alone = self.reconstruct(noise)
            gain = (wanted / variance(alone)).sqrt()[:, None, None, None]
            images, reconstructed = images + gain * noise, reconstructed + gain * alone
        return images, reconstructed
