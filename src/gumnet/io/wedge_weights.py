"""Missing wedges as Fourier weights, from the tilt ranges that tables hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.geometry.wedge import missing_wedge
from gumnet.io.pose_table import FTYPE
from gumnet.io.relion_table import numbers
from gumnet.particles import InMemory, SharedWeights, Source
from gumnet.types import Weights

if TYPE_CHECKING:
    import pandas as pd

_FULL, _ABOUT_Y = 0, 1
"""Values of Dynamo's ftype that are understood."""
Range = tuple[float, float]


@dataclass(frozen=True)
class WedgeWeights(InMemory):
    """Fourier weights (N, N, N // 2 + 1) of particles whose tilt ranges differ; each range is made once.

    Parameters
    ----------
    ranges
        Lowest and highest tilt of each particle in degrees.
    box
        N.
    """

    ranges: tuple[Range, ...]
    box: int
    _made: dict[Range, Weights] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.ranges)

    def read(self, indices: Sequence[int]) -> Weights:
        """Return the weights at ``indices``, (k, N, N, N // 2 + 1), float32."""
        return torch.stack([self._one(self.ranges[i]) for i in indices])

    def _one(self, tilts: Range) -> Weights:
        if tilts not in self._made:
            self._made[tilts] = wedge(self.box, tilts)
        return self._made[tilts]


def wedge(box: int, tilts: Range) -> Weights:
    """Return the binary weights (N, N, N // 2 + 1) of a tilt range in degrees; from -90 to 90 nothing is missing."""
    if tilts == (-90.0, 90.0):
        return torch.ones(box, box, box // 2 + 1)
    return missing_wedge(box, tilts[1], tilts[0])


def wedge_source(tilt_ranges: Tensor, box: int, extra: pd.DataFrame, path: Path) -> Source | None:
    """Return the weights of particles with tilt ranges (n, 2) in degrees; None where all of them are full.

    Parameters
    ----------
    extra
        Other columns of the table: Dynamo's ftype says where the range does not count.

    Raises
    ------
    InputError
        If a range is not possible, or Fourier space was sampled in a way that is not known here.
    """
    ranges = [(low, high) for low, high in tilt_ranges.tolist()]
    if FTYPE in extra.columns:
        kinds = numbers(extra, [FTYPE], path)[:, 0].tolist()
        for i, kind in enumerate(kinds):
            if kind not in (_FULL, _ABOUT_Y):
                raise InputError(
                    f"ftype is {kind:g} in row {i + 1}; only 0 (all) and 1 (tilts about y) are known here",
                    cure="give the range with --tilt-range, or the table with Fourier weights as RELION has it",
                    path=path,
                )
        ranges = [(-90.0, 90.0) if kind == _FULL else each for kind, each in zip(kinds, ranges, strict=True)]
    for i, (low, high) in enumerate(ranges):
        if not -90 <= low < high <= 90:
            raise InputError(
                f"tilts from {low:g} to {high:g} degrees in row {i + 1} are not possible",
                cure="mend the table, or give --tilt-range",
                path=path,
            )
    distinct = set(ranges)
    if len(distinct) > 1:
        return WedgeWeights(tuple(ranges), box)
    (only,) = distinct
    return None if only == (-90.0, 90.0) else SharedWeights(wedge(box, only), len(ranges))
