"""Wigner's d: how spherical harmonics turn.

A function turned by R is ``(R f)(x) = f(R^-1 x)``. With ``R = Rz(alpha) Ry(beta) Rz(gamma)``,

    R Y_lm = sum over m' of exp(-i m' alpha) d^l_m'm(beta) exp(-i m gamma) Y_lm'.
"""

from __future__ import annotations

import torch
from torch import Tensor


def wigner_d(degree: int, beta: float) -> Tensor:
    """Return d^l(beta), shape (2 l + 1, 2 l + 1) for (m', m) from -l to l, real, in float64.

    ``d = exp(-i beta J_y)``, from the eigenvectors of the angular momentum J_y. Slower than a recursion over l, but
    exact to rounding at every l.

    Parameters
    ----------
    degree
        l, 0 or more.
    beta
        Angle in radians.
    """
    m = torch.arange(-degree, degree, dtype=torch.float64)
    # <m + 1| J_+ |m>, and J_y = (J_+ - J_-) / 2i.
    raising = torch.diag(torch.sqrt(degree * (degree + 1) - m * (m + 1)), -1).to(torch.complex128)
    values, vectors = torch.linalg.eigh((raising - raising.mH) / 2j)
    # The eigenvalues are known to be whole.
    turned = vectors * torch.polar(torch.ones_like(values), -beta * values.round())
    d: Tensor = (turned @ vectors.mH).real
    return d
