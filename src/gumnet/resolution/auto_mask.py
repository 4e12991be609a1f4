"""A soft mask found from the map itself.

The map is low-passed and cut at a level above the noise outside the central sphere; small pieces go, the rest grows and
gets a soft edge. Wide on purpose: a mask that follows noise correlates two maps by itself, and one that cuts density
off loses what it is to measure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from gumnet.averaging.mask import low_pass, soft_edge, soft_sphere
from gumnet.errors import InputError
from gumnet.geometry.warp import voxel_coordinates
from gumnet.types import Volume

LOW_PASS_SHELLS = (8, 7, 6, 5, 4, 3)
"""Last whole shell of the low pass: the first of these at which the density stands clear of the noise. Shell 8 has a
period of an eighth of the box, about a quarter of the particle."""
LEAST_PERIOD = 4.0
"""Shortest period of the low pass, in voxels, for small boxes."""
NOISE_DEVIATIONS = 4.0
"""Level above the noise, in its standard deviations."""
LEVEL_OF_DENSITY = 0.15
"""Level of a map without noise, between the solvent and its density (the mean of the densest 1 % of voxels)."""
HIGHEST_LEVEL = 1 / 3
"""Highest level that noise may ask for, on the same scale: above it the mask would cut density off."""
LEAST_PIECE = 0.1
"""Smallest piece that stays, in sizes of the largest."""
_OUTSIDE = 0.45
"""Radius of the central sphere, in boxes."""
_DEVIATION_OF_MEDIAN = 1.4826
"""Standard deviation of a normal distribution, in median absolute deviations."""


@dataclass(frozen=True)
class AutoMask:
    """A mask and how it was found.

    Parameters
    ----------
    mask
        Shape (N, N, N), float32, from 0 to 1.
    low_pass_frequency
        Where the low pass begins to fall, in cycles per voxel.
    level
        Value of the low-passed map from which a voxel belongs to the structure.
    noise
        Standard deviation of the low-passed map outside the central sphere.
    pieces
        How many connected pieces were kept; 0 for the sphere.
    grown, edge
        By how many voxels they were grown, and the width of the soft edge after that.
    reaches_faces
        Whether the mask is above 0.5 at a face of the box.
    """

    mask: Volume
    low_pass_frequency: float
    level: float
    noise: float
    pieces: int
    grown: float
    edge: float
    reaches_faces: bool

    @property
    def is_sphere(self) -> bool:
        """Whether the density did not stand clear of the noise, so that a soft sphere stands in."""
        return self.pieces == 0

    def words(self, voxel_size_angstrom: float) -> str:
        """Return what was chosen, in a sentence or two."""
        share = 100 * float(self.mask.mean())
        if self.is_sphere:
            return (
                "Automatic mask: the density does not stand clear of the noise, so a soft sphere is used, "
                f"{share:.0f} % of the box."
            )
        pieces = "one piece" if self.pieces == 1 else f"{self.pieces} pieces"
        faces = " It reaches the faces of the box: the box is tight." if self.reaches_faces else ""
        return (
            f"Automatic mask: low pass at {voxel_size_angstrom / self.low_pass_frequency:.0f} Angstrom, level "
            f"{self.level:.3g} (noise outside {self.noise:.2g}), {pieces}, grown by {self.grown:g} voxels with a soft "
            f"edge of {self.edge:g}; {share:.0f} % of the box.{faces}"
        )


def automatic_mask(
    volume: Volume, *, grow: float | None = None, edge: float | None = None, within: float | None = None
) -> AutoMask:
    """Return a soft mask about the density of a map, white on black.

    Parameters
    ----------
    volume
        Shape (N, N, N): the mean of both half maps, not masked, so that the noise outside shows.
    grow
        Voxels from the level to where the edge begins; N / 16, 2 or more, unless given.
    edge
        Width of the soft edge, in voxels; N / 12, 3 or more, unless given.
    within
        Pieces whose middle is further from the centre than this, in voxels, are neighbours and go; none unless given.

    Raises
    ------
    InputError
        For a map that is no cube or not finite.
    """
    box = volume.shape[-1]
    if volume.shape != (box,) * 3:
        raise InputError(f"a map of shape {tuple(volume.shape)} gets no mask", cure="give a cubic map")
    if not bool(torch.isfinite(volume).all()):
        raise InputError("the map holds NaN or infinite values", cure="use a map of finite values")
    grow = max(2.0, float(round(box / 16))) if grow is None else grow
    edge = max(3.0, float(round(box / 12))) if edge is None else edge
    for shell in LOW_PASS_SHELLS:
        frequency = min(shell / box, 1 / LEAST_PERIOD)
        smooth = low_pass(volume.double(), frequency)
        solvent, noise, density = _levels(smooth)
        above_solvent = max(NOISE_DEVIATIONS * noise, LEVEL_OF_DENSITY * density)
        if density > 0 and above_solvent <= HIGHEST_LEVEL * density:
            break
    else:
        return _sphere(box, edge, frequency, solvent + above_solvent, noise)
    labels = connected_pieces(smooth > solvent + above_solvent)
    names, sizes = torch.unique(labels[labels > 0], return_counts=True)
    names = names[sizes >= LEAST_PIECE * sizes.max()]
    if within is not None:
        places = voxel_coordinates(box, dtype=torch.float64)
        own = [name for name in names if float(places[labels == name].mean(dim=0).norm()) <= within]
        if not own:
            return _sphere(box, edge, frequency, solvent + above_solvent, noise)
        names = torch.stack(own)
    distance = distance_to(torch.isin(labels, names), math.ceil(grow + edge))
    mask = soft_edge(distance - grow, edge).float()
    faces = any(float(mask.select(axis, end).max()) > 0.5 for axis in range(3) for end in (0, -1))
    return AutoMask(mask, frequency, solvent + above_solvent, noise, len(names), grow, edge, faces)


def _sphere(box: int, edge: float, frequency: float, level: float, noise: float) -> AutoMask:
    return AutoMask(soft_sphere(box, edge=edge), frequency, level, noise, 0, 0.0, edge, reaches_faces=False)


def _levels(smooth: Volume) -> tuple[float, float, float]:
    """Return the level of the solvent, the deviation of the noise there, and the height of the density above it."""
    box = smooth.shape[-1]
    outside = smooth[voxel_coordinates(box, dtype=torch.float64).norm(dim=-1) > _OUTSIDE * box]
    # Medians: what little density may lie out there is not to raise the level.
    solvent = float(outside.median())
    noise = _DEVIATION_OF_MEDIAN * float((outside - solvent).abs().median())
    dense = float(smooth.flatten().topk(max(1, box**3 // 100)).values.mean())
    return solvent, noise, dense - solvent


def connected_pieces(inside: Tensor) -> Tensor:
    """Return labels (N, N, N), int64: 0 where ``inside`` is False, else one positive number for each connected piece.

    Voxels that share a corner are connected.
    """
    count = inside.numel()
    labels = torch.arange(1, count + 1, dtype=torch.float64, device=inside.device).reshape(inside.shape)
    labels = torch.where(inside, labels, 0.0)
    while True:
        # A label is the place of a voxel: taking over what that voxel has by now doubles the reach every time.
        spread = functional.max_pool3d(labels[None], 3, stride=1, padding=1)[0]
        spread = torch.where(inside, spread, 0.0)
        jumped = functional.pad(spread.flatten(), (1, 0))[spread.long()]
        if torch.equal(jumped, labels):
            return labels.long()
        labels = jumped


def distance_to(inside: Tensor, reach: int) -> Tensor:
    """Return the distance (N, N, N), float64, of each voxel to the nearest one ``inside``, infinity beyond ``reach``.

    Exact: squared distances add up over the axes, one axis at a time.
    """
    squared = torch.where(inside, 0.0, math.inf).double()
    for axis in range(3):
        padding = [0] * 6
        padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = reach
        padded = functional.pad(squared, padding, value=math.inf)
        for offset in range(-reach, reach + 1):
            moved = padded.narrow(axis, reach + offset, squared.shape[axis])
            squared = torch.minimum(squared, moved + offset**2)
    return torch.where(squared <= reach**2, squared.sqrt(), math.inf)
