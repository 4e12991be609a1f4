"""The map that padded sums say: least squares, with the map zero outside its box.

Particles i say ``w_i(k) M(R_i^-1 k) + noise`` of a map M, so the sum over their coefficients of
``|data - w M|^2 / w`` is least where ``A M = b``: b the inserted data, taken to real space and cut to the box, A the
same for the inserted weights times the spectrum of M. Dividing data by weights point by point solves this only where
weights change slowly; where they do not, conjugate gradients do (Fessler et al., IEEE Trans. Signal Process. 53, 3393,
2005, do the same for magnetic resonance). A is kept positive, so that the steps cannot run away, and few of them
regularise what few particles observed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gumnet.averaging.insertion import PADDING, InsertionGrid, kernel_transform
from gumnet.geometry.fourier import embed, frequencies, shell_indices, shell_sums, spread_shells, to_fourier, to_real
from gumnet.types import Spectra, Volume, Weights, centre

LEAST_OBSERVED = 0.1
"""Below this share of their shell's mean weight, coefficients are damped and no longer divided by their full weight."""
UNOBSERVED = 1e-2
"""Below this share of their shell's mean weight, coefficients count as not observed at all."""

_STEPS = 10
"""Conjugate gradients at most; even weights take 3 to 6."""
_CONVERGED = 1e-6
"""Share of the first residual, squared, at which the steps end."""
_ROUNDS = 3
"""Of restoring local sums after negative weights were set to 0."""
_TINY = 1e-30


def shell_means(weights: Weights) -> Tensor:
    """Return the mean weight of each shell, (N // 2 + 1,)."""
    box = weights.shape[-2]
    return shell_sums(weights, box) / shell_sums(torch.ones_like(weights), box)


def shell_level(weights: Weights) -> Weights:
    """Return the mean weight of each coefficient's shell, (N, N, N // 2 + 1), 0 beyond the last whole one."""
    return spread_shells(shell_means(weights), weights.shape[-2])


def denominator(weights: Weights, level: Weights) -> tuple[Weights, Tensor]:
    """Return what data of these weights are divided by, and where they observed anything."""
    return torch.maximum(weights, LEAST_OBSERVED * level), (level > 0) & (weights > UNOBSERVED * level)


def solve(grid: InsertionGrid, sums: Tensor, *, single: bool = False) -> tuple[Spectra, Weights]:
    """Return sums of insertion as those of a box.

    Parameters
    ----------
    sums
        From `InsertionGrid.insert`, (3, *shape).
    single
        Whether a single particle was inserted.

    Returns
    -------
    tuple
        Weights, the inserted ones gathered to the coefficients of the box, and ``map * denominator(weights)``, the
        spectrum that these weights and the least-squares map belong to; both (N, N, N // 2 + 1).
    """
    box = grid.box
    data, padded_weights = grid.folded(sums)
    correction, held = _correction(box, box, sums), _correction(box, box / 2, sums)
    weights = _at_coefficients(_local_sums(_real(padded_weights) / held))
    # What the kernel carries beyond the last shell is too little to divide by.
    weights = weights * (shell_indices(box, device=sums.device) <= grid.shells)
    # Shells of all weights count alike: what strong ones leave at the edges of the box would drown weak ones.
    even = _between_shells(shell_means(weights), PADDING * box)
    right = embed(to_real(data * even, PADDING * box) / correction, box)
    balanced = _real(padded_weights * even)
    inside = _at_coefficients(_local_sums(balanced / held)) * (weights > 0)
    # Far from the centre the aliases of a single particle are as strong as anything, so nothing is raised there.
    lags = _correction(box, 0, sums) if single else held
    system = _Normal(_positive(balanced / lags), inside)
    total, observed = denominator(weights, shell_level(weights))
    return to_fourier(system.solve(right)) * total * observed, weights


