"""What an average is, and what each of its iterations did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from gumnet.averaging.reproduced import Reproduced
from gumnet.averaging.start import StartStep
from gumnet.particles import Particles
from gumnet.symmetry.result import Symmetry
from gumnet.types import Volume, Volumes


@dataclass(frozen=True)
class Iteration:
    """What one iteration did.

    Parameters
    ----------
    number
        From 1.
    band_angstrom
        Finest resolution that the alignment used.
    mean_score
        Mean score of the particles.
    resolution_angstrom
        Where the halves' correlation falls below 0.143, after the iteration.
    mean_change_degrees, mean_change_voxels
        How far rotations and shifts moved, within their half. The first iteration moves them from no transformation.
    class_number
        Class that it was of, from 1.
    """

    number: int
    band_angstrom: float
    mean_score: float
    resolution_angstrom: float
    mean_change_degrees: float
    mean_change_voxels: float
    class_number: int = 1


@dataclass(frozen=True)
class Average:
    """An average and how good it is.

    Parameters
    ----------
    map
        Shape (N, N, N): all particles, each shell weighted by its signal-to-noise as the halves' correlation gives it
        (Wiener); nothing is sharpened. Of several classes, that of the largest.
    half_maps
        Shape (2, N, N, N), least squares, in one frame, not filtered.
    fsc
        Correlation of the half maps (N // 2 + 1,); with a mask, within it and less what the mask adds.
    fsc_unmasked
        Without the mask.
    resolution_angstrom
        Where it falls below 0.143; infinity where noise would do as well.
    particles
        The particles with their poses on the map, scores, half sets and classes.
    history
        One entry an iteration.
    starts
        The steps towards the first maps, those of both halves or of all particles in turn.
    notes
        What a user should know of how it came out, in sentences.
    classes
        One average a class, if there are several.
    mask
        Mask (N, N, N) that ``fsc`` was taken within, None without one.
    symmetry
        What was found of it before it was imposed; None where it was not looked for.
    shared_shells
        Highest shell of a map that both halves started from; 0 where they have nothing in common.
    reproduced
        How many poses were found again on the map of the other half; None at given poses.
    """

    map: Volume
    half_maps: Volumes
    fsc: Tensor
    fsc_unmasked: Tensor
    resolution_angstrom: float
    particles: Particles
    history: tuple[Iteration, ...]
    starts: tuple[StartStep, ...] = ()
    notes: tuple[str, ...] = ()
    classes: tuple[Average, ...] = ()
    mask: Volume | None = None
    symmetry: Symmetry | None = None
    shared_shells: int = 0
    reproduced: Reproduced | None = None


OnIteration = Callable[[Iteration, Particles, Tensor], None]
"""Called after each iteration with what it did, the particles so far, and their half maps (2, N, N, N)."""
OnStart = Callable[[str, StartStep], None]
"""Called after each step towards first maps, with whose they are ("half 1", "all particles") and what it reached."""
