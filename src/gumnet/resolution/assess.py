"""All that can be said about the resolution of two maps, in one call."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.averaging.fsc import GOLD_STANDARD_THRESHOLD, KNOWN_STRUCTURE_THRESHOLD, fsc
from gumnet.resolution.claim import claimed_resolution_angstrom, independent_fraction
from gumnet.resolution.conical import ConicalFsc, conical_fsc
from gumnet.resolution.phase_randomisation import CorrectedFsc, phase_randomisation
from gumnet.types import Volume, Volumes


@dataclass(frozen=True)
class Assessment:
    """What two maps say about their resolution.

    Parameters
    ----------
    curve
        Correlation, within the mask if there is one, (N // 2 + 1,), float64.
    threshold
        0.143 for half maps, 0.5 where one of them is the truth.
    resolution_angstrom
        Where ``curve`` falls below it; infinity where noise would do as well.
    corrected
        With what the mask adds taken off: for half maps with a mask.
    conical
        Direction by direction, where asked for.
    """

    curve: Tensor
    threshold: float
    resolution_angstrom: float
    corrected: CorrectedFsc | None
    conical: ConicalFsc | None


def assess(
    maps: Volumes,
    *,
    voxel_size_angstrom: float,
    generator: torch.Generator,
    mask: Volume | None = None,
    truth: bool = False,
    conical: bool = False,
) -> Assessment:
    """Return what two maps (2, N, N, N) say about their resolution.

    Parameters
    ----------
    generator
        Draws random phases, and what chance gives by direction.
    mask
        Shape (N, N, N), from 0 to 1.
    truth
        Whether the second map is a known structure without noise. Then a mask needs no correction: it cannot make
        noise agree with what has none.
    conical
        Whether to compare by direction too.
    """
    threshold = KNOWN_STRUCTURE_THRESHOLD if truth else GOLD_STANDARD_THRESHOLD
    curve = fsc(maps[0], maps[1], mask=mask).cpu()
    unmasked = None if mask is None else fsc(maps[0], maps[1]).cpu()
    resolution = claimed_resolution_angstrom(
        curve,
        voxel_size_angstrom,
        maps.shape[-1],
        threshold,
        fraction=independent_fraction(mask),
        unmasked=unmasked,
    )
    corrected = None
    if mask is not None and not truth:
        corrected = phase_randomisation(maps, mask, voxel_size_angstrom=voxel_size_angstrom, generator=generator)
    cones = None
    if conical:
        cones = conical_fsc(
            maps, voxel_size_angstrom=voxel_size_angstrom, generator=generator, mask=mask, threshold=threshold
        )
    return Assessment(curve, threshold, resolution, corrected, cones)
