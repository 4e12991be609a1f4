"""Search near poses that are known already: a cone about an axis, a range of turns about it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from gumnet.errors import InputError
from gumnet.geometry.so3 import rotation_from_vector
from gumnet.types import Mask, Rotations

_MARGIN_DEGREES = 1e-3


@dataclass(frozen=True)
class Near:
    """How far the rotation of a particle may be from its prior.

    The reference's z axis, seen in the particle, may tilt by ``cone_degrees`` from where the prior has it; about that
    axis the particle may turn by ``in_plane_degrees`` either way. For a membrane protein or a filament along z, a cone
    of 30 and 180 in plane keep the direction that the picking knew and find the turn that it did not.

    Parameters
    ----------
    cone_degrees
        From 0 to 180.
    in_plane_degrees
        From 0 to 180.
    """

    cone_degrees: float = 180.0
    in_plane_degrees: float = 180.0

    def __post_init__(self) -> None:
        for name, value in (("cone", self.cone_degrees), ("range in plane", self.in_plane_degrees)):
            if not 0 <= value <= 180:
                raise InputError(f"a {name} of {value} degrees is not possible", cure="give 0 to 180 degrees")

    def allows(self, relative: Rotations) -> Mask:
        """Return which rotations (..., 3, 3), as ``R_prior^-1 R``, lie within the range."""
        tilt = torch.rad2deg(torch.acos(relative[..., 2, 2].clamp(-1, 1)))
        # The turn about z of the rotation split into that and a tilt about an axis in the plane (swing and twist).
        twist = torch.atan2(relative[..., 1, 0] - relative[..., 0, 1], relative[..., 0, 0] + relative[..., 1, 1])
        turn = torch.rad2deg(twist).abs()
        return (tilt <= self.cone_degrees + _MARGIN_DEGREES) & (turn <= self.in_plane_degrees + _MARGIN_DEGREES)

    def grid(self, spacing_degrees: float) -> Rotations:
        """Return rotations (r, 3, 3) over the range, the identity first, neighbours at most about the spacing apart.

        Rings of tilts about the axis, closer together the nearer they are to it, times turns about the axis.
        """
        spacing = math.radians(spacing_degrees)
        tilts = [(0.0, 0.0)]
        for tilt in _steps(math.radians(self.cone_degrees), spacing)[1:]:
            count = max(1, math.ceil(2 * math.pi * math.sin(tilt) / spacing))
            tilts += [(tilt, 2 * math.pi * i / count) for i in range(count)]
        turns = [0.0]
        for turn in _steps(math.radians(self.in_plane_degrees), spacing)[1:]:
            turns += [turn] if math.isclose(turn, math.pi) else [turn, -turn]
        swings = torch.tensor(
            [(t * math.cos(azimuth), t * math.sin(azimuth), 0.0) for t, azimuth in tilts], dtype=torch.float64
        )
        twists = torch.tensor([(0.0, 0.0, turn) for turn in turns], dtype=torch.float64)
        return (rotation_from_vector(swings)[:, None] @ rotation_from_vector(twists)[None]).reshape(-1, 3, 3)


def _steps(reach: float, spacing: float) -> list[float]:
    """Return angles from 0 to ``reach``, both in, evenly at most ``spacing`` apart."""
    count = math.ceil(reach / spacing - 1e-9)
    return [reach * i / max(1, count) for i in range(count + 1)]
