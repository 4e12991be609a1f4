"""Views of real particles for training by contrast: two volumes of each with independent noise.

Even and odd tilts of a particle, or its volumes in the tomograms that were made of either, hold the same density with
independent noise, in a known relative pose. A copy of one volume, turned, would share its noise, and teach a filter to
match noise. What the two halves must not be told by is their wedges, which lie alike in them as in no two particles: so
each is compared with the halves of other particles in the frame of their tilts, where all wedges lie alike
(`gumnet.training.contrast.crossed_loss`). The frame is turned at random in every step, so that nothing is learned of
the grid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from gumnet.alignment.score import whiten
from gumnet.alignment.spectrum import transfer_of
from gumnet.errors import InputError
from gumnet.geometry.fourier import resize
from gumnet.model.matched_filter import crop_half
from gumnet.training.contrast_data import Views
from gumnet.types import Rotations, Volumes, Weights

_TINY = 1e-30


def no_second_volume() -> InputError:
    """Return why volumes alone cannot be trained on."""
    return InputError(
        "the particles are volumes, and the noise of a volume cannot be told from its signal without a second one: "
        "a turned copy has the same noise, which would teach a filter to match noise",
        cure="give particles with 2D tilt stacks, as RELION 5 and Warp write them, whose even and odd tilts have "
        "independent noise; or the same particles out of both half tomograms (--other); or use the filter that ships "
        "with gumnet",
    )


class HalfSource(ABC):
    """Draws both halves of particles.

    Parameters
    ----------
    rows
        What each of them is called where it is read.
    grid
        The working grid M of the filter.
    """

    def __init__(self, rows: Sequence[int], grid: int) -> None:
        self._rows, self._grid = rows, grid

    def __len__(self) -> int:
        return len(self._rows)

    @abstractmethod
    def _halves(
        self, rows: list[int], generator: torch.Generator
    ) -> tuple[Rotations, tuple[Volumes, Volumes], tuple[Weights, Weights]]:
        """Return the frame (3, 3) that particles of some rows are turned to, and volumes and weights of the halves.

        What is at x in a volume as it was read is at R x in these.
        """

    def draw(self, count: int, generator: torch.Generator) -> Views:
        """Return the even halves of different particles, at most ``count``, and after them their odd halves.

        In place of the volume without noise each has its other half, of which it can foretell nothing but the signal
        (Lehtinen et al., Noise2Noise, ICML 2018).
        """
        return self.of(torch.randperm(len(self), generator=generator)[:count], generator)

    def of(self, numbers: Tensor, generator: torch.Generator) -> Views:
        """Return the even halves of particles of this source, and after them their odd halves."""
        frame, volumes, weights = self._halves([self._rows[int(i)] for i in numbers], generator)
        small, transfer = self._ready(volumes, weights)
        return Views(small, transfer, frame.float().expand(len(small), 3, 3), small.roll(len(numbers), 0))

    def _ready(self, volumes: Sequence[Volumes], weights: Sequence[Weights]) -> tuple[Volumes, Weights]:
        """Return volumes and transfer on the working grid, as `gumnet.alignment.score` makes them ready."""
        transfer = transfer_of(torch.cat(list(weights)))
        assert transfer is not None
        small = resize(whiten(torch.cat(list(volumes)), transfer), self._grid)
        scale = small.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp_min(_TINY)
        return small / scale, crop_half(transfer, self._grid)
