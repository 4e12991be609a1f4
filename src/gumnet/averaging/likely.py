"""Which rotations of a fine grid a particle may have, by its likelihoods on a coarse one in low shells.

A step in nine shells compares a particle with 10,800 turned maps, of which it is left with some hundreds once it has
been compared with 1,900 in five shells, for a thirtieth of the cost: adaptive oversampling, as in Tagare et al.,
J. Struct. Biol. 171, 256 (2010). What a particle is in low shells does not decide; it only leaves out what finer shells
would have to raise ten thousand times.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gumnet.alignment.grid_part import GridPart
from gumnet.averaging.compare import Compared, compare
from gumnet.averaging.low_band import LowBand
from gumnet.engine.threads import side_by_side
from gumnet.types import Labels, Rotations, Vectors

_LEAST_SHARE = 1e-4
"""Rotations of which none of the nearest ones of the coarse grid has this share of the most probable one's mass are
left out. In the first maps of 75 ribosomes (5T2C) at a signal-to-noise ratio of 0.1 a tenth of the rotations was left,
and 0.03 of the evidence lost in shell 7; steps took half the time. With 1e-6 a third was left, with 1e-3 particles on
clean phantoms lost 5 % of their posterior at 0.1 and 18 % at 0.05 (1e-4: 2.5 and 7 %; 40 of them).
By hand, 2026-11-27."""
_NEIGHBOURS = 8


def likely_rotations(
    data: LowBand,
    maps: Tensor,
    folds: Labels,
    rotations: Rotations,
    coarse: GridPart,
    shifts: Vectors,
    candidates: Tensor,
    centres: Vectors,
) -> Tensor:
    """Return which classes and rotations each particle may have, (n, K, r), boolean; one or more each.

    Parameters
    ----------
    data
        n particles in the low shells that decide.
    rotations, coarse
        Those that are asked about, (r, 3, 3), and the grid that particles are compared on.
    maps, folds, shifts, candidates, centres
        See `gumnet.averaging.compare.compare`; ``candidates`` of classes.
    """
    n, classes, turns = len(data), maps.shape[1], len(coarse)
    masses = torch.zeros(n, classes * turns)

    def of_fold(compared: tuple[int, Iterator[Compared]]) -> None:
        for part in compared[1]:
            mass = torch.softmax(part.scores.flatten(1), dim=1).view_as(part.scores).sum(dim=1)
            masses[part.rows[:, None], part.columns.cpu()] = mass.cpu()

    compared = compare(data, maps, folds, coarse, shifts, candidates, centres)
    side_by_side(of_fold, compared, len(maps))
    kept = (masses > _LEAST_SHARE * masses.amax(dim=1, keepdim=True)).view(n, classes, turns)
    # The trace of R' R^T: the larger the nearer.
    cosines = rotations.flatten(1).float() @ coarse.rotations.flatten(1).float().T
    likely = torch.zeros(n, classes, len(rotations), dtype=torch.bool)
    for near in cosines.topk(min(_NEIGHBOURS, turns), dim=1).indices.unbind(dim=1):
        likely |= kept[:, :, near]
    best = masses.argmax(dim=1)
    likely[torch.arange(n), best // turns, cosines.argmax(dim=0)[best % turns]] = True
    return likely
