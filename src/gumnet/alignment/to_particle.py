"""Particles aligned to one of their own set: a reference that is as noisy as they are, and misses as much."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gumnet.alignment.aligner import Aligner
from gumnet.alignment.checks import checked_volumes
from gumnet.particles import Particles, Poses
from gumnet.progress import Progress
from gumnet.types import Volumes, Weights


def observed(particles: Particles, rows: Sequence[int], device: torch.device | str) -> tuple[Volumes, Weights | None]:
    """Return volumes and Fourier weights of some particles, checked, on a device."""
    names = tuple(particles.names[i] for i in rows)
    volumes = checked_volumes(particles.read_volumes(rows), "volume of", names=names).to(device)
    weights = particles.read_weights(rows)
    return volumes, None if weights is None else weights.to(device)


def align_to_particle(
    particles: Particles,
    i: int,
    others: Sequence[int],
    aligner: Aligner,
    *,
    size: int,
    device: torch.device | str,
    near_poses: bool = False,
    display: Progress,
) -> Poses:
    """Return the poses of n others on particle ``i``, the reference that all of them share, so that it is turned once.

    Parameters
    ----------
    others
        Rows of the n.
    aligner
        The method, ready on ``device``. Both particles of a pair come with their Fourier weights.
    size
        Most particles at a time.
    near_poses
        Whether they start from the poses that the particles have: ``x_j = R_j R_i' (x_i - t_i) + t_j``.
    display
        Counts the pairs.
    """
    reference, weights_reference = observed(particles, [i], device)
    parts = []
    for start in range(0, len(others), size):
        rows = list(others[start : start + size])
        volumes, weights = observed(particles, rows, device)
        prior = None
        if near_poses:
            prior = particles.poses[rows].compose(particles.poses[[i] * len(rows)].inverse())
        parts.append(aligner.align(reference, volumes, weights_reference, weights, prior))
        display.advance(len(rows))
    return Poses.concatenate(parts)
