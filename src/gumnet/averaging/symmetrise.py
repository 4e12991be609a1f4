"""Sums put on another reference, or on all equivalent ones of a symmetric structure.

The map that sums say is read at turned frequencies off its padded spectrum, which loses nothing of what lies in the
box, and then multiplied by the weights turned in the same way: both stay what one particle of the turned reference
would have. So a symmetric average is weighted like any other, and needs no copies of the particles.
"""

from __future__ import annotations

import math

import torch

from gumnet.averaging.accumulate import Accumulator
from gumnet.averaging.insertion import InsertionGrid, samples
from gumnet.averaging.sums import BoxSums
from gumnet.geometry.symmetry import PointGroup
from gumnet.geometry.wedge import rotate_weights
from gumnet.particles import Poses


def symmetrise(sums: Accumulator | BoxSums, group: PointGroup) -> BoxSums:
    """Return the mean of sums over all members of a point group about the centre.

    The mean and not the sum: weights and count stay those of the particles. The noise is less than they say, by up to
    the order of the group; the correlation of half maps shows by how much.
    """
    shifts = torch.zeros(group.order, 3, dtype=torch.float64)
    return move(sums, Poses.of(group.rotations, shifts))


@torch.no_grad()
def move(sums: Accumulator | BoxSums, poses: Poses) -> BoxSums:
    """Return the mean of sums put on other references.

    Parameters
    ----------
    poses
        p poses of the sums, taken as one particle, on their new reference: what was at ``R x + t`` comes to x.
    """
    reduced = sums.solved() if isinstance(sums, Accumulator) else sums
    box, weights = reduced.box, reduced.weights
    taken = samples(box, weights.device, weights.dtype)
    grid = InsertionGrid(box)
    values = grid.unfolded(reduced.estimate())
    spectrum, summed = torch.zeros_like(reduced.spectrum).flatten(), torch.zeros_like(weights).flatten()
    rotations, shifts = poses.rotations.to(weights), poses.shifts.to(weights)
    for rotation, shift in zip(rotations, shifts, strict=True):
        # The map at R x + t has the spectrum exp(2 pi i (R k).t) M(R k).
        at = taken.vectors @ rotation.mT
        read, phases = grid.read(values, at), 2 * math.pi * (at @ shift)
        turned = taken.take(rotate_weights(weights[None], rotation[None]))[0]
        spectrum[taken.index] += read * turned * torch.polar(torch.ones_like(phases), phases)
        summed[taken.index] += turned
    count = len(poses)
    shape = weights.shape
    return BoxSums(box, spectrum.view(shape) / count, summed.view(shape) / count, reduced.count)
