"""The agreement of two maps over all rotations at once: where to look for symmetries."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.alignment.fa import hartley
from gumnet.alignment.rotational_matching import correlate_rotations
from gumnet.alignment.shells import Masked, Shells, harmonics
from gumnet.symmetry.angular import AngularPart
from gumnet.types import Rotations

MOST_SHELLS = 8
"""Highest shell that takes part: a rotation a few degrees off is still on the peak of the right one."""


@dataclass(frozen=True)
class AllRotations:
    """The agreement of one map with another over all rotations about their centre.

    Parameters
    ----------
    values
        Shape (2 L, 2 L, 2 L) for the angles (alpha, gamma, beta) of ``Rz(alpha) Ry(beta) Rz(gamma)``, each in steps of
        ``pi / L``; in units of what a symmetry reaches.
    """

    values: Tensor

    @classmethod
    def of(cls, part: AngularPart) -> AllRotations:
        """Return the agreement of the first map with the second one, turned, by fast rotational matching."""
        most = min(MOST_SHELLS, part.shells)
        shells = Shells.of(Masked.of(part.volumes, None), most)
        coefficients = harmonics(hartley(shells.values))
        coefficients[:, :, 0] = 0  # what is left of the spherical average
        power = (shells.values.abs() ** 2).mean(dim=(-2, -1)).prod(dim=0).sqrt()
        weights = part.weights[1 : most + 1].to(power) / power.clamp_min(1e-30)
        first, second = coefficients
        values = correlate_rotations(second[None], first[None], weights)[0]
        found = cls(values)
        as_they_are = found.at(torch.eye(3, dtype=torch.float64)[None])[0].clamp_min(1e-30)
        return cls(values / (as_they_are * part.reach))

    def at(self, rotations: Rotations) -> Tensor:
        """Return the agreement (...) at rotations (..., 3, 3), linear between the angles."""
        size = self.values.shape[0]
        angles = _angles(rotations.reshape(-1, 3, 3)) * (size / (2 * math.pi))
        # One more on each side, so that every angle lies between two.
        wrapped = torch.nn.functional.pad(self.values[None, None], (1,) * 6, mode="circular")
        positions = (angles % size + 1) * (2 / (size + 1)) - 1
        read = torch.nn.functional.grid_sample(
            wrapped, positions[None, None, None].to(wrapped), mode="bilinear", align_corners=True
        )
        return read.reshape(rotations.shape[:-2])


def _angles(rotations: Rotations) -> Tensor:
    """Return (beta, gamma, alpha) of rotations (n, 3, 3), (n, 3), in radians: the last axis of the values first."""
    beta = torch.acos(rotations[:, 2, 2].clamp(-1, 1))
    alpha = torch.atan2(rotations[:, 1, 2], rotations[:, 0, 2])
    gamma = torch.atan2(rotations[:, 2, 1], -rotations[:, 2, 0])
    # At the poles only the sum or the difference counts.
    pole = torch.hypot(rotations[:, 2, 0], rotations[:, 2, 1]) < 1e-6
    alpha = torch.where(pole, torch.atan2(rotations[:, 1, 0], rotations[:, 1, 1]), alpha)
    return torch.stack([beta, torch.where(pole, 0.0, gamma), alpha], dim=-1)
