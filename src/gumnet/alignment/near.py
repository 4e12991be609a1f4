"""Search near poses that are known already: a cone about an axis, a range of turns about it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from gumnet.errors import InputError
from gumnet.geometry.so3 import rotation_from_vector
from gumnet.types import Mask, Rotations

_MARGIN_DEGREES = 1e-3
_UPSIDE_DOWN = 1e-6
_ACROSS = 1e-12


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

    @property
    def reach_degrees(self) -> float:
        """Largest angle between a rotation within the range and its prior, or more."""
        return min(180.0, self.cone_degrees + self.in_plane_degrees)

    def allows(self, relative: Rotations) -> Mask:
        """Return which rotations (..., 3, 3), as ``R_prior^-1 R``, lie within the range."""
        # Not acos, which float32 takes a fiftieth of a degree away from 0.
        z = relative[..., 2, 2]
        tilt = torch.rad2deg(torch.atan2(torch.hypot(relative[..., 0, 2], relative[..., 1, 2]), z))
        # The turn about z of the rotation split into that and a tilt about an axis in the plane (swing and twist).
        twist = torch.atan2(relative[..., 1, 0] - relative[..., 0, 1], relative[..., 0, 0] + relative[..., 1, 1])
        # Upside down any turn is another axis of the tilt.
        turn = torch.where(z > -1 + _UPSIDE_DOWN, torch.rad2deg(twist).abs(), 0.0)
        return (tilt <= self.cone_degrees + _MARGIN_DEGREES) & (turn <= self.in_plane_degrees + _MARGIN_DEGREES)

    def clamped(self, relative: Rotations) -> Rotations:
        """Return rotations (..., 3, 3), as ``R_prior^-1 R``, with tilt and turn cut to the range where they leave it.

        So that a step of refinement that leaves the range goes along its edge instead of nowhere.
        """
        x, y, z = relative[..., :, 2].unbind(-1)
        across = torch.hypot(x, y)
        # The swing is about z cross R z, by the angle between the two.
        tilt = torch.atan2(across, z)
        kept = tilt.clamp(max=math.radians(self.cone_degrees)) / across.clamp_min(_ACROSS)
        twist = torch.atan2(relative[..., 1, 0] - relative[..., 0, 1], relative[..., 0, 0] + relative[..., 1, 1])
        reach = math.radians(self.in_plane_degrees)
        zero = torch.zeros_like(tilt)
        swings = rotation_from_vector(torch.stack([-y * kept, x * kept, zero], dim=-1))
        return swings @ rotation_from_vector(torch.stack([zero, zero, twist.clamp(-reach, reach)], dim=-1))

    def grid(self, spacing_degrees: float) -> Rotations:
        """Return rotations (r, 3, 3) over the range, the identity first, neighbours at most about the spacing apart.

        Rings of tilts, times turns about the axis. A step by an azimuth of a along the ring of tilt t is a rotation by
        ``2 sin(t / 2) a``; the part of it that is a turn about the axis, which leaves ``sin(t) a``, comes free where
        the grid holds all turns.
        """
        spacing = math.radians(spacing_degrees)
        tilts = [(0.0, 0.0)]
        for tilt in _steps(math.radians(self.cone_degrees), spacing)[1:]:
            radius = math.sin(tilt) if self.in_plane_degrees == 180 else 2 * math.sin(tilt / 2)
            count = max(1, math.ceil(2 * math.pi * radius / spacing))
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
