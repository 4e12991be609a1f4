"""Resolution by direction: the correlation of half maps within cones of Fourier space.

Source: Tan et al., Nat. Methods 14 (2017) 793, with cones of 20 degrees. Here they are 25 wide, since the boxes of
subtomograms hold few coefficients.

Which of many noisy curves falls first is mostly chance. So the best and the worst direction are those of the highest
and the lowest mean over the shells, and they only count where these means scatter by more than in maps that are alike
in all directions and have the same correlation, shell by shell, in the same mask or, without one, with their signal
where the structure is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.averaging.fsc import GOLD_STANDARD_THRESHOLD, fsc, resolution_angstrom
from gumnet.errors import InputError
from gumnet.geometry.fourier import (
    fast_size,
    frequencies,
    friedel_multiplicity,
    resize,
    shell_indices,
    spread_shells,
    to_fourier,
    to_real,
)
from gumnet.progress import track
from gumnet.resolution.auto_mask import automatic_mask
from gumnet.resolution.claim import claimed_resolution_angstrom, independent_fraction
from gumnet.types import Vectors, Volume, Volumes

HALF_ANGLE_DEGREES = 25.0
DIRECTIONS = 200
LEAST_COEFFICIENTS = 20
"""Cones are wider in the first shells, so that they hold about as many there (of the full transform)."""
LEAST_RATIO = 1.1
"""Smallest ratio of worst to best resolution that is worth a word."""
CHANCE_DRAWS = 24
CHANCE_DEVIATIONS = 3.5
_COMPARED = 60
"""Directions of these means."""
_NEIGHBOURS_DEGREES = 25.0
"""Means within this angle are averaged to find the best and the worst."""
_ROUNDING = 1e-10
"""Power in a cone, in powers of its shell, that is nothing; maps of float32 hold 1e-14."""
_BEYOND = 1.2
"""Shells of these means, in shells to which the whole correlation reaches."""


@dataclass(frozen=True)
class ConicalFsc:
    """Correlation of two half maps by direction.

    Parameters
    ----------
    directions
        Unit vectors (m, 3), (x, y, z), over half of the sphere; the other half is the same.
    curves
        Correlation in each cone, (m, N // 2 + 1), float64.
    resolutions_angstrom
        Where each curve falls below ``threshold``, (m,); infinity where it starts below, and everywhere if
        the whole correlation is no more than noise gives.
    axes
        Best and worst direction, (2, 3), by the mean of the curves over the shells.
    best_angstrom, worst_angstrom
        Resolution in the cones about ``axes``.
    spread, chance_spread
        Standard deviation of these means over the directions, and what maps that are alike in all directions seldom
        exceed.
    half_angle_degrees, threshold
        As asked for.
    """

    directions: Vectors
    curves: Tensor
    resolutions_angstrom: Tensor
    axes: Vectors
    best_angstrom: float
    worst_angstrom: float
    spread: float
    chance_spread: float
    half_angle_degrees: float
    threshold: float

    @property
    def ratio(self) -> float:
        """Worst over best resolution; infinity where the worst direction has none, NaN where neither has."""
        if math.isinf(self.best_angstrom):
            return math.nan
        return self.worst_angstrom / self.best_angstrom

    @property
    def is_anisotropic(self) -> bool:
        """Whether the directions differ by more than chance gives, and by enough to matter."""
        return self.spread > self.chance_spread and self.ratio > LEAST_RATIO

    def words(self) -> str:
        """Return what the cones say, in a sentence for a report."""
        if math.isnan(self.ratio):
            return "Directional FSC: no resolution in any direction."
        if not self.is_anisotropic:
            return "Directional FSC: the same resolution in all directions, as far as noise lets one tell."
        good, poor = (direction_words(axis) for axis in self.axes)
        cause = "preferred orientation or missing wedge"
        if math.isinf(self.worst_angstrom):
            return f"No resolution along {poor}, {self.best_angstrom:.1f} Angstrom along {good}: {cause}."
        return (
            f"Resolution along {poor} is {self.ratio:.1f} times worse than along {good} ({self.worst_angstrom:.1f} and "
            f"{self.best_angstrom:.1f} Angstrom): {cause}."
        )


def half_sphere(n: int) -> Vectors:
    """Return n directions (n, 3), (x, y, z), spread evenly over the half sphere z > 0: a Fibonacci spiral."""
    index = torch.arange(n, dtype=torch.float64)
    z = 1 - (index + 0.5) / n
    angle = index * math.pi * (3 - math.sqrt(5.0))
    radius = (1 - z**2).sqrt()
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle), z], dim=1)


def cone_fsc(
    map1: Volume, map2: Volume, directions: Vectors, half_angle_degrees: float, *, shells: int | None = None
) -> Tensor:
    """Return the correlation of two maps (N, N, N) within cones about directions (m, 3), (m, shells + 1), float64.

    A cone and its mirror image about the origin count as one. A cone is as wide as asked, or as wide as it has to be to
    hold about `LEAST_COEFFICIENTS`: that of shell 1 is the whole shell.

    Parameters
    ----------
    shells
        Last shell; N // 2 unless given.
    """
    box = map1.shape[-1]
    last = box // 2 if shells is None else shells
    first, second = (to_fourier(each.double()) for each in (map1, map2))
    twice = friedel_multiplicity(box, dtype=torch.float64, device=first.device)
    products = torch.stack([(first * second.conj()).real, first.abs() ** 2, second.abs() ** 2], dim=-1)
    products = (products * twice[:, None]).reshape(-1, 3)
    weights = twice.expand(first.shape).flatten()
    units = torch.nn.functional.normalize(frequencies(box, dtype=torch.float64, device=first.device), dim=-1)
    units, index = units.reshape(-1, 3), shell_indices(box, device=first.device).flatten()
    order = index.argsort(stable=True)
    counts = torch.bincount(index)[: last + 1].tolist()
    narrow = math.cos(math.radians(half_angle_degrees))
    directions = directions.to(units)
    sums = []
    for rows in torch.split(order[: sum(counts)], counts):
        # A cone of half angle a, with its mirror image, holds 1 - cos(a) of the sphere.
        limit = min(narrow, 1 - LEAST_COEFFICIENTS / float(weights[rows].sum())) - 1e-9
        within = (directions @ units[rows].T).abs() >= limit
        inside = within.double() @ products[rows]
        # What a wedge took out comes back as rounding errors, which correlate as they like.
        inside[(inside[:, 1:] <= _ROUNDING * products[rows, 1:].sum(dim=0)).any(dim=1)] = 0
        sums.append(inside)
    cross, power1, power2 = torch.stack(sums, dim=1).unbind(dim=-1)
    power = (power1 * power2).sqrt()
    return torch.where(power > 0, cross / torch.where(power > 0, power, 1.0), 0.0).cpu()


def conical_fsc(
    half_maps: Volumes,
    *,
    voxel_size_angstrom: float,
    generator: torch.Generator,
    mask: Volume | None = None,
    directions: int = DIRECTIONS,
    half_angle_degrees: float = HALF_ANGLE_DEGREES,
    threshold: float = GOLD_STANDARD_THRESHOLD,
) -> ConicalFsc:
    """Return the correlation of half maps (2, N, N, N) by direction.

    Parameters
    ----------
    generator
        Draws the maps that are alike in all directions, for what chance gives.
    mask
        Shape (N, N, N), from 0 to 1. What it adds to the correlation is not taken off.
    directions
        How many, over half of the sphere.
    half_angle_degrees
        Of each cone, from its axis.

    Raises
    ------
    InputError
        For a half angle outside (0, 90], no directions, or maps and a mask that do not go together.
    """
    if not 0 < half_angle_degrees <= 90:
        raise InputError(f"cones of half angle {half_angle_degrees} degrees are not possible", cure="give 20 to 30")
    if directions < 1:
        raise InputError(f"{directions} directions are not possible", cure="give 100 to 500")
    whole = fsc(half_maps[0], half_maps[1], mask=mask).cpu()
    box = half_maps.shape[-1]
    weight = torch.ones((), dtype=torch.float64) if mask is None else mask.double().cpu()
    first, second = half_maps.double().cpu() * weight
    claimed = claimed_resolution_angstrom(
        whole,
        voxel_size_angstrom,
        box,
        threshold,
        fraction=independent_fraction(mask),
        unmasked=None if mask is None else fsc(half_maps[0], half_maps[1]).cpu(),
    )

    def resolutions(curves: Tensor) -> list[float]:
        if math.isinf(claimed):
            return [math.inf] * len(curves)
        return [resolution_angstrom(curve, voxel_size_angstrom, box, threshold) for curve in curves]

    reach = voxel_size_angstrom * box / resolution_angstrom(whole, voxel_size_angstrom, box, threshold)
    shells = min(max(math.ceil(_BEYOND * reach), 4), box // 2)
    compared = half_sphere(_COMPARED)
    heights = _heights(first, second, compared, half_angle_degrees, shells)
    # With their neighbours, so that the direction is that of a region and not of one cone.
    near = ((compared @ compared.T).abs() >= math.cos(math.radians(_NEIGHBOURS_DEGREES))).double()
    smooth = near @ heights / near.sum(dim=1)
    axes = compared[[int(smooth.argmax()), int(smooth.argmin())]]
    # A mask confines the maps that are made as it does those at hand. They need no more shells than are looked at.
    extent = automatic_mask((first + second) / 2).mask.double() if mask is None else torch.ones_like(first)
    small = min(box, fast_size(2 * shells + 2))
    extent, weight = resize(extent, small), resize(weight.expand(box, box, box), small)
    curve = whole[: small // 2 + 1]
    draws = track(range(CHANCE_DRAWS), "Comparing directions", unit="draws")
    alike = (_alike_in_all_directions(curve, extent, generator) * weight for _ in draws)
    chance = torch.stack([_heights(a, b, compared, half_angle_degrees, shells) for a, b in alike])
    limit = chance.std(dim=1)
    spiral = half_sphere(directions)
    curves = cone_fsc(first, second, spiral, half_angle_degrees)
    best, worst = resolutions(cone_fsc(first, second, axes, half_angle_degrees))
    return ConicalFsc(
        spiral,
        curves,
        torch.tensor(resolutions(curves), dtype=torch.float64),
        axes,
        best,
        worst,
        float(heights.std()),
        float(limit.mean() + CHANCE_DEVIATIONS * limit.std()),
        half_angle_degrees,
        threshold,
    )


def _heights(first: Volume, second: Volume, axes: Vectors, half_angle_degrees: float, shells: int) -> Tensor:
    """Return the mean correlation in the cone about each axis (m, 3), (m,).

    Shell s is weighted by the root of s, between equal weights and those of its noise, s^2.
    """
    weights = torch.arange(shells + 1, dtype=torch.float64).sqrt()
    return cone_fsc(first, second, axes, half_angle_degrees, shells=shells) @ weights / weights.sum()


def _alike_in_all_directions(curve: Tensor, extent: Volume, generator: torch.Generator) -> Tensor:
    """Return half maps (2, N, N, N) of Gaussian signal and noise with a given correlation, of one power everywhere.

    The signal is confined to ``extent`` (N, N, N), where the structure is: that ties its coefficients to their
    neighbours, so that directions scatter more than they would if each coefficient were a draw of its own.
    """
    box = extent.shape[-1]
    signal = spread_shells(curve.clamp(0, 1), box)
    white = torch.randn(3, box, box, box, generator=generator, dtype=torch.float64)
    confined = to_fourier(white[0] * extent / extent.square().mean().sqrt())
    return to_real(confined * signal.sqrt() + to_fourier(white[1:]) * (1 - signal).sqrt(), box)


def direction_words(direction: Vectors) -> str:
    """Return a direction (3,) in words: an axis within 30 degrees of it, or its components."""
    nearest = int(direction.abs().argmax())
    if float(direction.abs()[nearest]) >= math.cos(math.radians(30.0)) * float(direction.norm()):
        return "xyz"[nearest]
    return "({:.2f}, {:.2f}, {:.2f})".format(*direction.tolist())
