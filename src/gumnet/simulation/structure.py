"""Structures from files: atoms (PDB, mmCIF) and density maps, centred and at the wanted voxel size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.geometry.warp import voxel_coordinates
from gumnet.types import Vectors, Volume, Volumes, centre

if TYPE_CHECKING:
    import gemmi

ATOM_SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif")
MAP_SUFFIXES = (".mrc", ".map", ".rec")
Density = Literal["electron", "mass"]

# Sigma of the Gaussian that an atom becomes, in units of the resolution: its transform falls to 1/e at 1 / resolution.
_SIGMA_PER_RESOLUTION = 1 / (math.pi * math.sqrt(2.0))
_CHUNK = 4096
_LOST_FRACTION = 0.02


def from_file(
    path: str | Path, box: int, voxel_size_angstrom: float, *, map_voxel_size_angstrom: float | None = None
) -> Volume:
    """Return the density (N, N, N) of a file of atoms or of a map, whichever its name says; see the two below.

    Atoms are brought to the resolution of the grid, two voxels. ``map_voxel_size_angstrom`` is for maps whose header
    does not hold their voxel size.
    """
    path = Path(path)
    suffixes = [s.lower() for s in path.suffixes if s.lower() != ".gz"]
    if suffixes and suffixes[-1] in ATOM_SUFFIXES:
        return from_atoms(path, box, voxel_size_angstrom, 2 * voxel_size_angstrom)
    return from_map(path, box, voxel_size_angstrom, map_voxel_size_angstrom=map_voxel_size_angstrom)


def from_files(
    paths: Sequence[Path], box: int, voxel_size_angstrom: float, *, map_voxel_size_angstrom: float | None = None
) -> Volumes:
    """Return the densities (k, N, N, N) of files of atoms or maps; see `from_file`."""
    from gumnet.io.mrc_header import read_header

    for path in paths:
        is_map = path.suffix.lower() in MAP_SUFFIXES
        if is_map and map_voxel_size_angstrom is None and read_header(path).voxel_size_angstrom is None:
            raise InputError("the header has no usable voxel size", cure="give it with --map-voxel-size", path=path)
    return torch.stack(
        [from_file(path, box, voxel_size_angstrom, map_voxel_size_angstrom=map_voxel_size_angstrom) for path in paths]
    )


def from_atoms(
    path: str | Path,
    box: int,
    voxel_size_angstrom: float,
    resolution_angstrom: float,
    *,
    density: Density = "electron",
) -> Volume:
    """Return the density (N, N, N), [z, y, x], of the first model of a PDB or mmCIF file (plain or .gz).

    Every atom but water becomes a Gaussian of standard deviation ``resolution / (pi sqrt(2))``, whose transform falls
    to 1/e at 1 / resolution, cut off at the Nyquist frequency of the grid: it is rendered in Fourier space, so nothing
    is aliased however coarse the grid. The centre of mass lies at voxel N // 2. The atoms are those of the file: no
    biological assembly is built.

    Parameters
    ----------
    density
        What an atom weighs, times its occupancy: "electron" its scattering of electrons at zero angle (gemmi's table of
        International Tables C, 4.3.2.2), "mass" its atomic mass in Dalton. The voxels sum to the total.
    """
    if resolution_angstrom <= 0 or voxel_size_angstrom <= 0:
        raise InputError(
            f"a resolution of {resolution_angstrom} A at voxels of {voxel_size_angstrom} A is not possible",
            cure="give both above 0",
        )
    positions, weights = _read_atoms(Path(path), density)
    positions = (positions - (weights[:, None] * positions).sum(0) / weights.sum()) / voxel_size_angstrom
    low, high = -centre(box) - 0.5, box - centre(box) - 0.5
    outside = ((positions < low) | (positions > high)).any(dim=1)
    lost = float(weights[outside].sum() / weights.sum())
    if lost > _LOST_FRACTION:
        extent = float(2 * positions.norm(dim=1).max() * voxel_size_angstrom)
        raise InputError(
            f"the structure is about {extent:.0f} A across and {100 * lost:.0f} % of it lies outside a box of {box} "
            f"voxels of {voxel_size_angstrom:g} A",
            cure="use a larger --box or --voxel-size",
            path=path,
        )
    positions, weights = positions[~outside], weights[~outside]
    sigma = _SIGMA_PER_RESOLUTION * resolution_angstrom / voxel_size_angstrom
    volume = torch.zeros(box, box, box, dtype=torch.float64)
    for start in range(0, len(weights), _CHUNK):
        some = slice(start, start + _CHUNK)
        along = _band_limited_gaussians(positions[some], sigma, box)
        volume += torch.einsum("bz,by,bx->zyx", along[:, 2] * weights[some, None], along[:, 1], along[:, 0])
    return volume.to(torch.float32)


def from_map(
    path: str | Path,
    box: int,
    voxel_size_angstrom: float,
    *,
    map_voxel_size_angstrom: float | None = None,
    recentre: bool = True,
) -> Volume:
    """Return a density map from an MRC file in another box at another voxel size, see `resample`."""
    from gumnet.io.mrc import read_map

    volume, old = read_map(path, voxel_size_angstrom=map_voxel_size_angstrom)
    return resample(volume, old, box, voxel_size_angstrom, recentre=recentre)


def resample(
    volume: Volume, old_voxel_size_angstrom: float, box: int, voxel_size_angstrom: float, *, recentre: bool = False
) -> Volume:
    """Return a volume (M, M, M) in a box of N voxels of another size, low-passed to the coarser of the two grids.

    Fourier cropping or padding at any ratio of the voxel sizes: the trigonometric interpolation of the volume, without
    what lies beyond the new Nyquist frequency, read off at the new grid points. Zero outside the old box.

    Parameters
    ----------
    recentre
        Whether to move the centre of mass of what stands out of the background (more than one standard deviation above
        the mean) to voxel N // 2; else the centre voxel stays the centre.
    """
    old = volume.shape[-1]
    volume = volume.to(torch.float64)
    offset = torch.zeros(3, dtype=torch.float64)
    if recentre:
        mass = (volume - volume.mean() - volume.std()).clamp(min=0)
        offset = (mass[..., None] * voxel_coordinates(old, dtype=torch.float64)).sum((0, 1, 2)) / mass.sum()
    ratio = voxel_size_angstrom / old_voxel_size_angstrom
    x, y, z = (_interpolation_matrix(old, box, ratio, float(o)) for o in offset)
    for matrix in (z, y, x):
        # Each pass takes the first axis and puts the new one last: after three, they are z, y, x again.
        volume = torch.tensordot(volume, matrix, dims=([0], [1]))
    return volume.to(torch.float32)


def _interpolation_matrix(old: int, new: int, ratio: float, offset: float) -> Tensor:
    """Return the matrix (new, old) that reads a periodic signal at ``ratio * (i - new // 2) + offset`` from its centre.

    A Dirichlet kernel: ``sum_k cos(2 pi k d / old) / old`` over the frequencies that both grids have.
    """
    wanted = ratio * (torch.arange(new, dtype=torch.float64) - centre(new)) + offset
    given = torch.arange(old, dtype=torch.float64) - centre(old)
    highest = min((old - 1) // 2, math.ceil(old / (2 * max(ratio, 1.0))) - 1)
    k = torch.arange(1, highest + 1, dtype=torch.float64)
    distance = wanted[:, None] - given
    kernel = (1 + 2 * torch.cos(2 * math.pi / old * k * distance[..., None]).sum(-1)) / old
    inside = (wanted >= given[0] - 0.5) & (wanted <= given[-1] + 0.5)
    return kernel * inside[:, None]


def _band_limited_gaussians(xyz: Vectors, sigma: float, box: int) -> Tensor:
    """Return Gaussians along the axes, (b, 3, N), each summing to 1, without frequencies that the grid lacks."""
    # On a grid of twice the extent, so that what wraps around falls outside the box.
    extent = 2 * box
    k = torch.arange(1, box, dtype=torch.float64)
    decay = 2 * torch.exp(-2 * (math.pi * sigma * k / extent) ** 2)
    at = torch.arange(box, dtype=torch.float64) - centre(box)
    # cos(k (x - c)) = cos kx cos kc + sin kx sin kc makes it two matrix products.
    phase_at, phase_of = 2 * math.pi / extent * k[:, None] * at, 2 * math.pi / extent * xyz[..., None] * k
    waves = (decay * torch.cos(phase_of)) @ torch.cos(phase_at) + (decay * torch.sin(phase_of)) @ torch.sin(phase_at)
    return (1 + waves) / extent


def _read_atoms(path: Path, density: Density) -> tuple[Vectors, Tensor]:
    """Return positions (b, 3) in Angstrom, (x, y, z), and weights (b,) of the atoms of a file's first model."""
    if not path.is_file():
        raise InputError("no such file", cure="check the name", path=path)
    import gemmi

    try:
        structure = gemmi.read_structure(str(path))
    except (RuntimeError, ValueError, OSError, EOFError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"the atoms cannot be read ({reason})", cure="give a PDB or mmCIF file", path=path) from None
    positions: list[list[float]] = []
    weights: list[float] = []
    if len(structure) > 0:
        for chain in structure[0]:
            for residue in chain:
                if residue.is_water():
                    continue
                for atom in residue:
                    positions.append(atom.pos.tolist())
                    weights.append(atom.occ * _atom_weight(atom.element, density))
    if not weights or sum(weights) <= 0:
        raise InputError("no atoms were found", cure="give a PDB or mmCIF file with coordinates", path=path)
    return torch.tensor(positions, dtype=torch.float64), torch.tensor(weights, dtype=torch.float64)


def _atom_weight(element: gemmi.Element, density: Density) -> float:
    if density == "mass":
        return float(element.weight)
    return float(element.c4322.calculate_sf(0.0)) if element.c4322 is not None else 0.0
