"""Graphs of pairs whose poses are known: some edges right to a given error, the others anything."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gumnet.averaging.pair_graph import PairGraph, random_pairs
from gumnet.geometry.so3 import random_rotations, rotation_from_vector
from gumnet.particles import Poses


def known_graph(
    count: int,
    share: float,
    *,
    degrees: float = 0.0,
    voxels: float = 0.0,
    classes: Tensor | None = None,
    generator: torch.Generator,
) -> tuple[PairGraph, Poses, Tensor]:
    """Return a graph of degree 16, the poses that its right edges are of, and which edges these are.

    Errors of right edges are normal, root mean square ``degrees`` and ``voxels``. Edges between classes are all wrong.
    """
    true = Poses.of(
        random_rotations(count, generator=generator), 4 * torch.rand(count, 3, generator=generator).double() - 2
    )
    edges = random_pairs(count, 8, generator=generator)
    m = len(edges)
    right = torch.rand(m, generator=generator) < share
    if classes is not None:
        right &= classes[edges[:, 0]] == classes[edges[:, 1]]
    relative = true[edges[:, 1]].compose(true[edges[:, 0]].inverse())
    turn = rotation_from_vector(torch.randn(m, 3, generator=generator).double() * math.radians(degrees) / math.sqrt(3))
    shifts = relative.shifts + torch.randn(m, 3, generator=generator).double() * voxels / math.sqrt(3)
    anything = random_rotations(m, generator=generator), 10 * torch.rand(m, 3, generator=generator).double() - 5
    rotations = torch.where(right[:, None, None], turn @ relative.rotations, anything[0])
    shifts = torch.where(right[:, None], shifts, anything[1])
    return PairGraph(count, edges, Poses.of(rotations, shifts)), true, right
