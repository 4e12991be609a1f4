"""Consistency of both directions: the pose of b on a is the inverse of that of a on b.

It needs no truth, and no volume: whatever a network says of a pair, it should say of the pair the other way round.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gumnet.types import Rotations, Vectors

_SHIFT_UNIT = 0.25
"""In boxes: a shift that is off by so much counts as a rotation that is off by 2 radians, were it that small; so a
hundredth of a box counts about as much as 4 degrees, as in `gumnet.model.judge.residual_loss`."""


def inverse_poses(rotations: Rotations, shifts: Vectors) -> tuple[Rotations, Vectors]:
    """Return the poses of a on b, ``x_a = R^T x_b - R^T t``, of those of b on a, (..., 3, 3) and (..., 3)."""
    back = rotations.mT
    return back, -(back @ shifts[..., None])[..., 0]


def consistency_loss(
    rotations: Rotations, shifts: Vectors, rotations_back: Rotations, shifts_back: Vectors, box: int
) -> Tensor:
    """Return how far one after the other is from no motion at all, (...): 0 for exact inverses, whatever they are.

    There and back is a turn by some angle w and a shift by d: the loss is ``(1 - cos w) / 2``, which is
    ``|R' R - 1|^2 / 8`` and between 0 and 1, and ``(|d| / (N / 4))^2``. Of a there-and-back from a and from b, which
    turn alike and differ in d where w is not 0, the mean.

    Parameters
    ----------
    rotations, shifts
        Poses of b on a, ``x_b = R x_a + t``, (..., 3, 3) and (..., 3), voxels.
    rotations_back, shifts_back
        Poses of a on b, the same.
    box
        N.
    """
    turned = (rotations_back @ rotations - torch.eye(3, device=rotations.device, dtype=rotations.dtype)).square()
    from_a = (rotations_back @ shifts[..., None])[..., 0] + shifts_back
    from_b = (rotations @ shifts_back[..., None])[..., 0] + shifts
    moved = (from_a.square().sum(-1) + from_b.square().sum(-1)) / (2 * (_SHIFT_UNIT * box) ** 2)
    return turned.sum(dim=(-2, -1)) / 8 + moved
