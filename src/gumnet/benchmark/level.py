"""Levels: what simulated volumes of a benchmark look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gumnet.simulation.config import ImagingModel, NoiseColour, SimulationConfig, WedgeSide

BOX, VOXEL_SIZE_ANGSTROM, MAX_SHIFT = 32, 12.0, 6.4
"""Those of the Gum-Net paper; the largest shift along each axis is in voxels."""

PAPER_SNRS = (100.0, 0.1, 0.05, 0.03, 0.01)
"""Levels of Table 1 of the paper; the noisy four are also those of its Table 2."""

Colour = Literal["white", "coloured", "tilt-series"]
COLOURS: tuple[Colour, ...] = ("white", "coloured", "tilt-series")


@dataclass(frozen=True)
class Level:
    """What the volumes look like: signal-to-noise, colour of the noise, whether there is a CTF, and how they are made.

    Parameters
    ----------
    snr, noise, ctf, model
        As in `gumnet.simulation.config.SimulationConfig`.
    """

    snr: float
    noise: NoiseColour
    ctf: bool
    model: ImagingModel = "fourier"

    @classmethod
    def of(cls, snr: float, colour: Colour) -> Level:
        """Return the level of a colour of noise.

        white: the same power at every frequency that was observed, without CTF. coloured: half through the CTF, half
        low-passed by its envelope. tilt-series: projected and reconstructed, half detector noise in the images and
        half structure around the particle.
        """
        if colour == "white":
            return cls(snr, "white", False)
        return cls(snr, "coloured", True, "fourier" if colour == "coloured" else "tilt-series")

    @property
    def colour(self) -> str:
        """Name of the colour in tables."""
        return "tilt-series" if self.model == "tilt-series" else self.noise

    def config(self, seed: int, wedge: WedgeSide = "b", max_shift: float = MAX_SHIFT) -> SimulationConfig:
        """Return what to simulate."""
        return SimulationConfig(
            snr=self.snr,
            noise=self.noise,
            ctf=self.ctf,
            model=self.model,
            seed=seed,
            wedge=wedge,
            max_shift=max_shift,
            voxel_size_angstrom=VOXEL_SIZE_ANGSTROM,
        )
