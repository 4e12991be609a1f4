"""Views of real particles for training by contrast: even and odd tilts, put together apart.

Even and odd tilts of a particle hold the same density with independent noise, in a known relative pose. A copy of one
volume, turned, would share its noise, and teach a filter to match noise. What the two halves must not be told by is
their wedges, which lie alike in them as in no two particles: so each is compared with the halves of other particles in
the frame of their tilts, where all wedges lie alike (`gumnet.training.contrast.crossed_loss`). The frame is turned at
random in every step, so that nothing is learned of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gumnet.alignment.score import whiten
from gumnet.alignment.spectrum import transfer_of
from gumnet.errors import InputError
from gumnet.geometry.fourier import resize
from gumnet.geometry.so3 import random_rotations
from gumnet.io.tilt_stack import TiltStackVolumes
from gumnet.model.matched_filter import crop_half
from gumnet.particles import Particles, SubsetSource
from gumnet.training.contrast_data import Views
from gumnet.types import Volumes, Weights

HALVES = (slice(0, None, 2), slice(1, None, 2))
"""Even and odd tilts, in the order of the stack."""
_TINY = 1e-30


class TiltViewSource:
    """Draws both halves of particles with tilt stacks.

    Parameters
    ----------
    particles
        With 2D tilt stacks.
    rows
        Those to draw from.
    grid
        The working grid M of the filter.

    Raises
    ------
    InputError
        If the particles are volumes: whose noise is in one piece.
    """

    def __init__(self, particles: Particles, rows: Tensor, grid: int) -> None:
        stacks, index = stacks_of(particles)
        self._stacks, self._grid = stacks, grid
        self._rows = [index[int(row)] for row in rows]

    def __len__(self) -> int:
        return len(self._rows)

    def draw(self, count: int, generator: torch.Generator) -> Views:
        """Return the even halves of different particles, at most ``count``, and after them their odd halves.

        In place of the volume without noise each has its other half, of which it can foretell nothing but the signal
        (Lehtinen et al., Noise2Noise, ICML 2018).
        """
        return self.of(torch.randperm(len(self), generator=generator)[:count], generator)

    def of(self, numbers: Tensor, generator: torch.Generator) -> Views:
        """Return the even halves of particles of this source, and after them their odd halves."""
        rows = [self._rows[int(i)] for i in numbers]
        frame = random_rotations(1, generator=generator, dtype=torch.float64)
        frames = frame.expand(len(rows), 3, 3)
        made = [self._stacks.turned(rows, frames, tilts=tilts) for tilts in HALVES]
        volumes, transfer = self._ready([v for v, _ in made], [w for _, w in made])
        return Views(volumes, transfer, frame.float().expand(len(volumes), 3, 3), volumes.roll(len(rows), 0))

    def _ready(self, volumes: Sequence[Volumes], weights: Sequence[Weights]) -> tuple[Volumes, Weights]:
        """Return volumes and transfer on the working grid, as `gumnet.alignment.score` makes them ready."""
        transfer = transfer_of(torch.cat(list(weights)))
        assert transfer is not None
        small = resize(whiten(torch.cat(list(volumes)), transfer), self._grid)
        scale = small.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp_min(_TINY)
        return small / scale, crop_half(transfer, self._grid)


def stacks_of(particles: Particles) -> tuple[TiltStackVolumes, list[int]]:
    """Return the tilt stacks that particles are made of, and which of them each particle is.

    Raises
    ------
    InputError
        If they are volumes.
    """
    source, index = particles.volumes, list(range(len(particles)))
    while isinstance(source, SubsetSource):
        index = [int(source.indices[i]) for i in index]
        source = source.parent
    if not isinstance(source, TiltStackVolumes):
        raise InputError(
            "the particles are volumes, and the noise of a volume cannot be told from its signal without a second one: "
            "a turned copy has the same noise, which would teach a filter to match noise",
            cure="give particles with 2D tilt stacks, as RELION 5 and Warp write them, whose even and odd tilts have "
            "independent noise; or use the filter that ships with gumnet",
        )
    return source, index
