"""Point groups: which orientations of a symmetric reference are the same.

Settings are those of RELION and XMIPP, in coordinates (x, y, z), with phi = (1 + sqrt(5)) / 2:

=======  =====  ====================================================================================================
name     order  axes
=======  =====  ====================================================================================================
C<n>     n      n-fold along z
D<n>     2 n    n-fold along z, 2-fold along x
T        12     3-fold along z, 2-fold along (0, sqrt(2), 1)
O        24     4-fold along x, y and z, 3-fold along (1, 1, 1)
I1       60     2-fold along x, y and z, 5-fold along (0, 1, phi), in the yz plane: the setting of Heymann et al.
I2, I    60     2-fold along x, y and z, 5-fold along (1, 0, phi), in the xz plane: I1 turned by 90 degrees about z
I3       60     5-fold along z and (-2, 0, 1), 2-fold along y
I4       60     5-fold along z and (2, 0, 1), 2-fold along y: I3 turned by 180 degrees about z
=======  =====  ====================================================================================================

The common conventions of Heymann, Chagoyen and Belnap (J. Struct. Biol. 151, 196, 2005) agree for C, D, O and I1. Their
T has its 2-folds along x, y and z; RELION's does not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.geometry.so3 import angular_distance_degrees, rotation_from_vector
from gumnet.geometry.warp import warp
from gumnet.types import Mask, Rotations, Volume

_GOLDEN = (1 + math.sqrt(5)) / 2
_POLYHEDRAL: dict[str, tuple[tuple[int, tuple[float, float, float]], ...]] = {
    "T": ((3, (0, 0, 1)), (2, (0, math.sqrt(2), 1))),
    "O": ((4, (0, 0, 1)), (3, (1, 1, 1))),
    "I": ((2, (0, 0, 1)), (5, (1, 0, _GOLDEN))),
    "I1": ((2, (0, 0, 1)), (5, (0, 1, _GOLDEN))),
    "I2": ((2, (0, 0, 1)), (5, (1, 0, _GOLDEN))),
    "I3": ((5, (0, 0, 1)), (5, (-2, 0, 1))),
    "I4": ((5, (0, 0, 1)), (5, (2, 0, 1))),
}
_LARGEST_FOLD = 1000

_SAME = 1e-6
"""Matrices whose entries differ by less are one member; the closest of a 1000-fold axis differ by 6e-3."""

_ROWS = 1 << 15
_VOXELS = 1 << 22
_OVERSAMPLING = 2

# Splits rotations that are equally far from the identity. A general matrix, since an antisymmetric one (a small
# rotation) cannot split two half turns. Large against rounding in float32, small against any grid.
_TIE_BREAKER = 1e-5 * torch.cos(torch.arange(1, 10, dtype=torch.float64)).reshape(3, 3)
_ROUNDING = 1e-12


@dataclass(frozen=True)
class PointGroup:
    """A point group of m rotations S about the centre, which leave a symmetric reference as it is.

    A pose (R, t) maps the reference to the particle, so (R, t) and (R S, t) are the same pose of such a reference.
    Groups are equal when their names are.

    Parameters
    ----------
    name
        As `point_group` knows it, in capitals.
    rotations
        Shape (m, 3, 3), float64, the identity first.
    """

    name: str
    rotations: Rotations = field(repr=False, compare=False)

    @property
    def order(self) -> int:
        """Number m of rotations."""
        return len(self.rotations)

    def equivalents(self, rotations: Rotations) -> Rotations:
        """Return all equivalents R S, shape (..., m, 3, 3), of rotations (..., 3, 3), each R itself first."""
        return rotations[..., None, :, :] @ self.rotations.to(rotations)

    def in_asymmetric_unit(self, rotations: Rotations) -> Mask:
        """Return which of the rotations (n, 3, 3) lie in the asymmetric unit, shape (n,).

        The unit holds, of all equivalents of a rotation, the one nearest to the identity. Where several are equally
        near, a fixed direction decides: one of them is in, so a grid that is restricted to the unit loses no
        orientation and keeps a share of 1 / m.
        """
        preferred = torch.eye(3, dtype=torch.float64) + _TIE_BREAKER
        relative = rotations.double().mT @ preferred.to(rotations.device)
        inside = [scores[:, 0] >= scores.amax(dim=1) - _ROUNDING for scores in self._overlaps(relative)]
        return torch.cat(inside)

    def nearest(self, rotations: Rotations, to: Rotations) -> Rotations:
        """Return the equivalent of each rotation (..., 3, 3) that is nearest to another one, ``to`` (..., 3, 3).

        Shapes broadcast. The result has the type of ``rotations``.
        """
        relative = rotations.double().mT @ to.double()
        best = torch.cat([scores.argmax(dim=1) for scores in self._overlaps(relative)])
        members = self.rotations.to(rotations.device)[best.reshape(relative.shape[:-2])]
        return (rotations.double() @ members).to(rotations.dtype)

    def distance_degrees(self, first: Rotations, second: Rotations) -> Tensor:
        """Return the smallest angle (...) between equivalents of rotations (..., 3, 3), in degrees, in float64.

        Shapes broadcast.
        """
        first, second = first.double(), second.double()
        return angular_distance_degrees(self.nearest(first, second), second)

    def _overlaps(self, relative: Tensor) -> Iterator[Tensor]:
        """Yield ``trace((R S)^T X)`` for ``relative = R^T X`` (..., 3, 3), in chunks (k, m) of the flattened batch.

        It falls as the angle between R S and a rotation X grows, and equals ``trace(S^T (R^T X))``: one product of
        matrices, without the equivalents themselves.
        """
        rows, members = relative.reshape(-1, 9), self.rotations.to(relative.device).flatten(1)
        for start in range(0, max(1, len(rows)), _ROWS):
            yield rows[start : start + _ROWS] @ members.mT


def point_group(name: str) -> PointGroup:
    """Return the point group of a name such as "C1", "C7", "D2", "T", "O", "I" or "I1"; capitals do not matter.

    The axes are listed at the top of this module. "I" is "I2", as in RELION. Raises `InputError` for other names.
    """
    text = name.strip().upper()
    if text in _POLYHEDRAL:
        return PointGroup(text, _closure([_turn(fold, axis) for fold, axis in _POLYHEDRAL[text]]))
    match = re.fullmatch(r"([CD])([0-9]+)", text)
    fold = int(match[2]) if match else 0
    if match is None or not 1 <= fold <= _LARGEST_FOLD:
        raise InputError(
            f"there is no point group {name!r}",
            cure=f"give C<n> or D<n> with n from 1 to {_LARGEST_FOLD}, or one of {', '.join(_POLYHEDRAL)}",
        )
    generators = [_turn(fold, (0, 0, 1))]
    if match[1] == "D":
        generators.append(_turn(2, (1, 0, 0)))
    return PointGroup(f"{match[1]}{fold}", _closure(generators))


def symmetrised(volume: Volume, group: PointGroup) -> Volume:
    """Return the mean of the copies of a volume (N, N, N) turned about its centre by all members of a group.

    What a turn brings in from outside the box counts as zero.
    """
    total = torch.zeros_like(volume)
    chunk = max(1, _VOXELS // volume.numel())
    for start in range(0, group.order, chunk):
        members = group.rotations[start : start + chunk].to(volume.device)
        shifts = torch.zeros(len(members), 3, dtype=volume.dtype, device=volume.device)
        total += warp(volume[None], members, shifts, oversampling=_OVERSAMPLING).sum(dim=0)
    return total / group.order


def _turn(fold: int, axis: tuple[float, float, float]) -> Rotations:
    """Return the rotation (3, 3) by 360 / fold degrees about an axis of any length."""
    direction = torch.nn.functional.normalize(torch.tensor(axis, dtype=torch.float64), dim=0)
    return rotation_from_vector(direction * (2 * math.pi / fold))


def _closure(generators: list[Rotations]) -> Rotations:
    """Return the group (m, 3, 3) that rotations (3, 3) generate, the identity first."""
    group = torch.eye(3, dtype=torch.float64)[None]
    done = 0
    while done < len(group):
        for generator in generators:
            product = group[done] @ generator
            if float((group - product).abs().amax(dim=(1, 2)).min()) > _SAME:
                group = torch.cat([group, product[None]])
        done += 1
    return group
