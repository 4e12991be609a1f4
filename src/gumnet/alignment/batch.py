"""How many particles to align at a time."""

from __future__ import annotations

import torch

from gumnet.alignment.aligner import AlignerOptions
from gumnet.alignment.exhaustive import CANDIDATES
from gumnet.alignment.refine import FULL_BAND_CANDIDATES
from gumnet.errors import InputError

_BUDGET_BYTES = {"cpu": 400_000_000, "cuda": 4_000_000_000}
_MOST = 64


def batch_size_for(
    options: AlignerOptions, box: int, device: torch.device, *, shared_reference: bool, wanted: int | None = None
) -> int:
    """Return how many particles a batch holds so that refinement, the hungriest step, stays within memory.

    Parameters
    ----------
    shared_reference
        Whether all particles share one reference; otherwise each brings a spectrum of its own.
    wanted
        What the caller asked for, which goes first.
    """
    if wanted is not None:
        if wanted < 1:
            raise InputError(f"a batch_size of {wanted} is not possible", cure="give 1 or more, or None")
        return wanted
    shells = options.max_shell(box)
    # Half a ball of coefficients for the last candidates, and the low band for all, each with six derivatives: complex,
    # and about four copies on the way to the normal equations.
    coefficients = FULL_BAND_CANDIDATES * (2 / 3 * torch.pi * shells**3) + CANDIDATES * 1000
    each = coefficients * 6 * 8 * 4
    if not shared_reference:
        # Eight real channels on a grid twice as fine, and one more copy while they are made.
        each += 2 * 8 * 4 * (4 * shells + 5) ** 3
    return int(max(1, min(_MOST, _BUDGET_BYTES[device.type] // each)))
