"""Local resolution: where in the half maps which frequencies agree.

At each voxel the half maps are compared band by band, in a Gaussian window: ``G * (a b) / sqrt((G * a^2) (G * b^2))``
of the band-passed half maps a and b, where * is a convolution. That is the local Fourier shell correlation of Cardone
et al., J. Struct. Biol. 184 (2013) 226, with the sums over the shell of a window's transform written as sums over the
window (Parseval), so that all voxels come from one convolution a band.

Limits: what it says is the mean over the window, so it cannot follow a change within its width; a band is as wide as
the window allows, and an edge of the resolution is found to about half of that. The correlation of noise within a
window scatters, so the threshold is 0.5, as Cardone et al. use, and not 0.143: the local values come out coarser than
the global one. Voxels of noise get the coarsest value. The box counts as periodic.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gumnet.averaging.fsc import KNOWN_STRUCTURE_THRESHOLD
from gumnet.errors import InputError
from gumnet.geometry.fourier import frequencies, to_fourier, to_real
from gumnet.progress import track
from gumnet.types import Volume, Volumes

WINDOW = 0.25
"""Width of the window, in boxes, unless given."""
_WIDTH_IN_DEVIATIONS = 2 * math.sqrt(2 * math.log(2))
"""Full width at half maximum of a Gaussian, in its standard deviations."""


def local_resolution(
    half_maps: Volumes,
    *,
    voxel_size_angstrom: float,
    window: float | None = None,
    threshold: float = KNOWN_STRUCTURE_THRESHOLD,
) -> Volume:
    """Return the local resolution in Angstrom, (N, N, N), float32.

    Parameters
    ----------
    half_maps
        Shape (2, N, N, N), made independently of each other and not masked.
    window
        Full width at half maximum of the Gaussian window, in voxels; a quarter of the box unless given, 6 or more.
    threshold
        Correlation that has to be reached.

    Returns
    -------
    Tensor
        Where the local correlation first falls below the threshold, linear between the bands: from two voxels, where it
        never does, to the period of the first band, `coarsest_angstrom`, where it starts below.

    Raises
    ------
    InputError
        For maps that are not two cubes or not finite, or a window that does not fit.
    """
    box = half_maps.shape[-1]
    if half_maps.shape != (2, box, box, box):
        raise InputError(f"half maps of shape {tuple(half_maps.shape)} are not two cubes", cure="give (2, N, N, N)")
    if not bool(torch.isfinite(half_maps).all()):
        raise InputError("a half map holds NaN or infinite values", cure="use maps of finite values")
    window = window_voxels(box) if window is None else window
    if not 4 <= window <= box / 2:
        raise InputError(
            f"a window of {window:g} voxels does not suit a box of {box}",
            cure=f"give one from 4 to {box // 2} voxels: narrower ones hold too few coefficients",
        )
    spectra = to_fourier(half_maps.double())
    radius = frequencies(box, dtype=torch.float64, device=spectra.device).norm(dim=-1)
    # The transform of a Gaussian of unit sum.
    window_spectrum = torch.exp(-2 * (math.pi * radius * window / _WIDTH_IN_DEVIATIONS) ** 2)
    centres = band_centres(window)
    found = torch.full((box,) * 3, math.nan, dtype=torch.float64, device=spectra.device)
    before = torch.ones_like(found)
    for number, centre in enumerate(track(centres, "Local resolution", unit="bands")):
        a, b = to_real(spectra * band(radius, centre, window), box)
        cross, power1, power2 = to_real(to_fourier(torch.stack([a * b, a * a, b * b])) * window_spectrum, box)
        power = (power1.clamp(min=0) * power2.clamp(min=0)).sqrt()
        here = torch.where(power > 0, cross / torch.where(power > 0, power, 1.0), 0.0)
        step = 0.0 if number == 0 else centre - centres[number - 1]
        crossing = centre - step * (threshold - here) / (before - here).clamp(min=1e-12)
        found = torch.where(found.isnan() & (here < threshold), crossing, found)
        before = here
        if not bool(found.isnan().any()):
            break
    frequency = found.nan_to_num(nan=0.5).clamp(min=centres[0], max=0.5)
    return (voxel_size_angstrom / frequency).float()


def window_voxels(box: int) -> float:
    """Return the width of the window that is used in a box of N voxels."""
    return max(WINDOW * box, 6.0)


def coarsest_angstrom(box: int, voxel_size_angstrom: float, window: float | None = None) -> float:
    """Return the value of voxels that agree in no band."""
    return voxel_size_angstrom / band_centres(window_voxels(box) if window is None else window)[0]


def band_centres(window: float) -> list[float]:
    """Return the middle of each band, in cycles per voxel: from 1 / window to Nyquist, half a band's width apart."""
    count = math.ceil(window - 2)
    return torch.linspace(1 / window, 0.5, count + 1, dtype=torch.float64).tolist()


def band(radius: Tensor, centre: float, window: float) -> Tensor:
    """Return the band-pass of any shape: a cosine bump about ``centre``, 1 / window wide at half of its height."""
    return 0.5 + 0.5 * torch.cos(math.pi * ((radius - centre) * window).clamp(-1, 1))
