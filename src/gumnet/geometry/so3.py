"""Sampling of rotations and distances between them."""

from __future__ import annotations

import math

import roma
import torch

from gumnet.types import Rotations, Vectors

# Constants of the super-Fibonacci spiral: sqrt(2), and the positive root of psi^4 = psi + 4.
_PHI = math.sqrt(2.0)
_PSI = 1.533751168755204288118041


def super_fibonacci(n: int, dtype: torch.dtype = torch.float64) -> Rotations:
    """Return n rotations (n, 3, 3) spread evenly over SO(3) (Alexa, CVPR 2022, algorithm 1)."""
    s = torch.arange(n, dtype=torch.float64) + 0.5
    r, big_r = torch.sqrt(s / n), torch.sqrt(1 - s / n)
    alpha, beta = 2 * math.pi * s / _PHI, 2 * math.pi * s / _PSI
    quaternions = torch.stack(
        [r * torch.sin(alpha), r * torch.cos(alpha), big_r * torch.sin(beta), big_r * torch.cos(beta)], dim=-1
    )
    matrices: Rotations = roma.unitquat_to_rotmat(quaternions)
    return matrices.to(dtype)


def grid_size_for_spacing(spacing_degrees: float) -> int:
    """Return how many super-Fibonacci rotations put neighbours about ``spacing_degrees`` apart.

    The volume of SO(3) in units of its rotation angle is 8 pi^2; each rotation gets a cube of side ``spacing``.
    """
    return max(1, math.ceil(8 * math.pi**2 / math.radians(spacing_degrees) ** 3))


def random_rotations(
    n: int, *, generator: torch.Generator | None = None, dtype: torch.dtype = torch.float64
) -> Rotations:
    """Return n rotations (n, 3, 3) drawn uniformly (Haar) from SO(3), on the generator's device, or on the CPU."""
    device = "cpu" if generator is None else generator.device
    quaternions = torch.randn(n, 4, dtype=torch.float64, generator=generator, device=device)
    matrices: Rotations = roma.unitquat_to_rotmat(torch.nn.functional.normalize(quaternions, dim=-1))
    return matrices.to(dtype)


def rotation_from_vector(vectors: Vectors) -> Rotations:
    """Return rotation matrices (..., 3, 3) from rotation vectors (..., 3) in radians; differentiable, also at zero."""
    matrices: Rotations = roma.rotvec_to_rotmat(vectors)
    return matrices


def angular_distance_degrees(first: Rotations, second: Rotations) -> torch.Tensor:
    """Return the angle (...) of the rotation between two sets of rotations (..., 3, 3), in degrees.

    From the chord ``|R1 - R2| = 2 sqrt(2) sin(angle / 2)``, which is exact for small angles where the trace is not.
    """
    chord = torch.linalg.matrix_norm(first - second)
    return torch.rad2deg(2 * torch.asin((chord / (2 * math.sqrt(2.0))).clamp(max=1.0)))


def mean_rotation(rotations: Rotations, weights: torch.Tensor | None = None) -> Rotations:
    """Return the chordal mean (3, 3) of rotations (n, 3, 3): the rotation nearest to their (weighted) sum."""
    if weights is not None:
        rotations = rotations * weights[:, None, None]
    mean: Rotations = roma.special_procrustes(rotations.sum(dim=0))
    return mean
