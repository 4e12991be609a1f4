"""Scores of a grid of rotations, with all shifts at once by FFT, and the best of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.alignment.band import Band
from gumnet.alignment.score import BandData, Candidates, Comparison, norms
from gumnet.types import Rotations, Vectors

_CHUNK_VALUES = {"cpu": 200_000, "cuda": 20_000_000}
"""How many correlations are held at once: on a CPU so many that they stay in its cache (twice as fast as 4 million
are), on a GPU so many that they keep it busy."""


def search(
    comparison: Comparison,
    rotations: Rotations,
    *,
    shells: int,
    max_shift: float,
    candidates: int,
    separation_degrees: float,
) -> Candidates:
    """Score a grid of rotations at all shifts and return the best, distinct in rotation.

    Against one shared reference a rotated reference is made once and compared with every particle; otherwise each
    particle has its own.

    Parameters
    ----------
    rotations
        Shape (r, 3, 3), the same for all particles.
    shells
        Highest shell that is used.
    max_shift
        Largest shift along each axis, in voxels.
    candidates
        How many poses a particle are wanted.
    separation_degrees
        Least angle between two of them.
    """
    device = comparison.reference.device
    band = Band.up_to(comparison.box, shells, device)
    data = comparison.within(band)
    turned = comparison.turned_reference(band.shells)
    plane = _ShiftPlane.of(band, max_shift, device)
    chunk = max(1, _CHUNK_VALUES[device.type] // plane.box**3)
    rotations = rotations.to(device=device, dtype=torch.float32)
    scores = torch.empty(len(comparison), len(rotations), device=device)
    best = torch.empty(len(comparison), len(rotations), dtype=torch.int64, device=device)
    for start in range(0, len(rotations), chunk):
        part = slice(start, start + chunk)
        if len(turned.fine) == 1:
            values, transfer = turned.read(rotations[None, part], band)
            for i in range(len(comparison)):
                scores[i, part], best[i, part] = _best_shifts(values[:, 0], transfer, data[i : i + 1], plane)
        else:
            for i in range(len(comparison)):
                values, transfer = turned[i : i + 1].read(rotations[None, part], band)
                scores[i, part], best[i, part] = _best_shifts(values[:, 0], transfer, data[i : i + 1], plane)
    return _distinct(rotations, plane.shifts, scores, best, candidates, separation_degrees)


@dataclass(frozen=True)
class _ShiftPlane:
    """Where the coefficients of a band lie in a small half transform, and which of its shifts are allowed."""

    box: int
    places: Tensor
    mates: Tensor
    rows: Tensor
    allowed: Tensor
    shifts: Vectors

    @classmethod
    def of(cls, band: Band, max_shift: float, device: torch.device) -> _ShiftPlane:
        """Return the layout: just over two samples a period of the highest shell."""
        box = _fast_size(2 * band.shells + 2)
        x, y, z = band.index.unbind(-1)
        half = box // 2 + 1
        places = ((z % box) * box + y % box) * half + x
        # The plane kx = 0 is its own mirror image: the inverse transform wants both of each pair.
        rows = torch.nonzero(x == 0)[:, 0]
        mates = (((-z[rows]) % box) * box + (-y[rows]) % box) * half
        step = band.box / box
        axis = torch.fft.fftfreq(box, 1 / box, device=device) * step
        zs, ys, xs = torch.meshgrid(axis, axis, axis, indexing="ij")
        shifts = torch.stack([xs, ys, zs], dim=-1).reshape(-1, 3)
        allowed = torch.nonzero((shifts.abs() <= max_shift + step / 2).all(dim=-1))[:, 0]
        return cls(box, places, mates, rows, allowed, shifts[allowed].clamp(-max_shift, max_shift))


def _fast_size(least: int) -> int:
    """Return the smallest even size from ``least`` on that has no prime factor above 5."""
    size = least + least % 2
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 2


def _best_shifts(values: Tensor, transfer: Tensor | None, data: BandData, plane: _ShiftPlane) -> tuple[Tensor, Tensor]:
    """Return the best score and the index of its shift, (r,) each, of one particle at r rotations (1, r, M)."""
    product = values[0] * data.matched
    if transfer is not None:
        product = product * transfer[0]
    # The numerator at t is Re sum P exp(-2 pi i k t): the inverse transform of conj(P).
    count = len(product)
    small = product.new_zeros(count, plane.box * plane.box * (plane.box // 2 + 1))
    small[:, plane.places] = product.conj()
    small[:, plane.mates] = product[:, plane.rows]
    correlation = torch.fft.irfftn(
        small.reshape(count, plane.box, plane.box, -1), s=(plane.box,) * 3, dim=(-3, -2, -1), norm="forward"
    )
    top, index = correlation.reshape(count, -1)[:, plane.allowed].max(dim=1)
    # The inverse transform counts both of each Friedel pair, the norms one.
    return top / 2 / norms(values, transfer, data)[0], index


def _distinct(
    rotations: Rotations, shifts: Vectors, scores: Tensor, best: Tensor, candidates: int, separation_degrees: float
) -> Candidates:
    """Return the best poses of each particle, taken one by one, each time striking out the rotations near it."""
    left = scores.clone()
    least_trace = 1 + 2 * torch.cos(torch.deg2rad(torch.tensor(separation_degrees)))
    rows = torch.arange(len(scores), device=scores.device)
    chosen = []
    for _ in range(min(candidates, len(rotations))):
        index = left.argmax(dim=1)
        chosen.append(index)
        trace = torch.einsum("nij,rij->nr", rotations[index], rotations)
        left = left.masked_fill(trace > least_trace.to(trace), -torch.inf)
    picked = torch.stack(chosen, dim=1)
    return Candidates(rotations[picked], shifts[best[rows[:, None], picked]], scores[rows[:, None], picked])
