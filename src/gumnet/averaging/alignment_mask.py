"""What of an average particles are aligned to: its density, without the noise about it.

What noise an average has outside its particle correlates with the noise of every particle that is aligned to it, and
turns it off. Each fold is aligned behind a soft mask found from the very average that it is aligned to, which holds
none of its particles, and nothing of the other half.
"""

from __future__ import annotations

from gumnet.alignment.score import default_mask
from gumnet.averaging.mask import without_corners
from gumnet.resolution.auto_mask import automatic_mask
from gumnet.types import Volume


def alignment_mask(average: Volume) -> Volume | None:
    """Return a soft mask (N, N, N) about the density of an average, float32, on the CPU.

    Never wider than the soft sphere of `default_mask`, beyond which neighbours lie. None, which stands for that
    sphere, where no density stands clear of the noise.

    Parameters
    ----------
    average
        Shape (N, N, N), not masked.
    """
    found = automatic_mask(without_corners(average).float().cpu())
    return None if found.is_sphere else found.mask * default_mask(average.shape[-1])
