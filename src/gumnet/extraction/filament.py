"""Places and orientations along filaments, from points that were picked on them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.geometry.rigid import matrix_from_relion, relion_from_matrix
from gumnet.geometry.so3 import rotation_from_vector
from gumnet.io.picks import Picks
from gumnet.io.relion_pose_table import COORDINATES, HALF_SET, MICROGRAPH, TUBE
from gumnet.io.relion_poses import ANGLES
from gumnet.io.tomogram_volume import Tomogram
from gumnet.io.tomograms import NAME
from gumnet.types import Rotations, Vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

TRACK, FLIP = "rlnHelicalTrackLengthAngst", "rlnAnglePsiFlipRatio"
PRIORS = ("rlnAngleTiltPrior", "rlnAnglePsiPrior")
_FINE = 200
"""Points between two that were picked, at which the length of the curve is summed."""


@dataclass(frozen=True)
class FilamentConfig:
    """How to follow filaments.

    Parameters
    ----------
    step_angstrom
        Distance between particles along the filament.
    twist_degrees
        How far each particle is turned about the filament from the one before, right-handed; see `frames`.
    random_in_plane
        Turn each one about the filament at random instead.
    """

    step_angstrom: float
    twist_degrees: float = 0.0
    random_in_plane: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.step_angstrom) and self.step_angstrom > 0):
            raise InputError(f"a step of {self.step_angstrom} Angstrom is not possible", cure="give one above 0")
        if not math.isfinite(self.twist_degrees):
            raise InputError(f"a twist of {self.twist_degrees} degrees is not possible", cure="give a number")


def resample(points: Vectors, step: float) -> tuple[Vectors, Vectors, Tensor]:
    """Return places (n, 3) at even steps along a curve through points (k, 3), directions (n, 3) and lengths (n,).

    The curve is a natural cubic spline over the chord lengths: a straight line through two points. It starts at the
    first point; the last place is at most a step before the last point.

    Raises
    ------
    InputError
        If there are fewer than two points that differ.
    """
    chords = (points[1:] - points[:-1]).norm(dim=-1)
    kept = torch.cat([torch.ones(1, dtype=torch.bool), chords > 0])
    points, chords = points[kept], chords[chords > 0]
    if len(points) < 2:
        raise InputError("a filament needs two points or more that differ", cure="add points to it, or leave it out")
    knots = torch.cat([torch.zeros(1, dtype=torch.float64), chords.cumsum(0)])
    bends = _second_derivatives(knots, points)
    fine = torch.cat([torch.linspace(0, 1, _FINE + 1, dtype=torch.float64)[:-1] + i for i in range(len(chords))])
    fine = torch.cat([fine, torch.tensor([float(len(chords))], dtype=torch.float64)])
    places, _ = _spline(fine, knots, points, bends)
    lengths = torch.cat(
        [torch.zeros(1, dtype=torch.float64), (places[1:] - places[:-1]).norm(dim=-1).cumsum(0)],
    )
    # The guard keeps a last place that rounding would lose.
    along = torch.arange(math.floor(float(lengths[-1]) / step + 1e-9) + 1, dtype=torch.float64) * step
    where = torch.from_numpy(np.interp(along.numpy(), lengths.numpy(), fine.numpy()))
    found, slopes = _spline(where, knots, points, bends)
    return found, torch.nn.functional.normalize(slopes, dim=-1), along


def _second_derivatives(knots: Tensor, points: Vectors) -> Vectors:
    """Return the second derivatives (k, 3) at the knots of the natural cubic spline: those at the ends are 0."""
    k = len(points)
    bends = torch.zeros_like(points)
    if k > 2:
        h = knots[1:] - knots[:-1]
        slopes = (points[1:] - points[:-1]) / h[:, None]
        matrix = torch.diag(2 * (h[:-1] + h[1:])) + torch.diag(h[1:-1], 1) + torch.diag(h[1:-1], -1)
        bends[1:-1] = torch.linalg.solve(matrix, 6 * (slopes[1:] - slopes[:-1]))
    return bends


def _spline(where: Tensor, knots: Tensor, points: Vectors, bends: Vectors) -> tuple[Vectors, Vectors]:
    """Return values and slopes (n, 3) of the spline, at places (n,) in segments: 1.5 is midway in the second."""
    segment = where.floor().clamp(0, len(knots) - 2).long()
    h = (knots[segment + 1] - knots[segment])[:, None]
    b = (where - segment)[:, None]
    a = 1 - b
    first, last, m0, m1 = points[segment], points[segment + 1], bends[segment], bends[segment + 1]
    values = a * first + b * last + ((a**3 - a) * m0 + (b**3 - b) * m1) * h**2 / 6
    slopes = (last - first) / h + ((3 * b**2 - 1) * m1 - (3 * a**2 - 1) * m0) * h / 6
    return values, slopes


def frames(directions: Vectors, twist_degrees: float = 0.0) -> Rotations:
    """Return rotations (n, 3, 3) that take z to each direction (n, 3), with a turn that rises by ``twist_degrees``.

    From one to the next the frame takes the shortest way, so that a bend adds no turn of its own, and then turns about
    z of the reference by the twist: a helix of that twist a step looks the same in all of them. The first has rot 0 in
    RELION's angles.
    """
    x, y, z = directions[0].tolist()
    angles = [0.0, math.degrees(math.atan2(math.hypot(x, y), z)), math.degrees(math.atan2(y, -x))]
    turned = [matrix_from_relion(torch.tensor(angles, dtype=torch.float64))]
    for before, after in pairwise(directions):
        across = torch.linalg.cross(before, after)
        sine = float(across.norm())
        angle = math.atan2(sine, float(before @ after))
        turned.append(rotation_from_vector(across * (angle / sine)) @ turned[-1] if sine > 0 else turned[-1])
    return torch.stack(turned) @ about_z(torch.arange(len(directions), dtype=torch.float64) * twist_degrees)


def about_z(degrees: Tensor) -> Rotations:
    """Return rotations (n, 3, 3) about z by angles (n,)."""
    zero = torch.zeros_like(degrees)
    return rotation_from_vector(torch.stack([zero, zero, torch.deg2rad(degrees)], dim=-1))


def along_filaments(
    picks: Picks,
    tomograms: Sequence[Tomogram],
    config: FilamentConfig,
    *,
    generator: torch.Generator | None = None,
) -> Picks:
    """Return places at even steps along the filaments that points were picked on, oriented with z along them.

    Points of one tomogram and one rlnHelicalTubeID are one filament, in the order of the table; without that column all
    points of a tomogram are. The direction is that from the first point to the last: which end is which is for the
    picker to know, or for classes to find out.

    The table has rlnHelicalTubeID, rlnHelicalTrackLengthAngst, rlnAngleTiltPrior and PsiPrior, and rlnRandomSubset:
    neighbours overlap and share their noise, so whole filaments go to a half in turn. A single one is divided in the
    middle, where the boxes on both sides still overlap.

    Parameters
    ----------
    tomograms
        That of each point.

    Raises
    ------
    InputError
        If a filament has fewer than two points, or is shorter than a step.
    """
    import pandas as pd

    groups: dict[tuple[str | None, str], list[int]] = {}
    tubes = picks.filaments or ("1",) * len(picks)
    for row, key in enumerate(zip(picks.tomograms, tubes, strict=True)):
        groups.setdefault(key, []).append(row)
    parts: list[pd.DataFrame] = []
    places: list[Vectors] = []
    rotations: list[Rotations] = []
    names: list[str | None] = []
    for number, ((name, tube), rows) in enumerate(groups.items()):
        tomogram = tomograms[rows[0]]
        step = config.step_angstrom / tomogram.voxel_size_angstrom
        points = torch.stack([picks.voxels(row, tomogram) for row in rows])
        try:
            found, directions, along = resample(points, step)
        except InputError as error:
            where = f"filament {tube}" if name is None else f"filament {tube} of {name}"
            raise InputError(f"{where}: {error.problem}", cure=error.cure, path=picks.path) from None
        turned = frames(directions, config.twist_degrees)
        if config.random_in_plane:
            turned = turned @ about_z(360 * torch.rand(len(found), generator=generator, dtype=torch.float64))
        half = torch.full((len(found),), number % 2 + 1)
        if len(groups) == 1:
            half = (torch.arange(len(found)) >= (len(found) + 1) // 2).long() + 1
        parts.append(_table(picks, name, tube, found, turned, along * tomogram.voxel_size_angstrom, half))
        places.append(found)
        rotations.append(turned)
        names += [name] * len(found)
    joined = torch.cat(places)
    return replace(
        picks,
        coordinates=joined,
        rotations=torch.cat(rotations),
        offsets_angstrom=torch.zeros_like(joined),
        tomograms=tuple(names),
        voxel_sizes_angstrom=None,
        centred=False,
        # The optics groups that tell of the tilt series are not kept; the names that tell of Warp are.
        counted_in="images" if picks.counted_in == "images" else "tomogram",
        filaments=None,
        scores=None,
        confidences=None,
        spreads_degrees=None,
        table=pd.concat(parts, ignore_index=True),
        optics=None,
    )


def _table(
    picks: Picks, name: str | None, tube: str, places: Vectors, turned: Rotations, along: Tensor, half: Tensor
) -> pd.DataFrame:
    """Return the rows of one filament."""
    import pandas as pd

    named_by = MICROGRAPH if picks.table is not None and MICROGRAPH in picks.table.columns else NAME
    angles = relion_from_matrix(turned)
    columns: dict[str, object] = {} if name is None else {named_by: name}
    columns |= {column: places[:, i].numpy() for i, column in enumerate(COORDINATES)}
    columns |= {column: angles[:, i].numpy() for i, column in enumerate(ANGLES)}
    columns |= {column: angles[:, i + 1].numpy() for i, column in enumerate(PRIORS)}
    columns |= {TUBE: tube, TRACK: along.numpy(), FLIP: 0.5, HALF_SET: half.numpy()}
    return pd.DataFrame(columns, index=range(len(places)))
