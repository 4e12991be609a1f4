"""What a simulation is of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from gumnet.errors import InputError

NoiseColour = Literal["coloured", "white"]
ImagingModel = Literal["fourier", "tilt-series"]
WedgeSide = Literal["b", "both"]


@dataclass(frozen=True)
class SimulationConfig:
    """How subtomograms are simulated.

    The defaults are those of the Gum-Net paper and of its authors' simulation: 32^3 voxels of 12 A, defocus 2 um,
    Cs 2.7 mm, 300 kV, tilts from -60 to 60 degrees, shifts within 0.2 of the box.
    """

    snr: float = 0.1
    """c / (1 - c), with c the correlation of two copies of one volume with independent noise (Frank and Al-Ali, 1975):
    the variance of the signal over that of the noise, both in the final volume, after CTF and missing wedge. It holds
    for every particle by itself. Infinity for no noise."""
    box: int = 32
    """Side of the volumes in voxels."""
    voxel_size_angstrom: float = 12.0
    """Size of a voxel."""
    tilt_max_degrees: float = 60.0
    """The tilts go from minus this to this; the missing wedge is the rest."""
    defocus_um: float = 2.0
    """Underfocus."""
    max_shift: float = 6.4
    """Shifts are uniform between minus this and this on every axis, in voxels; 0.2 of a box of 32."""
    whole_voxel_shifts: bool = True
    """Whether shifts are whole numbers of voxels, as in the paper."""
    noise: NoiseColour = "coloured"
    """coloured: half of the noise variance passes through the CTF (structure around the particle), half does not and is
    low-passed by the envelope (detector). white: the same power at every observed frequency; CTF and envelope do not
    act on it. In the tilt-series model, white is detector noise in the images alone, and coloured is half detector
    noise and half structure: a random volume around the particle, imaged with it."""
    model: ImagingModel = "fourier"
    """fourier: CTF and wedge act on the spectrum of the volume. tilt-series: the volume is projected at every tilt,
    and reconstructed from the noisy images."""
    wedge: WedgeSide = "b"
    """Which volumes of a pair have a missing wedge; b alone, as in the paper, or both. Particles of a set all do."""
    ctf: bool = True
    """Whether the CTF and its envelope act on the signal, and on coloured noise, at all. gum-net's comparison of noise
    colours with white noise "without CTF" is ``noise="white", ctf=False``."""
    ctf_in_weights: bool = False
    """fourier: whether volumes are multiplied by their CTF once more, with CTF^2 in the weights. By default the CTF is
    left as it is, as in the paper, and weights are the binary wedge: right as long as the first zero of the CTF (20 A
    at 2 um) lies beyond Nyquist. tilt-series always has it."""
    tilt_step_degrees: float = 3.0
    """Between tilts, in the tilt-series model; 3 is the usual scheme of 41 tilts, the paper has 1."""
    voltage_kv: float = 300.0
    """Of the microscope."""
    spherical_aberration_mm: float = 2.7
    """Of the microscope."""
    amplitude_contrast: float = 0.07
    """Share of amplitude contrast."""
    envelope_of_nyquist: float = 0.4
    """The CTF is damped by exp(-(f / (this * Nyquist))^2)."""
    phantoms: int = 5
    """How many built-in structures to use where none are given; the paper has five complexes."""
    phantom_seed: int = 0
    """Seed of the first of them. Apart from ``seed``, so that training and test data can be of the same structures."""
    seed: int = 0
    """Of poses and noise: the same seed gives the same bytes."""

    def __post_init__(self) -> None:
        def check(fits: bool, name: str, cure: str) -> None:
            if not fits:
                raise InputError(f"{name} = {getattr(self, name)!r} is not possible", cure=cure)

        check(self.snr > 0, "snr", "give a number above 0, or inf")
        check(self.box >= 8, "box", "give 8 voxels or more")
        check(0 < self.voxel_size_angstrom < math.inf, "voxel_size_angstrom", "give a size in Angstrom above 0")
        check(0 < self.tilt_max_degrees <= 90, "tilt_max_degrees", "give an angle above 0, at most 90")
        check(math.isfinite(self.defocus_um), "defocus_um", "give a number in micrometres")
        check(0 <= self.max_shift < self.box / 2, "max_shift", "give voxels, 0 or more and less than half the box")
        check(0 < self.tilt_step_degrees <= self.tilt_max_degrees, "tilt_step_degrees", "give a step within the range")
        check(math.isfinite(self.spherical_aberration_mm), "spherical_aberration_mm", "give a number in mm")
        check(0 <= self.amplitude_contrast < 1, "amplitude_contrast", "give a share from 0 to 1")
        check(self.envelope_of_nyquist > 0, "envelope_of_nyquist", "give a number above 0")
        check(0 < self.voltage_kv < math.inf, "voltage_kv", "give a voltage above 0")
        check(self.phantoms >= 1, "phantoms", "give 1 or more")
        for name, known in (("noise", NoiseColour), ("model", ImagingModel), ("wedge", WedgeSide)):
            check(getattr(self, name) in get_args(known), name, f"use one of {', '.join(get_args(known))}")

    @property
    def envelope_frequency(self) -> float:
        """Where the envelope falls to 1/e, in cycles per voxel."""
        return 0.5 * self.envelope_of_nyquist