class _Normal:
    """The normal equations of a box, ``A M = b``."""

    def __init__(self, padded: Tensor, weights: Weights) -> None:
        self.box = weights.shape[-2]
        self.padded = padded
        level = shell_level(weights)
        self.total, self.observed = denominator(weights, level)
        self.ridge = self.total - weights
        self.inverse = torch.where(self.observed, 1 / torch.where(self.observed, self.total, 1.0), 0.0)

    def apply(self, volume: Volume) -> Volume:
        """Return A M; weakly observed coefficients are held towards 0."""
        size = PADDING * self.box
        full = to_real(to_fourier(embed(volume, size)) * self.padded, size)
        return embed(full, self.box) + to_real(to_fourier(volume) * self.ridge, self.box)

    def condition(self, volume: Volume) -> Volume:
        """Return the solution if weights changed slowly: the spectrum over the weights."""
        return to_real(to_fourier(volume) * self.inverse, self.box)

    def solve(self, right: Volume) -> Volume:
        """Return M by preconditioned conjugate gradients from 0."""
        found, residual = torch.zeros_like(right), right
        step = conditioned = self.condition(residual)
        size = first = float((residual * conditioned).sum())
        for _ in range(_STEPS):
            if size <= _CONVERGED * first:
                break
            applied = self.apply(step)
            length = size / float((step * applied).sum())
            found, residual = found + length * step, residual - length * applied
            conditioned = self.condition(residual)
            before, size = size, float((residual * conditioned).sum())
            step = conditioned + (size / before) * step
        return found


def _correction(box: int, reach: float, like: Tensor) -> Tensor:
    """Return what the kernel multiplies a padded real-space box by, over its eight points a coefficient.

    Held from ``reach`` voxels on along each axis: of weights, less than their aliases lies further out than half a box.
    """
    size = PADDING * box
    axis = torch.arange(size, device=like.device, dtype=like.dtype) - centre(size)
    curve = kernel_transform(axis.clamp(-reach, reach) / size).to(like) / PADDING
    return curve[:, None, None] * curve[:, None] * curve


def _between_shells(means: Tensor, size: int) -> Tensor:
    """Return one over the means of shells (s + 1,) at the points of a padded grid (P, P, P // 2 + 1).

    Linear between shells: a step would tell apart points that share a coefficient. 0 where a shell has no weights, and
    beyond the last one.
    """
    radius = frequencies(size, device=means.device, dtype=means.dtype).norm(dim=-1) * (size / PADDING)
    within = radius <= len(means) - 0.5
    radius = radius.clamp(max=len(means) - 1)
    below = radius.long()
    above = (below + 1).clamp(max=len(means) - 1)
    level = torch.lerp(means[below], means[above], radius - below)
    seen = within & (level > 0)
    return torch.where(seen, 1 / torch.where(seen, level, 1.0), 0.0)


def _real(weights: Weights) -> Tensor:
    """Return the real-space form (P, P, P) of weights (P, P, P // 2 + 1)."""
    return to_real(torch.complex(weights, torch.zeros_like(weights)), weights.shape[-2])


def _local_sums(transform: Tensor) -> Weights:
    """Return at each point of a padded grid the weights at it, those of its neighbours halved on each axis.

    Parameters
    ----------
    transform
        The real-space form of the weights, (P, P, P).
    """
    size = transform.shape[-1]
    axis = torch.arange(size, device=transform.device, dtype=transform.dtype) - centre(size)
    window = (1 + torch.cos(2 * math.pi * axis / size)) / PADDING
    return to_fourier(transform * window[:, None, None] * window[:, None] * window).real.clamp_min(0)


def _at_coefficients(points: Tensor) -> Tensor:
    return points[::PADDING, ::PADDING, ::PADDING].contiguous()


def _positive(transform: Tensor) -> Weights:
    """Return weights of 0 or more on the padded grid with about the local sums of those of a real-space form.

    Undoing the kernel leaves some points below 0, with which the equations would not be positive any more.
    """
    weights, wanted = to_fourier(transform).real.clamp_min(0), _local_sums(transform)
    for _ in range(_ROUNDS):
        weights = weights * (wanted / _local_sums(_real(weights)).clamp_min(_TINY)).clamp(0, 1.5)
    return weights
