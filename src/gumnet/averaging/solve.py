"""The map that padded sums say: least squares, with the map zero outside its box.

Particles i say ``w_i(k) M(R_i^-1 k) + noise`` of a map M, so the sum over their coefficients of
``|data - w M|^2 / w`` is least where ``A M = b``: b the inserted data, taken to real space and cut to the box, A the
same for the inserted weights times the spectrum of M. Dividing data by weights point by point solves this only where
weights change slowly; where they do not, conjugate gradients do (the reconstruction of Sutton, Noll and Fessler, IEEE
Trans. Med. Imaging 22, 178, 2003, has the same form). A is positive, so that the steps cannot run away, and few of them
regularise what few particles observed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gumnet.averaging.insertion import PADDING, InsertionGrid, kernel_transform
from gumnet.geometry.fourier import fast_size, shell_sums, spread_shells, to_fourier, to_real
from gumnet.types import Spectra, Volume, Weights, centre

LEAST_OBSERVED = 0.1
"""Below this share of their shell's mean weight, coefficients are damped and no longer divided by their full weight."""
UNOBSERVED = 1e-3
"""Below this share of their shell's mean weight, coefficients count as not observed at all."""

_STEPS = 10
_CONVERGED = 1e-6
"""Share of the first residual, squared, at which the steps end."""
_GUARD_SHELLS = 8


def shell_level(weights: Weights) -> Weights:
    """Return the mean weight of each coefficient's shell, (N, N, N // 2 + 1), 0 beyond the last whole one."""
    box = weights.shape[-2]
    return spread_shells(shell_sums(weights, box) / shell_sums(torch.ones_like(weights), box), box)


def denominator(weights: Weights, level: Weights) -> tuple[Weights, Tensor]:
    """Return what data of these weights are divided by, and where they observed anything."""
    return torch.maximum(weights, LEAST_OBSERVED * level), (level > 0) & (weights > UNOBSERVED * level)


def solve(grid: InsertionGrid, sums: Tensor) -> tuple[Spectra, Weights]:
    """Return sums of insertion as those of a box.

    Parameters
    ----------
    sums
        From `InsertionGrid.insert`, (3, *shape).

    Returns
    -------
    tuple
        Weights, the inserted ones gathered to the coefficients of the box, and ``map * denominator(weights)``, the
        spectrum that these weights and the least-squares map belong to; both (N, N, N // 2 + 1).
    """
    # Low shells alone are the whole of a smaller box over the same extent.
    box = min(grid.box, fast_size(2 * grid.shells + _GUARD_SHELLS))
    data, padded_weights = grid.folded(sums, box)
    correction, held = _corrections(box, sums)
    weights = _gathered(_real(padded_weights) / correction)
    # Shells of all weights count alike: what strong ones leave at the edges of the box would drown weak ones.
    level = shell_level(padded_weights)
    even = torch.where(level > 0, 1 / torch.where(level > 0, level, 1.0), 0.0)
    right = _crop(to_real(data * even, PADDING * box) / correction, box)
    balanced = _real(padded_weights * even)
    system = _Normal(to_fourier(balanced / held).real.clamp_min(0), _gathered(balanced / correction))
    total, observed = denominator(weights, shell_level(weights))
    spectrum = to_fourier(system.solve(right)) * total * observed
    return _enlarged(spectrum, grid.box), _enlarged(weights, grid.box)


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
        full = to_real(to_fourier(_pad(volume, size)) * self.padded, size)
        return _crop(full, self.box) + to_real(to_fourier(volume) * self.ridge, self.box)

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


def _corrections(box: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the kernel multiplies a padded real-space box by, over its eight points a coefficient.

    The second one is held from the edge of the box on: further out, where little is, it would raise what aliases.
    """
    size = PADDING * box
    axis = torch.arange(size, device=like.device, dtype=like.dtype) - centre(size)
    curves = [kernel_transform(a / size).to(like) / PADDING for a in (axis, axis.clamp(-box / 2, box / 2))]
    whole, held = (c[:, None, None] * c[:, None] * c for c in curves)
    return whole, held


def _real(weights: Weights) -> Tensor:
    """Return the real-space form (P, P, P) of weights (P, P, P // 2 + 1)."""
    return to_real(torch.complex(weights, torch.zeros_like(weights)), weights.shape[-2])


def _gathered(transform: Tensor) -> Weights:
    """Return weights at the coefficients of a box, each from the points around it, of their padded real-space form."""
    size = transform.shape[-1]
    axis = torch.arange(size, device=transform.device, dtype=transform.dtype) - centre(size)
    # 1, and 1/2 for both neighbours, along each axis.
    window = (1 + torch.cos(2 * math.pi * axis / size)) / PADDING
    points = to_fourier(transform * window[:, None, None] * window[:, None] * window).real.clamp_min(0)
    return points[::PADDING, ::PADDING, ::PADDING].contiguous()


def _crop(volume: Volume, box: int) -> Volume:
    start = centre(volume.shape[-1]) - centre(box)
    inside = slice(start, start + box)
    return volume[inside, inside, inside]


def _pad(volume: Volume, size: int) -> Volume:
    box = volume.shape[-1]
    before = centre(size) - centre(box)
    return torch.nn.functional.pad(volume, (before, size - box - before) * 3)


def _enlarged(spectrum: Tensor, box: int) -> Tensor:
    """Return coefficients of a smaller box over the same extent at their places in a box, 0 beyond."""
    small = spectrum.shape[-2]
    if small == box:
        return spectrum
    keep = (small - 1) // 2
    axis = torch.arange(-keep, keep + 1, device=spectrum.device)
    out = spectrum.new_zeros(box, box, box // 2 + 1)
    from_, to = axis % small, axis % box
    out[to[:, None], to[None, :], : keep + 1] = spectrum[from_[:, None], from_[None, :], : keep + 1]
    return out
