"""Halves of particles that are volumes: out of two tomograms of one tilt series, of its even and of its odd tilts or
frames (`gumnet.training.half_views`).

Both must be cut out at one place and in one orientation, that of the tomogram. They are turned by the 24 turns of a
cube alone, which interpolate nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.alignment.rotation_grid import cube_turns
from gumnet.errors import InputError
from gumnet.geometry.fourier import resize
from gumnet.geometry.warp import voxel_coordinates, warp
from gumnet.geometry.wedge import rotate_weights
from gumnet.particles import Particles
from gumnet.training.half_views import HalfSource
from gumnet.types import Rotations, Volumes, Weights

_LOOKED_AT = 16
"""Particles whose noise is compared."""
_SHARED = 0.5
"""Correlation of the noise of two halves from which on it is the same: that of one half and of the whole is 0.7."""
_TINY = 1e-30


@dataclass(frozen=True)
class HalfParticles:
    """The same n particles twice, with independent noise.

    Parameters
    ----------
    one, other
        In one order.

    Raises
    ------
    InputError
        If they differ in number, box or voxel size, or share their noise.
    """

    one: Particles
    other: Particles

    def __post_init__(self) -> None:
        def told(particles: Particles) -> str:
            size = f"{particles.box} voxels of {particles.voxel_size_angstrom:.4g} A"
            return f"{len(particles)} particles in boxes of {size}"

        if told(self.one) != told(self.other):
            raise InputError(
                f"the halves are {told(self.one)} and {told(self.other)}",
                cure="cut the same particles, in the same order and box, out of both half tomograms",
            )
        shared = shared_noise(self.one, self.other)
        if shared > _SHARED:
            raise InputError(
                f"the two volumes of a particle share their noise: it correlates by {shared:.2f}, which would teach a "
                "filter to match noise",
                cure="give particles out of two tomograms, one of the even and one of the odd tilts or frames",
            )


class VolumeViewSource(HalfSource):
    """Draws both halves of particles that are volumes.

    Parameters
    ----------
    halves
        The particles.
    rows
        Those to draw from.
    grid
        The working grid M of the filter.
    """

    def __init__(self, halves: HalfParticles, rows: Tensor, grid: int) -> None:
        super().__init__(rows.tolist(), grid)
        self._parts = halves.one, halves.other

    def _halves(
        self, rows: list[int], generator: torch.Generator
    ) -> tuple[Rotations, tuple[Volumes, Volumes], tuple[Weights, Weights]]:
        frame = cube_turns()[int(torch.randint(24, (), generator=generator))]
        back = frame.mT.float().expand(len(rows), 3, 3)
        still = torch.zeros(len(rows), 3)
        volumes = [warp(part.read_volumes(rows), back, still) for part in self._parts]
        weights = [rotate_weights(_weights(part, rows), back) for part in self._parts]
        return frame, (volumes[0], volumes[1]), (weights[0], weights[1])


def shared_noise(one: Particles, other: Particles) -> float:
    """Return how the noise of two halves correlates: the median over some particles, 0 where it is independent.

    Of what lies in the corners of the boxes, beyond the sphere that fits in them, and above half of the Nyquist
    frequency. There is least of a particle and of its neighbours.
    """
    rows = list(range(min(_LOOKED_AT, len(one))))
    box = one.box
    outside = voxel_coordinates(box).norm(dim=-1) > box / 2

    def noise(particles: Particles) -> Tensor:
        volumes = particles.read_volumes(rows)
        rough = volumes - resize(resize(volumes, box // 2), box)
        corners = rough[:, outside]
        return corners - corners.mean(dim=1, keepdim=True)

    a, b = noise(one), noise(other)
    below = (a.square().sum(dim=1) * b.square().sum(dim=1)).clamp_min(_TINY).sqrt()
    return float(((a * b).sum(dim=1) / below).median())


def _weights(particles: Particles, rows: list[int]) -> Weights:
    found = particles.read_weights(rows)
    box = particles.box
    return torch.ones(len(rows), box, box, box // 2 + 1) if found is None else found
