"""Spherical harmonics: real functions on the sphere and their coefficients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

_OVERSAMPLING = 1.5
"""Rings per degree. From 1 on, a function of the band is transformed exactly; at 1.5 what lies above the band, such as
the edge of a missing wedge, leaks into it from twice the band limit on only."""


def legendre(bandwidth: int, cosines: Tensor) -> Tensor:
    """Return normalised associated Legendre functions (L, L, t) for l and m from 0 to L - 1, at t cosines, in float64.

    ``Y_lm(theta, phi) = legendre[l, m](cos theta) exp(i m phi)``: orthonormal, with the Condon-Shortley phase; 0 for
    m > l. By the recursion over l, which is stable upwards.
    """
    x = cosines.to(torch.float64)
    sine = torch.sqrt(1 - x**2)
    out = torch.zeros(bandwidth, bandwidth, len(x), dtype=torch.float64)
    out[0, 0] = math.sqrt(1 / (4 * math.pi))
    for m in range(bandwidth):
        if m > 0:
            out[m, m] = -math.sqrt((2 * m + 1) / (2 * m)) * sine * out[m - 1, m - 1]
        if m + 1 < bandwidth:
            out[m + 1, m] = math.sqrt(2 * m + 3) * x * out[m, m]
        for degree in range(m + 2, bandwidth):
            scale = math.sqrt((4 * degree**2 - 1) / (degree**2 - m**2))
            before = math.sqrt(((degree - 1) ** 2 - m**2) / (4 * (degree - 1) ** 2 - 1))
            out[degree, m] = scale * (x * out[degree - 1, m] - before * out[degree - 2, m])
    return out


@dataclass(frozen=True)
class SphericalTransform:
    """The transform from samples on rings to the coefficients of degrees 0 ... L - 1.

    The rings lie at the nodes of Gauss and Legendre's quadrature.

    Parameters
    ----------
    directions
        Unit vectors (t, p, 3) of t rings of p samples, (x, y, z).
    analysis
        Legendre functions times the weights of quadrature, (L, L, t), for l, m >= 0 and ring.
    """

    directions: Tensor
    analysis: Tensor

    @property
    def bandwidth(self) -> int:
        """L, one above the highest degree."""
        return len(self.analysis)

    def forward(self, values: Tensor) -> Tensor:
        """Return the coefficients (..., L, L), complex, for l and m >= 0, of real values (..., t, p).

        Those of negative m follow from them: ``a_l,-m = (-1)^m conj(a_lm)``.
        """
        rings = torch.fft.rfft(values, dim=-1)[..., : self.bandwidth]
        return torch.einsum("...tm,lmt->...lm", rings, self.analysis.to(rings.dtype))


@lru_cache(maxsize=8)
def spherical_transform(
    bandwidth: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> SphericalTransform:
    """Return the transform for degrees 0 ... ``bandwidth`` - 1, ready on a device."""
    rings = math.ceil(_OVERSAMPLING * bandwidth)
    nodes, weights = np.polynomial.legendre.leggauss(rings)
    cosines = torch.from_numpy(nodes)
    samples = 2 * rings
    phi = 2 * math.pi / samples * torch.arange(samples, dtype=torch.float64)
    sine = torch.sqrt(1 - cosines**2)[:, None]
    directions = torch.stack([sine * phi.cos(), sine * phi.sin(), cosines[:, None].expand(-1, samples)], dim=-1)
    analysis = legendre(bandwidth, cosines) * torch.from_numpy(weights) * (2 * math.pi / samples)
    return SphericalTransform(directions.to(device, dtype), analysis.to(device, dtype))


def with_negative_orders(coefficients: Tensor) -> Tensor:
    """Return coefficients (..., L, 2 L - 1) for m from -(L - 1) to L - 1 from those of m >= 0, (..., L, L)."""
    sign = (-1.0) ** torch.arange(coefficients.shape[-1], device=coefficients.device)
    negative = (coefficients.conj() * sign)[..., 1:].flip(-1)
    return torch.cat([negative, coefficients], dim=-1)
