"""What two half maps have in common that is not the same in all directions.

A turn about the centre leaves the spherical average of a map as it is, so that part agrees with itself under any
rotation and says nothing about symmetry. It is taken off here; what is left correlates with itself by 0 on the average
over all rotations, and by 1, in units of what the halves reach with each other, under those that are symmetries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gumnet.alignment.band import shell_power
from gumnet.alignment.score import Comparison, default_mask
from gumnet.averaging.fsc import GOLD_STANDARD_THRESHOLD, fsc
from gumnet.geometry.fourier import shell_sums, shift_volumes, to_fourier
from gumnet.geometry.warp import voxel_coordinates
from gumnet.resolution.auto_mask import automatic_mask
from gumnet.resolution.claim import independent_fraction, shell_counts
from gumnet.types import Vectors, Volume, Volumes

_TINY = 1e-20
_LEAST_DEVIATIONS = 2.0
"""Standard deviations of noise from which on a shell counts."""
_DIAMETERS = 2 * math.sqrt(5 / 3)
"""Diameter of a ball in radii of gyration."""


@dataclass(frozen=True)
class AngularPart:
    """Two maps about one centre without their spherical averages, and how far they agree.

    Parameters
    ----------
    volumes
        Shape (2, N, N, N), float32, masked; twice the same where there is only one map.
    centre
        What is the centre of the box here, (3,), in voxels from the centre of the maps.
    curve
        Correlation (N // 2 + 1,), float64, that a turn which is a symmetry reaches.
    whole
        The same with the spherical averages.
    weights
        How much each shell counts, (N // 2 + 1,), float64: its coefficients times ``curve``, the matched filter of
        shells of unit power; 0 where there is no more than noise may give, and beyond the resolution of the maps.
    share
        Share of this part in the power that the maps have in common up to there.
    fraction
        Share of the coefficients that the mask leaves independent.
    periods
        How many periods of the highest shell the particle is wide.
    halves
        Whether these are two half maps, and not one map twice.
    """

    volumes: Volumes
    centre: Vectors
    curve: Tensor
    whole: Tensor
    weights: Tensor
    share: float
    fraction: float
    periods: float
    halves: bool

    @property
    def box(self) -> int:
        """Side of the maps in voxels."""
        return self.volumes.shape[-1]

    @property
    def measure(self) -> str:
        """What an agreement of 1 stands for, in words."""
        return "the half maps reach with each other" if self.halves else "its signal has"

    @property
    def shells(self) -> int:
        """Highest shell that counts; 0 if none does."""
        counting = torch.nonzero(self.weights > 0)
        return int(counting[-1]) if len(counting) else 0

    @property
    def reach(self) -> float:
        """What a symmetry reaches, in units of the agreement of the maps as they are.

        One map also has its noise in common with itself, but not with itself turned.
        """
        if self.halves:
            return 1.0
        return float((self.weights * self.curve).sum() / self.weights.sum().clamp_min(_TINY))

    @property
    def deviation(self) -> float:
        """Standard deviation that noise gives the agreement under one rotation, in units of the full agreement."""
        if self.shells == 0:
            return math.inf
        variance = (1 - self.curve**2).clamp_min(0) / (shell_counts(self.box) * self.fraction)
        return float((self.weights**2 * variance).sum().sqrt() / (self.weights * self.curve).sum())

    def comparison(self) -> Comparison:
        """Return the comparison of the second map, turned, with the first, each shell by its weight."""
        power = shell_sums(to_fourier(self.volumes).abs() ** 2, self.box)
        weights = self.weights.to(power) / power.prod(dim=0).sqrt().clamp_min(_TINY)
        spectra = to_fourier(self.volumes[:1])
        return Comparison(self.volumes[1:], None, spectra, None, weights[None])


def angular_part(maps: Volumes, mask: Volume | None = None, centre: Vectors | None = None) -> AngularPart:
    """Return what half maps (2, N, N, N), or one map (1, N, N, N), have that is not the same in all directions.

    Of one map its own noise, read where there is no density, says how far it can be trusted.

    Parameters
    ----------
    mask
        Soft mask (N, N, N) of the maps; a soft sphere about ``centre`` unless given.
    centre
        Point (3,) that the symmetry leaves where it is, in voxels from the centre of the box; the centre of mass of the
        density unless given.
    """
    maps = maps.detach().cpu().float()
    mean = maps.mean(dim=0)
    density = automatic_mask(mean).mask
    if centre is None:
        centre = centre_of_mass(mean, density)
    if mask is not None:
        maps = maps * mask.to(maps)
    moved = shift_volumes(maps, -centre.to(maps).expand(len(maps), 3))
    sphere = default_mask(maps.shape[-1])
    masked = (moved - moved.mean(dim=(1, 2, 3), keepdim=True)) * sphere
    left = torch.stack([without_spherical_average(volume, sphere) for volume in moved])
    box, fraction = maps.shape[-1], independent_fraction(sphere)
    if len(maps) == 1:
        noise = shell_power(moved - moved.mean(), None).noise[0].double() * sphere.double().square().mean()
        left, masked = left.expand(2, -1, -1, -1), masked.expand(2, -1, -1, -1)
        curve, whole = (1 - noise * shell_counts(box) / _common(pair, box).clamp_min(_TINY) for pair in (left, masked))
    else:
        curve, whole = fsc(*left), fsc(*masked)
    weights = _weights(curve, whole, box, fraction)
    part = AngularPart(left, centre, curve, whole, weights, 0.0, fraction, 0.0, len(maps) == 2)
    own = float(_common(left, box)[weights > 0].sum())
    all_of_it = float(_common(masked, box)[1 : part.shells + 1].sum())
    return replace(
        part,
        share=own / all_of_it if part.shells and all_of_it > 0 else 0.0,
        periods=_diameter(mean, density, centre) * part.shells / box,
    )


def _weights(curve: Tensor, whole: Tensor, box: int, fraction: float) -> Tensor:
    """Return how much each shell counts; see `AngularPart`.

    What a symmetry of high order leaves empty, as the first shells are of an icosahedral particle, ends nothing: what
    the maps resolve does.
    """
    count = shell_counts(box)
    beyond = torch.nonzero(whole[1 : (box + 1) // 2] < GOLD_STANDARD_THRESHOLD)
    resolved = int(beyond[0]) if len(beyond) else (box - 1) // 2
    least = (_LEAST_DEVIATIONS / (count * fraction).sqrt()).clamp_min(GOLD_STANDARD_THRESHOLD)
    weights = torch.where(curve >= least, count * curve, 0.0)
    weights[0] = 0
    weights[resolved + 1 :] = 0
    return weights


def without_spherical_average(volume: Volume, mask: Volume) -> Volume:
    """Return a volume (N, N, N) less its spherical average about the centre voxel, within a mask.

    The average is the function of the radius, linear between whole voxels, that fits best.
    """
    box = volume.shape[-1]
    radius = torch.linalg.vector_norm(voxel_coordinates(box, dtype=torch.float64), dim=-1).flatten()
    inner = radius.floor().to(torch.int64)
    outwards = radius - inner
    nodes = int(inner.max()) + 2
    weight, values = mask.double().flatten(), volume.double().flatten()
    normal, right = torch.zeros(nodes, nodes, dtype=torch.float64), torch.zeros(nodes, dtype=torch.float64)
    parts = ((inner, 1 - outwards), (inner + 1, outwards))
    for row, first in parts:
        right.index_add_(0, row, weight * first * values)
        for column, second in parts:
            normal.index_put_((row, column), weight * first * second, accumulate=True)
    # Radii that the mask leaves out have no equation; next to nothing on the diagonal makes them 0.
    profile = torch.linalg.solve(normal + 1e-9 * torch.eye(nodes, dtype=torch.float64), right)
    average = profile[inner] * (1 - outwards) + profile[inner + 1] * outwards
    left: Volume = ((values - average).view(volume.shape) * mask).to(volume)
    return left


def centre_of_mass(volume: Volume, mask: Volume) -> Vectors:
    """Return the centre of mass (3,), float64, of the density above 0 within a mask, in voxels from the centre."""
    mass = (volume * mask).double().clamp_min(0)
    points = voxel_coordinates(volume.shape[-1], dtype=torch.float64)
    centre: Vectors = (mass[..., None] * points).sum(dim=(0, 1, 2)) / mass.sum().clamp_min(_TINY)
    return centre


def _diameter(volume: Volume, mask: Volume, about: Vectors) -> float:
    """Return the diameter, in voxels, of the ball with the radius of gyration of the density within a mask."""
    mass = (volume * mask).double().clamp_min(0)
    points = voxel_coordinates(volume.shape[-1], dtype=torch.float64) - about
    squared = (mass * points.square().sum(dim=-1)).sum() / mass.sum().clamp_min(_TINY)
    return _DIAMETERS * float(squared.sqrt())


def _common(pair: Volumes, box: int) -> Tensor:
    """Return the power that two maps (2, N, N, N) have in common in each shell, (N // 2 + 1,)."""
    spectra = to_fourier(pair.double())
    return shell_sums((spectra[0] * spectra[1].conj()).real, box)
