"""Sharpening: raising the high frequencies of a map that envelopes have damped. Never done unless asked for.

The amplitudes are multiplied by ``exp(-B / (4 d^2))``, B negative to sharpen, and by ``sqrt(2 FSC / (1 + FSC))``, the
expected correlation of the map with a perfect one (Rosenthal and Henderson, J. Mol. Biol. 333 (2003) 721), so that
noise is not raised with the signal. B is given, or that of the map's own fall-off in a Guinier plot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.averaging.mask import soft_edge
from gumnet.errors import InputError
from gumnet.geometry.fourier import frequencies, shell_sums, spread_shells, to_fourier, to_real
from gumnet.resolution.claim import shell_counts
from gumnet.types import Volume

GUINIER_FROM_ANGSTROM = 10.0
"""Below this resolution the shape of a particle decides over the amplitudes, not their fall-off."""
LEAST_SHELLS = 4
_EDGE_SHELLS = 2.0


@dataclass(frozen=True)
class GuinierFit:
    """The line through ``ln(amplitude)`` against ``1 / d^2``.

    Parameters
    ----------
    b_factor_angstrom2
        Of the sharpening that takes the slope away: negative where amplitudes fall off, in square Angstrom.
    intercept
        ``ln(amplitude)`` of the line at ``1 / d^2 = 0``.
    shells
        First and last shell of the fit.
    """

    b_factor_angstrom2: float
    intercept: float
    shells: tuple[int, int]


def fsc_weights(curve: Tensor) -> Tensor:
    """Return ``sqrt(2 FSC / (1 + FSC))`` of half maps' correlations of any shape; 0 where they are negative."""
    positive = curve.clamp(min=0)
    return (2 * positive / (1 + positive)).sqrt()


def guinier_fit(
    volume: Volume,
    *,
    voxel_size_angstrom: float,
    resolution_angstrom: float,
    curve: Tensor | None = None,
    from_angstrom: float = GUINIER_FROM_ANGSTROM,
) -> GuinierFit:
    """Fit the fall-off of a map's amplitudes between two resolutions.

    Parameters
    ----------
    volume
        Shape (N, N, N), not filtered.
    resolution_angstrom
        Where the fit ends.
    curve
        Correlation of the half maps, (N // 2 + 1,), to take noise out of the amplitudes (`fsc_weights`).
    from_angstrom
        Where the fit begins.

    Raises
    ------
    InputError
        Where fewer than `LEAST_SHELLS` shells lie between the two.
    """
    box = volume.shape[-1]
    extent = box * voxel_size_angstrom
    first = max(1, math.ceil(extent / from_angstrom - 1e-9))
    last = min(box // 2, math.floor(extent / resolution_angstrom + 1e-9))
    if last - first + 1 < LEAST_SHELLS:
        raise InputError(
            f"from {from_angstrom:g} Angstrom to the resolution of {resolution_angstrom:.3g} there are "
            f"{max(0, last - first + 1)} shells, too few to fit a fall-off",
            cure="give a B-factor, or begin the fit at a coarser resolution",
        )
    amplitude = (shell_sums(to_fourier(volume.double()).abs() ** 2, box).cpu() / shell_counts(box)).sqrt()
    if curve is not None:
        amplitude = amplitude * fsc_weights(curve.double().cpu())
    shells = torch.arange(first, last + 1, dtype=torch.float64)
    values = amplitude[first : last + 1]
    if not bool((values > 0).all()):
        raise InputError("the map has a shell without signal in the range of the fit", cure="give a B-factor")
    design = torch.stack([(shells / extent) ** 2, torch.ones_like(shells)], dim=1)
    slope, intercept = torch.linalg.lstsq(design, values.log()[:, None]).solution[:, 0].tolist()
    return GuinierFit(4 * slope, intercept, (first, last))


def sharpen(
    volume: Volume,
    *,
    voxel_size_angstrom: float,
    b_factor_angstrom2: float,
    resolution_angstrom: float,
    curve: Tensor | None = None,
) -> Volume:
    """Return a map (N, N, N) sharpened by a B-factor and cut off at its resolution.

    Parameters
    ----------
    volume
        The mean of the half maps.
    b_factor_angstrom2
        Negative to sharpen, positive to smooth, in square Angstrom.
    resolution_angstrom
        Beyond it the map falls to 0, over two shells.
    curve
        Correlation of the half maps, (N // 2 + 1,), for `fsc_weights`; None for no weighting. The mean density, shell
        0, stays as it is.

    Raises
    ------
    InputError
        For a B-factor that is not finite, or no resolution.
    """
    box = volume.shape[-1]
    if not math.isfinite(b_factor_angstrom2):
        raise InputError(f"a B-factor of {b_factor_angstrom2} is not possible", cure="give a number, such as -200")
    if not (math.isfinite(resolution_angstrom) and resolution_angstrom > 0):
        raise InputError(
            "the half maps do not agree at any resolution, so there is nothing to sharpen", cure="align more particles"
        )
    radius = frequencies(box, dtype=torch.float64, device=volume.device).norm(dim=-1)
    factor = torch.exp(-b_factor_angstrom2 / 4 * (radius / voxel_size_angstrom) ** 2)
    factor = factor * soft_edge((radius - voxel_size_angstrom / resolution_angstrom) * box, _EDGE_SHELLS)
    if curve is not None:
        weights = fsc_weights(curve.double().to(volume.device))
        weights[0] = 1.0
        factor = factor * spread_shells(weights, box)
    return to_real(to_fourier(volume.double()) * factor, box).to(volume.dtype)
