"""From matched features to a pose: Euler angles as in the paper, or a rotation without jumps."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from gumnet.geometry.rigid import matrix_from_euler, matrix_from_six
from gumnet.types import Rotations, Vectors

RotationHead = Literal["euler", "six"]

_SIX_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


class PoseHead(nn.Module):
    """Three dense layers without activation between them, then a pose (R, t) with ``x_b = R x_a + t``.

    The last layer's weights start at 0, so every pair starts at the identity.

    - "euler", the paper's: six sigmoids p. The angles ``u = p * 2 pi - pi`` are intrinsic ZYZ (capitals, as in scipy),
      ``R = Rz(u0) Ry(u1) Rz(u2)``. The authors' code samples with the transpose of this R; as all three angles have the
      same symmetric range, both reach the same rotations. Angles jump at the ends of their range, and the start is a
      pole: there the first and the third angle do the same thing.
    - "six": six numbers without bounds, made a rotation by Gram-Schmidt; continuous everywhere. They start at the first
      two columns of the identity, where the map is well conditioned.

    Shifts are ``(2 p - 1) N / 2`` voxels with p a sigmoid in both. They are the t of the pose, so they come after the
    rotation; the authors' code moves before it, by a vector of the same range.

    Parameters
    ----------
    size_in
        Numbers that come in.
    hidden
        Width of the first two layers.
    kind
        "euler" or "six".
    box
        N; it bounds the shifts.
    """

    def __init__(self, size_in: int, hidden: int, kind: RotationHead, box: int) -> None:
        super().__init__()
        self.kind = kind
        self.box = box
        self.rotation_size = 3 if kind == "euler" else 6
        self.first = nn.Linear(size_in, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, self.rotation_size + 3)

    def start_at_identity(self) -> None:
        """Set the last layer so that every input gives the identity."""
        with torch.no_grad():
            self.last.weight.zero_()
            self.last.bias.zero_()
            if self.kind == "six":
                self.last.bias[:6] = self.last.bias.new_tensor(_SIX_IDENTITY)

    def forward(self, matched: Tensor) -> tuple[Rotations, Vectors]:
        """Return rotations (n, 3, 3) and shifts (n, 3) in voxels of matched features (n, size_in)."""
        numbers: Tensor = self.last(self.second(self.first(matched)))
        with torch.autocast(numbers.device.type, enabled=False):
            numbers = numbers if numbers.dtype == torch.float64 else numbers.float()
            turning, moving = numbers[:, :-3], numbers[:, -3:]
            if self.kind == "euler":
                angles = torch.sigmoid(turning) * (2 * math.pi) - math.pi
                rotations = matrix_from_euler("ZYZ", angles, degrees=False)
            else:
                rotations = matrix_from_six(turning)
            shifts = (2 * torch.sigmoid(moving) - 1) * (self.box / 2)
        return rotations, shifts
