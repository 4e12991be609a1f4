"""What of a map particles are aligned to: its density, without the noise about it.

What noise a map has outside its structure correlates with the noise of every particle that is aligned to it, and turns
it off; density that is cut off is lost. A sphere of one size does both wrong: one of a third of the box cuts the rim of
a ribosome in a box of 32 voxels of 12 A, and holds three times the volume of a polymerase. A mask found from the map
leaves 7 to 9 % of particles at a signal-to-noise ratio of 0.05 wrong where that sphere leaves 10 % (docs/design.md).
"""

from __future__ import annotations

from torch import Tensor

from gumnet.averaging.mask import soft_sphere, without_corners
from gumnet.resolution.auto_mask import automatic_mask
from gumnet.types import Volume

_WIDEST, _EDGE = 0.4, 0.1
"""In boxes: beyond lies what a shifted particle has lost over the faces of its box."""
_NEIGHBOURS = 1 / 3
"""In boxes: pieces of density whose middle is further out are neighbours."""


def reference_mask(reference: Volume) -> Volume | None:
    """Return a soft mask (N, N, N) about the density of a map, float32, on the CPU.

    None, which stands for the soft sphere of `gumnet.alignment.score.default_mask`, where no density stands clear of
    the noise.

    Parameters
    ----------
    reference
        Shape (N, N, N), not masked, white on black or black on white.
    """
    reference = without_corners(reference.float().cpu())
    box = reference.shape[-1]
    found = automatic_mask(reference * _sign(reference), within=_NEIGHBOURS * box)
    return None if found.is_sphere else found.mask * widest_mask(box)


def widest_mask(box: int) -> Volume:
    """Return the widest soft sphere (N, N, N) that particles are compared in: most of a box, but for its faces."""
    return soft_sphere(box, _WIDEST * box, _EDGE * box)


def _sign(reference: Tensor) -> float:
    """Return 1 where the density of a map is higher than what is about it, -1 where it is lower."""
    values, few = reference.flatten(), max(1, reference.numel() // 100)
    middle = values.median()
    above, below = values.topk(few).values.mean() - middle, middle - values.topk(few, largest=False).values.mean()
    return 1.0 if float(above) >= float(below) else -1.0
