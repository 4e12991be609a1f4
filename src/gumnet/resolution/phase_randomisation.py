"""What a mask adds to the correlation of half maps, measured by random phases and taken off.

Source: Chen et al., Ultramicroscopy 135 (2013) 24, with the rules of RELION's postprocessing: phases are random beyond
the shell where the correlation without mask first falls below 0.8, and the correction starts two shells later, since
the mask mixes the last true shell into the first random ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.averaging.fsc import GOLD_STANDARD_THRESHOLD, fsc
from gumnet.errors import InputError
from gumnet.geometry.fourier import frequencies, to_fourier, to_real
from gumnet.resolution.claim import claimed_resolution_angstrom, independent_fraction
from gumnet.types import Volume, Volumes

RANDOMISED_BELOW = 0.8
"""Correlation without mask below which phases are made random (RELION)."""
SHELLS_LEFT = 2
"""Shells from the first random one on that are not corrected (RELION)."""
DRAWS = 10


@dataclass(frozen=True)
class CorrectedFsc:
    """Correlations of two half maps and what they say; each curve has the shape (N // 2 + 1,), float64.

    Parameters
    ----------
    unmasked, masked
        Correlation of the half maps as they are, and within the mask.
    randomised
        Mean correlation within the mask once the phases are random: what the mask makes by itself.
    corrected
        ``(masked - randomised) / (1 - randomised)`` from two shells after the first random one.
    randomised_from_shell
        First random shell; None where the maps agree so well that there is none, and nothing is corrected.
    resolution_angstrom
        Where ``corrected`` falls below ``threshold``; infinity where it does not tell the maps from noise.
    """

    unmasked: Tensor
    masked: Tensor
    randomised: Tensor
    corrected: Tensor
    randomised_from_shell: int | None
    resolution_angstrom: float
    threshold: float = GOLD_STANDARD_THRESHOLD


def randomise_phases(volumes: Tensor, shell: int, generator: torch.Generator) -> Tensor:
    """Return volumes (..., N, N, N) with random phases at all radii from ``shell`` / N on; amplitudes stay.

    The phases are those of white noise, so that the result is real.
    """
    box = volumes.shape[-1]
    spectra = to_fourier(volumes)
    white = torch.randn(volumes.shape, generator=generator, dtype=torch.float64).to(volumes.device, volumes.dtype)
    phases = torch.sgn(to_fourier(white))
    radius = frequencies(box, device=volumes.device, dtype=torch.float64).norm(dim=-1) * box
    return to_real(torch.where(radius >= shell - 1e-6, spectra.abs() * phases, spectra), box)


def first_shell_below(curve: Tensor, level: float) -> int | None:
    """Return the first shell from 1 on where a curve (N // 2 + 1,) is below ``level``, or None."""
    below = torch.nonzero(curve[1:] < level)
    return int(below[0]) + 1 if len(below) else None


def phase_randomisation(
    half_maps: Volumes,
    mask: Volume,
    *,
    voxel_size_angstrom: float,
    generator: torch.Generator,
    threshold: float = GOLD_STANDARD_THRESHOLD,
    draws: int = DRAWS,
) -> CorrectedFsc:
    """Return the correlation of two half maps within a mask, corrected for what the mask adds to it.

    Parameters
    ----------
    half_maps
        Shape (2, N, N, N), made independently of each other and not masked.
    mask
        Shape (N, N, N), from 0 to 1.
    generator
        Draws the phases, on the CPU: the same state gives the same curves.
    draws
        How many random phases to average over; RELION takes 1.

    Raises
    ------
    InputError
        For other shapes, or maps or a mask that are not finite.
    """
    if half_maps.ndim != 4 or len(half_maps) != 2:
        raise InputError(f"half maps of shape {tuple(half_maps.shape)} are not two volumes", cure="give (2, N, N, N)")
    if draws < 1:
        raise InputError(f"{draws} draws of phases are not possible", cure="give 1 or more")
    half_maps, mask = half_maps.double(), mask.double()
    unmasked, masked = fsc(*half_maps).cpu(), fsc(*half_maps, mask=mask).cpu()
    shell = first_shell_below(unmasked, RANDOMISED_BELOW)
    if shell is None:
        randomised, corrected = torch.zeros_like(masked), masked
    else:
        curves = [fsc(*randomise_phases(half_maps, shell, generator), mask=mask).cpu() for _ in range(draws)]
        randomised = torch.stack(curves).mean(dim=0)
        taken_off = (masked - randomised) / (1 - randomised).clamp(min=1e-9)
        kept = torch.arange(len(masked)) < shell + SHELLS_LEFT
        corrected = torch.where(kept, masked, taken_off)
    resolution = claimed_resolution_angstrom(
        corrected,
        voxel_size_angstrom,
        half_maps.shape[-1],
        threshold,
        fraction=independent_fraction(mask),
        unmasked=unmasked,
    )
    return CorrectedFsc(unmasked, masked, randomised, corrected, shell, resolution, threshold)
