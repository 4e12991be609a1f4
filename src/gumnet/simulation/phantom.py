"""Built-in structures: asymmetric, protein-like densities made from a seed.

A phantom is a few domains of different sizes in contact with one another. Each domain is a chain of Gaussian blobs
that walks about inside its ellipsoid, and the whole is pierced by a few cavities. Its size, its power spectrum and its
correlation with itself in other poses are those of real complexes in the same box.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.geometry.so3 import angular_distance_degrees, random_rotations, super_fibonacci
from gumnet.geometry.warp import voxel_coordinates, warp
from gumnet.types import Rotations, Vectors, Volume, Volumes, centre

RADIUS_OF_GYRATION = 0.23
"""In units of the box: 7.4 voxels of 32, as for a spliceosome at 12 A."""
SELF_CORRELATION_LIMIT = 0.74
"""Highest correlation with itself more than 30 degrees away that a phantom may have."""
_FAR_DEGREES = 30.0
_ATTEMPTS = 1000
_COARSE_BOX = 16
_GRID_SIZE = 576  # neighbours about 30 degrees apart
_DESIGN_BOX = 32  # the box in whose voxels the lengths below are given
_TURNS_AT_ONCE = 16
_STEP = 2.0  # of a chain, from blob to blob
_EXTENT = 0.44  # farthest blob from the centre, in units of the box
_VOXELS_PER_BLOB = 6.0
_SATURATION = 1.5  # in heights of a blob


def phantom(seed: int, box: int, voxel_size_angstrom: float = 12.0) -> Volume:
    """Return one phantom (N, N, N), [z, y, x], white on black, its centre of mass at voxel N // 2, its highest value 1.

    The same seed gives the same structure at every box, of the same size relative to the box. Different seeds give
    different structures. A draw that looks too much like itself in another pose (`self_correlation`) is drawn again.

    Parameters
    ----------
    seed
        Names the structure.
    box
        Side N in voxels, 8 or more.
    voxel_size_angstrom
        Only checked: a phantom has no size of its own and fills the box it is made for.
    """
    if box < 8:
        raise InputError(f"a box of {box} voxels is too small for a phantom", cure="use a box of 8 or more")
    if not voxel_size_angstrom > 0:
        raise InputError(f"a voxel size of {voxel_size_angstrom} A is not possible", cure="give one above 0")
    return _render(*_first_asymmetric(seed), box)


def phantoms(n: int, box: int, voxel_size_angstrom: float = 12.0, *, seed: int = 0) -> Volumes:
    """Return n different phantoms (n, N, N, N), those of the seeds ``seed``, ``seed + 1``, ..."""
    return torch.stack([phantom(seed + i, box, voxel_size_angstrom) for i in range(n)])


def self_correlation(
    volume: Volume, *, beyond_degrees: float = _FAR_DEGREES, rotations: Rotations | None = None
) -> float:
    """Return the highest Pearson correlation of a volume (N, N, N) with itself turned by more than an angle.

    Parameters
    ----------
    beyond_degrees
        Smaller turns do not count: every smooth density is like itself there.
    rotations
        Turns to try, shape (n, 3, 3); a super-Fibonacci grid with neighbours about 30 degrees apart unless given.
    """
    grid = super_fibonacci(_GRID_SIZE, dtype=volume.dtype) if rotations is None else rotations.to(volume.dtype)
    far = grid[angular_distance_degrees(grid, torch.eye(3, dtype=grid.dtype)) > beyond_degrees]
    turned = warp(volume[None], far, torch.zeros(len(far), 3, dtype=volume.dtype)).flatten(1)
    turned = turned - turned.mean(dim=1, keepdim=True)
    own = volume.flatten() - volume.mean()
    return float(((turned @ own) / (turned.norm(dim=1) * own.norm())).max())


@lru_cache(maxsize=128)
def _first_asymmetric(seed: int) -> tuple[Vectors, Tensor, Tensor]:
    """Return the first draw (see `_draw`) from a seed that is not too much like itself; not to be changed.

    It does not depend on the box, and finding it is nearly all that a phantom costs.
    """
    generator = torch.Generator().manual_seed(seed)
    for _ in range(_ATTEMPTS):
        draw = _draw(generator)
        reaches_out = bool((draw[0].norm(dim=1) > _EXTENT * _DESIGN_BOX).any())
        if not reaches_out and not _looks_like_itself(_render(*draw, _COARSE_BOX)):
            return draw
    raise RuntimeError(f"no asymmetric phantom in {_ATTEMPTS} draws from seed {seed}")


def _looks_like_itself(volume: Volume) -> bool:
    """Return whether `self_correlation` reaches the limit; small turns, the likeliest to, are tried first."""
    return any(
        self_correlation(volume, rotations=part) >= SELF_CORRELATION_LIMIT
        for part in torch.split(_turns(), _TURNS_AT_ONCE)
    )


@lru_cache(maxsize=1)
def _turns() -> Rotations:
    """Return the turns of the grid that count, shape (n, 3, 3), small ones first."""
    grid = super_fibonacci(_GRID_SIZE, dtype=torch.float32)
    angles = angular_distance_degrees(grid, torch.eye(3))
    order = angles.argsort()
    return grid[order[angles[order] > _FAR_DEGREES]]


def _uniform(low: float, high: float, generator: torch.Generator, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)


def _directions(n: int, generator: torch.Generator) -> Vectors:
    return torch.nn.functional.normalize(torch.randn(n, 3, generator=generator, dtype=torch.float64), dim=1)


def _draw(generator: torch.Generator) -> tuple[Vectors, Tensor, Tensor]:
    """Draw one candidate: blobs at (b, 3) of widths (b,), and cavities (h, 4): x, y, z, radius.

    Lengths are in voxels of a box of 32.
    """
    domains = int(torch.randint(4, 8, (1,), generator=generator))
    radii = _uniform(2.0, 5.0, generator, domains)
    origins = torch.zeros(domains, 3, dtype=torch.float64)
    for i in range(1, domains):
        # Each new domain leans on one that is there, on any side: branched as often as elongated.
        partner = int(torch.randint(0, i, (1,), generator=generator))
        origins[i] = origins[partner] + _directions(1, generator)[0] * (radii[i] + radii[partner]) * 0.7
    axes = radii[:, None] * torch.exp(_uniform(-0.5, 0.5, generator, domains, 3))
    frames = random_rotations(domains, generator=generator)
    # The radius of gyration of solid ellipsoids: that of each about itself, <r^2> = |axes|^2 / 5, and of their centres.
    volume = axes.prod(dim=1, keepdim=True)
    origins = origins - (volume * origins).sum(0) / volume.sum()
    squared = (volume * (origins**2 + axes**2 / 5)).sum() / volume.sum()
    scale = float(RADIUS_OF_GYRATION * _DESIGN_BOX / squared.sqrt())
    chains = [_chain(origins[i] * scale, axes[i] * scale, frames[i], generator) for i in range(domains)]
    positions = torch.cat(chains)
    widths = _uniform(0.6, 0.95, generator, len(positions))
    cavities = int(torch.randint(3, 7, (1,), generator=generator))
    inside = positions[torch.randint(0, len(positions), (cavities,), generator=generator)]
    return positions, widths, torch.cat([inside, _uniform(1.2, 2.2, generator, cavities, 1)], dim=1)


def _chain(origin: Vectors, axes: Vectors, frame: Rotations, generator: torch.Generator) -> Vectors:
    """Return the blobs (b, 3) of one domain: a walk that turns back at the surface of its ellipsoid."""
    steps = max(6, round(4 / 3 * math.pi * float(axes.prod()) / _VOXELS_PER_BLOB))
    directions = _STEP * _directions(steps, generator)
    walk = [torch.zeros(3, dtype=torch.float64)]
    for direction in directions[1:]:
        outward = ((walk[-1] + direction) / axes).norm() > 1
        walk.append(walk[-1] - direction if outward else walk[-1] + direction)
    return torch.stack(walk) @ frame.T + origin


def _render(centres: Vectors, widths: Tensor, holes: Tensor, box: int) -> Volume:
    """Return the density (N, N, N) of Gaussian blobs with cavities, its centre of mass moved to the centre voxel."""
    scale = box / _DESIGN_BOX
    density, offset = torch.zeros(0), torch.zeros(3, dtype=torch.float64)
    for _ in range(2):
        # Where the centre of mass is shows only in the density: draw once to find it, once more about it.
        blobs = _gaussians((centres - offset) * scale, widths * scale, box)
        # Atoms exclude one another: where blobs pile up, the density levels off.
        density = 1 - torch.exp(-blobs / _SATURATION)
        holes_at = torch.cat([(holes[:, :3] - offset) * scale, holes[:, 3:] * scale], dim=1)
        for hole in _gaussians(holes_at[:, :3], holes_at[:, 3], box, each=True):
            density = density * (1 - hole)
        points = voxel_coordinates(box, dtype=torch.float64)
        offset = offset + (density[..., None] * points).sum((0, 1, 2)) / density.sum() / scale
    return (density / density.max()).to(torch.float32)


def _gaussians(centres: Vectors, widths: Tensor, box: int, *, each: bool = False) -> Tensor:
    """Return Gaussians of height 1: their sum (N, N, N), or each of them (b, N, N, N)."""
    axis = torch.arange(box, dtype=torch.float64) - centre(box)
    # They are products over the axes.
    along = torch.exp(-((axis - centres[..., None]) ** 2) / (2 * widths[:, None, None] ** 2))
    return torch.einsum("bz,by,bx->bzyx" if each else "bz,by,bx->zyx", along[:, 2], along[:, 1], along[:, 0])
