"""The common frame of two halves, and what finding it adds to their correlation.

Started apart, two halves come out turned and shifted against each other, and one is put on the other before they are
compared. That transformation is the best of many, so even halves that hold nothing in common agree a little in the
shells that it was found with. How much is measured: the same halves, the phases of one replaced by random ones, go
through the same fit. Their correlation is chance, and is taken off as phase randomisation takes off that of a mask
(Chen et al., Ultramicroscopy 135, 24, 2013).
"""

from __future__ import annotations

import torch
from torch import Tensor

from gumnet.alignment.aligner import AlignerOptions, make_aligner
from gumnet.averaging.fsc import fsc
from gumnet.averaging.mask import without_corners
from gumnet.averaging.sums import BoxSums
from gumnet.geometry.fourier import to_fourier, to_real
from gumnet.geometry.warp import warp
from gumnet.particles import Poses
from gumnet.types import Volume, Volumes, Weights

MOST_FRAME_SHELLS = 7
"""Highest shell that the frame is found with: the finer ones, where the resolution is read off, take no part."""
CHANCE_DRAWS = 3


def frame_shells(box: int) -> int:
    """Return the highest shell that the frame of a box is found with, at most half of its shells."""
    return max(1, min(MOST_FRAME_SHELLS, box // 4))


def as_particle(sums: BoxSums) -> tuple[Volume, Weights]:
    """Return sums as one more particle, ``weights * signal + noise``: its volume and its weights."""
    count = max(1.0, sums.count)
    return to_real(sums.spectrum / count, sums.box).float(), (sums.weights / count).float()


def fit_frame(first: BoxSums, second: BoxSums, *, near: bool) -> Poses:
    """Return the pose (1) of the map of ``second`` on that of ``first``.

    Parameters
    ----------
    near
        Whether both started from one map, so that the pose is near the identity and only refined from there.
    """
    (a, weights_a), (b, weights_b) = as_particle(first), as_particle(second)
    options = AlignerOptions(max_frequency=frame_shells(first.box) / first.box)
    aligner = make_aligner("exhaustive", options, first.weights.device)
    prior = Poses.identity(1) if near else None
    return aligner.align(a[None], b[None], weights_a[None], weights_b[None], prior).to("cpu", torch.float64)


def unrelated_maps(first: BoxSums, second: BoxSums, *, near: bool, generator: torch.Generator) -> Volumes:
    """Return maps (CHANCE_DRAWS, N, N, N) like that of ``second`` but for random phases, each put on ``first``'s."""
    maps = []
    for _ in range(CHANCE_DRAWS):
        noise = to_fourier(torch.randn((second.box,) * 3, dtype=torch.float64, generator=generator))
        phases = (noise / noise.abs().clamp_min(1e-30)).to(second.spectrum)
        unrelated = second.with_spectrum(second.spectrum.abs() * phases)
        pose = fit_frame(first, unrelated, near=near).to(dtype=torch.float32)
        ended = without_corners(unrelated.result())[None]  # as the half maps that they are compared with
        maps.append(warp(ended, pose.rotations, pose.shifts, oversampling=2)[0])
    return torch.stack(maps)


def agreement(half_maps: Volumes, unrelated: Volumes | None, mask: Volume | None = None) -> Tensor:
    """Return the Fourier shell correlation (N // 2 + 1,) of half maps (2, N, N, N), without what is chance.

    ``(F - C) / (1 - C)`` in the shells that the frame was found with, C the mean correlation of the first half with
    maps that are unrelated to it, put on it in the same way; F in the others, and where ``unrelated`` is None.
    """
    curve = fsc(half_maps[0], half_maps[1], mask=mask)
    if unrelated is None:
        return curve
    chance = fsc(half_maps[:1].expand_as(unrelated), unrelated, mask=mask).mean(dim=0).clamp(0, 0.99)
    fitted = torch.arange(len(curve)) <= frame_shells(half_maps.shape[-1])
    return torch.where(fitted, (curve - chance) / (1 - chance), curve)
