"""Two half sets of a particle set, which never meet while they are aligned."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gumnet.devices import seeded
from gumnet.errors import InputError
from gumnet.particles import UNASSIGNED, Particles


def assign_half_sets(particles: Particles, seed: int) -> Particles:
    """Return the particles, each in half set 1 or 2.

    Half sets that the table gives stay. The other particles are dealt out at random so that the halves come out as
    equal as they can; the same seed deals the same way.
    """
    n = len(particles)
    if n < 2:
        words = "1 particle" if n == 1 else f"{n} particles"
        raise InputError(f"{words} cannot make two half sets", cure="give at least two particles")
    half_sets = particles.half_sets.clone()
    if bool(((half_sets < 0) | (half_sets > 2)).any()):
        raise InputError("half sets (rlnRandomSubset) other than 1 and 2", cure="use 1 and 2, or leave the column out")
    free = torch.nonzero(half_sets == UNASSIGNED)[:, 0]
    free = free[torch.randperm(len(free), generator=seeded(seed))]
    # The smaller half is filled up first, then they take turns.
    ahead = int((half_sets == 1).sum() - (half_sets == 2).sum())
    first = 2 if ahead > 0 else 1
    fill, turns = free[: abs(ahead)], free[abs(ahead) :]
    half_sets[fill] = first
    half_sets[turns[0::2]], half_sets[turns[1::2]] = 1, 2
    for half in (1, 2):
        if not bool((half_sets == half).any()):
            raise InputError(
                f"half set {half} is empty: rlnRandomSubset puts all {n} particles into one",
                cure="leave the column out or give both halves particles",
            )
    return replace(particles, half_sets=half_sets)


def rows_of_half(particles: Particles, half: int) -> Tensor:
    """Return the row numbers (k,) of the particles in half set ``half``, 1 or 2."""
    return torch.nonzero(particles.half_sets == half)[:, 0]
