"""Views of real particles for training by contrast: even and odd tilts, put together in frames of one's own choice.

Even and odd tilts of a particle hold the same density with independent noise. Each half is back-projected into a frame
that is turned at random, so that the relative rotation is known, the noise is nowhere interpolated, and the missing
wedges of the two lie apart, as those of two particles do. A copy of one volume, turned, would share its noise, and
teach a filter to match noise.
"""

from __future__ import annotations

import copy
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
    """Draws pairs of views of particles with tilt stacks.

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

    def only(self, number: int) -> TiltViewSource:
        """Return the source of views of one of the particles."""
        alone = copy.copy(self)
        alone._rows = [self._rows[number]]
        return alone

    def draw(self, groups: int, views: int, generator: torch.Generator) -> Views:
        """Return views (groups * views), each group of one particle: one of each half, or one alone.

        In place of the volume without noise each has the other half in its frame, of which it can foretell nothing but
        the signal (Lehtinen et al., Noise2Noise, ICML 2018).
        """
        if views > len(HALVES):
            raise InputError(f"{views} views of one particle would share noise", cure="set views to 2")
        n = groups * views
        chosen = torch.randint(len(self._rows), (groups,), generator=generator).repeat_interleave(views)
        rows = [self._rows[int(i)] for i in chosen]
        rotations = random_rotations(n, generator=generator, dtype=torch.float64)
        first = torch.randint(2, (groups,), generator=generator).repeat_interleave(views)
        half = (first + torch.arange(n) % views) % 2
        made = [
            self._stacks.turned([row], rotation[None], tilts=HALVES[which])
            for row, rotation, other in zip(rows, rotations, half.tolist(), strict=True)
            for which in (other, 1 - other)
        ]
        volumes, transfer = self._ready([volume for volume, _ in made], [weights for _, weights in made])
        return Views(volumes[0::2], transfer[0::2], rotations.float(), volumes[1::2])

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
