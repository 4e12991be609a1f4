"""Fast rotational matching: the correlation of two functions on spherical shells over all rotations at once, by FFT.

After Kovacs and Wriggers (Acta Cryst. D58, 1282, 2002). With ``d^l(beta)`` factored into two turns by 90 degrees about
y, ``d^l_m'm(beta) = i^(m' - m) sum_h d^l_hm'(pi/2) d^l_hm(pi/2) exp(-i h beta)``, the correlation of b with a turned by
``R = Rz(alpha) Ry(beta) Rz(gamma)`` is a three-dimensional Fourier series in the angles:

    corr(R) = sum over m', h, m of C(m', m, h) exp(-i (m' alpha + m gamma + h beta))
    C(m', m, h) = i^(m' - m) sum_l d^l_hm'(pi/2) d^l_hm(pi/2) sum_r w_r conj(b_lm'(r)) a_lm(r)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from gumnet.geometry.rigid import matrix_from_euler
from gumnet.geometry.spherical_harmonics import with_negative_orders
from gumnet.geometry.wigner import wigner_d
from gumnet.types import Rotations


@lru_cache(maxsize=8)
def _kernel(bandwidth: int, step: int, device: torch.device) -> Tensor:
    """Return ``d^l_hm'(pi/2) d^l_hm(pi/2)``, (orders^2, degrees, L), for every ``step``-th degree and h >= 0."""
    orders = 2 * bandwidth - 1
    degrees = range(0, bandwidth, step)
    out = torch.zeros(orders, orders, len(degrees), bandwidth)
    for i, degree in enumerate(degrees):
        half_turn = wigner_d(degree, math.pi / 2).to(out)[degree:]
        inside = slice(bandwidth - 1 - degree, bandwidth + degree)
        out[inside, inside, i, : degree + 1] = torch.einsum("hm,hn->mnh", half_turn, half_turn)
    return out.reshape(orders**2, len(degrees), bandwidth).to(device)


def correlate_rotations(a: Tensor, b: Tensor, radial_weights: Tensor, *, even: bool = False) -> Tensor:
    """Return ``sum_r w_r <b(r), R a(r)>`` at all rotations of the grid: (c, 2 L, 2 L, 2 L) for (alpha, gamma, beta).

    Both angles of index i are ``pi i / L``; beta runs over the full circle too, so that every rotation comes twice:
    see `Peaks`.

    Parameters
    ----------
    a, b
        Coefficients (c, r, L, L), complex, for l and m >= 0, of c pairs of real functions on r shells.
    radial_weights
        Shape (r,): the volume of each shell.
    even
        Whether the functions are even, ``f(-x) = f(x)``, so that odd degrees need not be looked at.
    """
    bandwidth = a.shape[-1]
    step = 2 if even else 1
    orders = torch.arange(1 - bandwidth, bandwidth, device=a.device)
    turn = torch.polar(torch.ones_like(orders, dtype=radial_weights.dtype), math.pi / 2 * orders)
    # C is wanted conjugated: the inverse real transform has exp(+i ...) and needs h >= 0 alone.
    first = (with_negative_orders(b[:, :, ::step]) * turn.conj() * radial_weights[:, None, None]).movedim(1, -1)
    second = (with_negative_orders(a[:, :, ::step]).conj() * turn).transpose(1, 2)
    inner = first @ second
    count, degrees = inner.shape[:2]
    # Real and imaginary parts side by side: one real product for each pair (m', m).
    rows = torch.view_as_real(inner).permute(2, 3, 0, 4, 1).reshape(len(orders) ** 2, 2 * count, degrees)
    summed = (rows @ _kernel(bandwidth, step, a.device)).reshape(len(orders), len(orders), count, 2, bandwidth)
    series = torch.complex(summed[..., 0, :], summed[..., 1, :]).permute(2, 0, 1, 3)
    size = 2 * bandwidth
    places = orders % size
    layout = series.new_zeros(count, size, size, bandwidth + 1)
    layout[:, places[:, None], places[None, :], :bandwidth] = series
    out: Tensor = torch.fft.irfftn(layout, s=(size,) * 3, dim=(-3, -2, -1), norm="forward")
    return out


@dataclass(frozen=True)
class Peaks:
    """The highest peaks of c scores over the rotations, the best first.

    Parameters
    ----------
    rotations, scores
        Shapes (c, k, 3, 3) and (c, k).
    """

    rotations: Rotations
    scores: Tensor

    @classmethod
    def of(cls, scores: Tensor, count: int, separation_degrees: float) -> Peaks:
        """Return the ``count`` highest local maxima of scores (c, 2 L, 2 L, 2 L), apart by an angle at least.

        Where there are fewer, the lowest comes several times.
        """
        size = scores.shape[-1]
        # A rotation at beta comes again at 2 pi - beta: the wrapped cube has no edge, and half of it has all peaks.
        wrapped = torch.nn.functional.pad(scores[:, None], (1,) * 6, mode="circular")
        highest = torch.nn.functional.max_pool3d(wrapped, 3, stride=1)[:, 0]
        half = slice(0, size // 2 + 1)
        maxima = torch.where(scores == highest, scores, -torch.inf)[..., half].flatten(1)
        # Near the poles of beta one rotation has many angles, all of them maxima: hence the surplus.
        values, index = maxima.topk(min(40 * count, maxima.shape[1]), dim=1)
        beta = index % (size // 2 + 1)
        rest = index // (size // 2 + 1)
        angles = torch.stack([rest // size, beta, rest % size], dim=-1) * (2 * math.pi / size)
        rotations = matrix_from_euler("ZYZ", angles, degrees=False).to(scores.dtype)
        least_trace = 1 + 2 * math.cos(math.radians(separation_degrees))
        rows = torch.arange(len(values), device=values.device)
        chosen: list[Tensor] = []
        left = values.clone()
        for _ in range(count):
            best = left.argmax(dim=1)
            # With nothing left, argmax gives the first; the one before is taken again instead.
            best = torch.where(torch.isfinite(left[rows, best]), best, chosen[-1] if chosen else best)
            chosen.append(best)
            trace = torch.einsum("cij,ckij->ck", rotations[rows, best], rotations)
            left = left.masked_fill(trace > least_trace, -torch.inf)
        picked = torch.stack(chosen, dim=1)
        return cls(rotations[rows[:, None], picked], values[rows[:, None], picked])
