"""Where the axes of a point group may lie: frames tried over all rotations, and refined on all members at once.

A frame is a pose (Q, c) of the map on a reference in the setting of `gumnet.geometry.symmetry`: the member S of the
group is the turn ``Q S Q^T`` about the point c of the map.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from gumnet.alignment.band import Band
from gumnet.alignment.refine import linearise
from gumnet.alignment.score import Comparison
from gumnet.geometry.so3 import grid_size_for_spacing, rotation_from_vector, super_fibonacci
from gumnet.geometry.symmetry import PointGroup, point_group
from gumnet.symmetry.rotations import AllRotations
from gumnet.types import Rotations, Vectors

SPACING_DEGREES = 6.0
_APART_DEGREES = 12.0
"""Two frames nearer to each other than this are one."""
_MAX_STEP_DEGREES = 6.0
_ROWS = 1 << 16


def candidate_groups(max_fold: int) -> list[PointGroup]:
    """Return C2 ... Cn, D2 ... Dn, T, O and I."""
    names = [f"{kind}{fold}" for kind in "CD" for fold in range(2, max_fold + 1)]
    return [point_group(name) for name in (*names, "T", "O", "I")]


def likely_frames(values: AllRotations, group: PointGroup, count: int) -> Rotations:
    """Return the frames (k, 3, 3) in which the members agree best on the mean, ``count`` of them, well apart."""
    frames, rows = frame_grid(group), max(1, _ROWS // group.order)
    members = group.rotations[1:]
    means = torch.cat(
        [values.at(some[:, None] @ members @ some.mT[:, None]).mean(dim=1) for some in torch.split(frames, rows)]
    )
    chosen: list[int] = []
    left = means.clone()
    for _ in range(count):
        best = int(left.argmax())
        chosen.append(best)
        left[_distance_degrees(group, frames, frames[best]) < _APART_DEGREES] = -torch.inf
    return frames[chosen]


@lru_cache(maxsize=64)
def _grid(name: str) -> Rotations:
    group = point_group(name)
    if name[0] == "C":
        # A turn about z changes nothing: one frame an axis, on half of the sphere.
        count = math.ceil(2 * math.pi / math.radians(SPACING_DEGREES) ** 2)
        height = (torch.arange(count, dtype=torch.float64) + 0.5) / count
        azimuth = torch.arange(count, dtype=torch.float64) * (math.pi * (3 - math.sqrt(5)))
        tilt = torch.acos(height)
        return rotation_from_vector(
            torch.stack([-tilt * azimuth.sin(), tilt * azimuth.cos(), torch.zeros_like(tilt)], dim=-1)
        )
    grid = super_fibonacci(grid_size_for_spacing(SPACING_DEGREES))
    return grid[group.in_asymmetric_unit(grid)]


def frame_grid(group: PointGroup) -> Rotations:
    """Return frames (n, 3, 3) of which one is near any that a group may have."""
    return _grid(group.name)


def refined_frame(
    comparison: Comparison, group: PointGroup, frame: Rotations, centre: Vectors, *, shells: int, steps: int
) -> tuple[Rotations, Vectors]:
    """Return a frame (3, 3) and the point (3,) it is about, moved to where the members agree best.

    Steps of Gauss and Newton, damped, on all members at once: a turn w of the frame turns the member R by
    ``(R^T - 1) w`` in the map's frame, and moving the centre by d moves it by ``(1 - R) d``. What leaves all members as
    they are, as a turn about the axis of a cyclic group, is not moved.
    """
    shells = min(shells, (comparison.box - 1) // 2)
    band = Band.up_to(comparison.box, shells)
    data, turned = comparison.within(band), comparison.turned_reference(band.shells, gradient=True)
    frame, centre = frame.double(), centre.double()
    damping, before = 1e-2, -math.inf
    normal, right = torch.zeros(6, 6, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
    best = frame, centre
    for _ in range(steps + 1):
        rotations = frame @ group.rotations[1:] @ frame.mT
        shifts = centre - rotations @ centre
        linear = linearise(turned, data, rotations[None].float(), shifts[None].float())
        score = float(linear.score.mean())
        if score > before:
            before, best, damping = score, (frame, centre), damping / 5
            jacobian = _jacobian(rotations, centre)
            # Each member in units of its own scale: together they are one sum of squares.
            scale = linear.scale[0].double().clamp_min(0) ** 2
            normal = torch.einsum("m,mai,mab,mbj->ij", scale, jacobian, linear.normal[0].double(), jacobian)
            right = torch.einsum("m,mai,ma->i", scale, jacobian, linear.right[0].double())
        else:
            damping *= 8
        diagonal = torch.diagonal(normal)
        damped = normal + torch.diag(diagonal * damping + 1e-6 * diagonal.max().clamp_min(1e-30))
        step = torch.linalg.solve(damped, right)
        turn = step[:3] * min(1.0, math.radians(_MAX_STEP_DEGREES) / max(1e-12, float(step[:3].norm())))
        frame, centre = rotation_from_vector(turn) @ best[0], best[1] + step[3:].clamp(-1, 1)
    return best


def _jacobian(rotations: Rotations, centre: Vectors) -> Tensor:
    """Return how the poses of members (m, 3, 3) move, (m, 6, 6), with a turn of the frame and a shift of the centre.

    A rotation vector in the map's frame and a shift, each by the same of the frame.
    """
    x, y, z = centre.tolist()
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)
    turning = rotations.mT - eye
    jacobian = torch.zeros(len(rotations), 6, 6, dtype=torch.float64)
    jacobian[:, :3, :3] = turning
    jacobian[:, 3:, :3] = rotations @ cross @ turning
    jacobian[:, 3:, 3:] = eye - rotations
    return jacobian


def _distance_degrees(group: PointGroup, frames: Rotations, other: Rotations) -> Tensor:
    """Return how far frames (n, 3, 3) are from another, (n,), in degrees; for cyclic groups how far their axes are."""
    if group.name[0] == "C":
        cosines = (frames[:, :, 2] @ other[:, 2]).abs().clamp(max=1)
        return torch.rad2deg(torch.acos(cosines))
    return group.distance_degrees(frames, other)
