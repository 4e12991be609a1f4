"""Rotations as Euler angles and as six numbers; rigid transformations compose in `gumnet.particles.Poses`."""

from __future__ import annotations

import math

import roma
import torch

from gumnet.types import Rotations, Vectors


def matrix_from_euler(convention: str, angles: Vectors, *, degrees: bool = True) -> Rotations:
    """Return rotation matrices (..., 3, 3) from Euler angles (..., 3).

    ``convention`` is as in scipy: capitals are intrinsic, small letters extrinsic. Differentiable.
    """
    matrices: Rotations = roma.euler_to_rotmat(convention, angles, degrees=degrees)
    return matrices


def euler_from_matrix(convention: str, rotations: Rotations, *, degrees: bool = True) -> Vectors:
    """Return Euler angles (..., 3) of rotation matrices (..., 3, 3); at the poles the third angle is put to zero."""
    quaternions = roma.rotmat_to_unitquat(rotations)
    angles: Vectors = roma.unitquat_to_euler(convention, quaternions, as_tuple=False, degrees=degrees)
    return angles


def matrix_from_relion(angles_degrees: Vectors) -> Rotations:
    """Return R (..., 3, 3), reference to particle, from RELION's (rot, tilt, psi) of shape (..., 3) in degrees.

    RELION's own matrix maps particle to reference, as ``from_euler('ZYZ', [rot, tilt, psi])`` does; R is its inverse.
    """
    return matrix_from_euler("ZYZ", angles_degrees).mT


def relion_from_matrix(rotations: Rotations) -> Vectors:
    """Return RELION's (rot, tilt, psi), shape (..., 3) in degrees, of R (..., 3, 3), reference to particle.

    Rot and psi from -180 to 180, tilt from 0 to 180. Exact to rounding everywhere: from the sum and the difference of
    rot and psi, of which one is lost at a pole only as far as it does not count there. At the poles psi is 0.
    """
    x, y, z, w = roma.rotmat_to_unitquat(rotations.mT).unbind(-1)
    sine, cosine = torch.hypot(x, y), torch.hypot(z, w)
    half_sum, half_difference = torch.atan2(z, w), torch.atan2(x, y)
    rounding = 16 * torch.finfo(rotations.dtype).eps
    half_difference = torch.where(sine < rounding, -half_sum, half_difference)
    half_sum = torch.where(cosine < rounding, -half_difference, half_sum)
    angles = torch.stack([half_sum - half_difference, 2 * torch.atan2(sine, cosine), half_sum + half_difference], -1)
    turns = torch.round(angles / (2 * math.pi)) * (2 * math.pi)
    return torch.rad2deg(angles - turns)


def matrix_from_six(six: torch.Tensor) -> Rotations:
    """Return rotation matrices (..., 3, 3) from six unbounded numbers (..., 6) by Gram-Schmidt.

    The first three numbers give the direction of the first column, the last three lie in the plane of the first two.
    The map is continuous everywhere on SO(3) (Zhou et al., CVPR 2019, section 4.2), which no three angles can be.
    """
    first = torch.nn.functional.normalize(six[..., :3], dim=-1)
    second = six[..., 3:] - (first * six[..., 3:]).sum(-1, keepdim=True) * first
    second = torch.nn.functional.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)
