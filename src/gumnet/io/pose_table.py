"""`PoseTable`: particles in their tomograms, apart from any program's columns and from the images.

Every format maps to it and from it, in one module a format. Nothing here needs an image to be at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.types import Labels, Rotations, Scores, Vectors

if TYPE_CHECKING:
    import pandas as pd

IMAGE = "rlnImageName"
"""Column of `PoseTable.extra` that names images, as RELION writes it: ``file.mrc`` or ``1@stack.mrcs``."""

FTYPE = "dynamoFtype"
"""Column of `PoseTable.extra`, 13 in Dynamo: how Fourier space was sampled, 0 all of it, 1 by tilts about y."""


@dataclass(frozen=True)
class PoseTable:
    """Where n particles are in their tomograms, and how they are turned.

    Parameters
    ----------
    path, program
        The file that they were read from, and the program whose format it has, as in "Dynamo".
    version
        Of RELION: 3.0, 3.1, 4 or 5.
    rotations
        Orientations in the tomogram (n, 3, 3); ``x_tomogram = R x_reference + position``.
    coordinates
        Centres of the boxes (n, 3), (x, y, z) in voxels; the first voxel of the tomogram is 0.
    shifts
        From the centres of the boxes to the particles (n, 3), in the same voxels, along the axes of the tomogram.
    tomograms
        Name of each particle's tomogram; a number, as text, where the format has no names.
    numbers
        Number of each particle, from 1: tag in Dynamo, subtomo_num in STOPGAP.
    half_sets, classes, objects
        1 or 2, class, and region or object (filament, vesicle) of each particle, (n,); 0 where there is none.
    scores
        Alignment score (n,); NaN where there is none.
    tilt_ranges
        Lowest and highest tilt (n, 2) in degrees, or None where the format does not say.
    voxel_size_angstrom
        Size of the voxels that ``coordinates`` and ``shifts`` count, or None where it is not known.
    centred
        Whether ``coordinates`` are from the centre of the tomogram, because its size is not known.
    tomogram_sizes
        (x, y, z) of tomograms in the same voxels, by name, where they are known.
    extra
        All other columns, by the name that a STAR file gives them.
    optics
        Optics groups of RELION, or None.
    stacks_2d
        Whether the images are 2D tilt stacks.
    tomograms_path
        RELION's table of tomograms, where it is known.
    """

    path: Path
    program: str
    rotations: Rotations
    coordinates: Vectors
    shifts: Vectors
    tomograms: tuple[str, ...]
    numbers: Labels
    half_sets: Labels
    classes: Labels
    objects: Labels
    scores: Scores
    extra: pd.DataFrame
    version: str = ""
    tilt_ranges: Tensor | None = None
    voxel_size_angstrom: float | None = None
    centred: bool = False
    tomogram_sizes: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    optics: pd.DataFrame | None = None
    stacks_2d: bool = False
    tomograms_path: Path | None = None

    def __len__(self) -> int:
        return len(self.rotations)

    @property
    def positions(self) -> Vectors:
        """Places of the particles (n, 3) in voxels, from the first voxel or, if `centred`, from the centre."""
        return self.coordinates + self.shifts

    def needed_voxel_size(self, reason: str) -> float:
        """Return the voxel size in Angstrom; without it an `InputError` says what it is needed for."""
        if self.voxel_size_angstrom is None:
            raise InputError(
                f"the voxel size is not known, but {reason}",
                cure="give it in Angstrom with --voxel-size",
                path=self.path,
            )
        return self.voxel_size_angstrom

    def halves_of_tomograms(self) -> Tensor | None:
        """Return half of the size of each particle's tomogram (n, 3) in voxels; None if some size is not known."""
        if not set(self.tomograms) <= set(self.tomogram_sizes):
            return None
        sizes = [self.tomogram_sizes[name] for name in self.tomograms]
        return torch.tensor(sizes, dtype=torch.float64).reshape(-1, 3) / 2

    def from_corner(self) -> PoseTable:
        """Return the table with coordinates from the first voxel of the tomogram.

        The centre is size / 2, as in RELION's C++ code (its Python pickers take size / 2 - 1).

        Raises
        ------
        InputError
            If they are from its centre, and its size is not known.
        """
        if not self.centred:
            return self
        halves = self.halves_of_tomograms()
        if halves is None:
            lost = next(name for name in self.tomograms if name not in self.tomogram_sizes)
            raise InputError(
                f"the coordinates are from the centre of the tomogram, and the size of {lost} is not known",
                cure="give the table of tomograms with --tomograms, or their size with --tomogram-size",
                path=self.path,
            )
        return replace(self, coordinates=self.coordinates + halves, centred=False)

    def at_voxel_size(self, voxel_size_angstrom: float) -> PoseTable:
        """Return the table in voxels of another size; voxel 0 stays where it is, as when spectra are cropped."""
        factor = self.needed_voxel_size("coordinates are to be rescaled") / voxel_size_angstrom
        sizes = {name: (x * factor, y * factor, z * factor) for name, (x, y, z) in self.tomogram_sizes.items()}
        return replace(
            self,
            coordinates=self.coordinates * factor,
            shifts=self.shifts * factor,
            voxel_size_angstrom=voxel_size_angstrom,
            tomogram_sizes=sizes,
        )
