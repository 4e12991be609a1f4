"""Half maps of a known structure, and of noise alone."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from gumnet.simulation.phantom import phantom


def noise(n: int, box: int, generator: torch.Generator) -> Tensor:
    """Return n volumes of independent white noise of deviation 1, float64."""
    return torch.randn(n, box, box, box, generator=generator, dtype=torch.float64)


@cache
def _structure(box: int) -> Tensor:
    return phantom(3, box).double()


def noisy_phantom(box: int, deviation: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return a phantom (N, N, N) of height 1, and it twice (2, N, N, N) with white noise."""
    structure = _structure(box).clone()
    return structure, structure + deviation * noise(2, box, generator)
