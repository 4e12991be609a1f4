"""The unsupervised loss: how well b, put on a by a pose, agrees with a where Fourier space was observed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from gumnet.geometry.fourier import frequencies, shell_sums, to_fourier, to_real
from gumnet.geometry.warp import warp
from gumnet.geometry.wedge import rotate_weights
from gumnet.types import Rotations, Vectors, Volumes, Weights

Unobserved = Literal["impute", "leave-out"]

WHOLE_BAND = (1.0,)
"""The bands of the paper's loss: all in one."""
OBSERVED_FRACTION = 0.01
"""A coefficient counts as observed if its weight is above this fraction of the largest weight of its particle."""


def observed_mask(weights: Weights) -> Weights:
    """Return 1 where weights (..., N, N, N // 2 + 1) say that a coefficient was observed, 0 elsewhere.

    Weights are binary (a missing wedge) or not (sums of CTF^2). Where the CTF has a zero, nothing was observed.
    """
    largest = weights.amax(dim=(-3, -2, -1), keepdim=True)
    return torch.gt(weights, OBSERVED_FRACTION * largest).to(weights.dtype)


def nyquist_sphere(box: int, *, device: torch.device | None = None, dtype: torch.dtype = torch.float32) -> Weights:
    """Return 1 for the coefficients (N, N, N // 2 + 1) that no rotation takes out of the box, 0 for the corners."""
    radius = torch.linalg.vector_norm(frequencies(box, device=device, dtype=torch.float64), dim=-1)
    return torch.le(radius, (box // 2) / box + 1e-9).to(dtype)


def impute(
    a: Volumes,
    warped: Volumes,
    mask_a: Weights | None,
    mask_b: Weights | None,
    *,
    unobserved: Unobserved,
) -> tuple[Volumes, Volumes]:
    """Return the two volumes to compare, each with what it did not observe taken from the other (equation 4).

    With m the masks and F the spectra, ``F'_b = m_b F_b + (1 - m_b) m_a F_a`` and the same for a; where neither was
    observed, both are 0. With a wedge in b alone, m_a is 1 and this is equation 4, and a stays as it is. Masks between
    0 and 1, as rotation makes them, blend, which keeps the gradient of the rotation; masks of 0 and 1 select, exactly.

    Corners of the box beyond the Nyquist sphere are 0 in both: rotation takes them out of the box, and to impute them
    would reward the rotations that take out most.

    Parameters
    ----------
    a, warped
        a, and b put on a, shape (n, N, N, N).
    mask_a, mask_b
        What each observed, in the frame of a, shape (N, N, N // 2 + 1) or (n, N, N, N // 2 + 1); None for all.
    unobserved
        "impute", or "leave-out" for both volumes on the region that both observed and 0 elsewhere (constrained
        correlation, Foerster et al. 2008).

    Returns
    -------
    tuple
        a and b, both (n, N, N, N).
    """
    box = a.shape[-1]
    ones = nyquist_sphere(box, device=a.device, dtype=a.dtype)
    seen_a = ones if mask_a is None else ones * mask_a
    seen_b = ones if mask_b is None else ones * mask_b
    spectrum_a, spectrum_b = to_fourier(a), to_fourier(warped)
    if unobserved == "leave-out":
        shared = seen_a * seen_b
        return to_real(shared * spectrum_a, box), to_real(shared * spectrum_b, box)
    filled_a = seen_a * spectrum_a + (ones - seen_a) * seen_b * spectrum_b
    filled_b = seen_b * spectrum_b + (ones - seen_b) * seen_a * spectrum_a
    return to_real(filled_a, box), to_real(filled_b, box)


def pearson(first: Volumes, second: Volumes) -> Tensor:
    """Return the correlation coefficient (n,) of each pair of volumes (n, N, N, N); 0 where one is constant."""
    first = first - first.mean(dim=(1, 2, 3), keepdim=True)
    second = second - second.mean(dim=(1, 2, 3), keepdim=True)
    product = (first * second).sum(dim=(1, 2, 3))
    power = first.square().sum(dim=(1, 2, 3)) * second.square().sum(dim=(1, 2, 3))
    return product / torch.sqrt(power.clamp(min=torch.finfo(first.dtype).tiny))


def band_correlations(first: Volumes, second: Volumes, bands: Sequence[float]) -> Tensor:
    """Return the correlation coefficients (n, k) of pairs of volumes (n, N, N, N) within k bands from shell 1 on.

    Parameters
    ----------
    bands
        Upper ends, as shares of the Nyquist frequency; each band holds one shell at least.
    """
    box = first.shape[-1]
    a, b = to_fourier(first), to_fourier(second)
    parts = torch.stack([(a * b.conj()).real, a.abs().square(), b.abs().square()])
    product, power_a, power_b = shell_sums(parts, box)[..., 1:].cumsum(dim=-1)
    ends = torch.tensor([max(1, round(band * (box // 2))) - 1 for band in bands], device=first.device)
    power = (power_a * power_b)[:, ends]
    found: Tensor = product[:, ends] / torch.sqrt(power.clamp(min=torch.finfo(first.dtype).tiny))
    return found


def alignment_loss(
    a: Volumes,
    b: Volumes,
    rotations: Rotations,
    shifts: Vectors,
    weights_a: Weights | None = None,
    weights_b: Weights | None = None,
    *,
    unobserved: Unobserved = "leave-out",
    bands: Sequence[float] = WHOLE_BAND,
) -> Tensor:
    """Return 1 minus the correlation of a with b put on a, for each pair: 0 agrees, 1 is unrelated, 2 is opposite.

    Equation 5 of the paper, pair by pair. The authors' code takes the square of one correlation over the whole batch,
    which scores an opposite pair as perfect and lets one pair change the loss of another.

    Computed in float32, or in float64 if a is, with autocast off. Differentiable in poses and volumes.

    Parameters
    ----------
    a, b
        Shape (n, N, N, N).
    rotations, shifts
        Poses of b on a, ``x_b = R x_a + t``, shapes (n, 3, 3) and (n, 3), voxels.
    weights_a, weights_b
        Fourier weights, shape (N, N, N // 2 + 1) or (n, N, N, N // 2 + 1); None where all was observed.
    unobserved
        What to do with coefficients that only one of the two observed, see `impute`. The paper imputes, with a wedge in
        b alone. With a wedge in both, what is imputed correlates with itself: the loss then falls with the overlap of
        the two wedges' observed regions, whatever the particles are. On phantoms at SNR 0.1 with 60 degree tilts, 36 %
        of random rotations score better than the true one by imputation, and 0.1 % when leaving out. With a wedge in b
        alone, imputation still favours any turn over none in white noise, since trilinear sampling damps the noise of a
        turned b and leaves what is imputed (a loss of 0.53 against 0.67 on noise alone).

    bands
        Upper ends of bands, as shares of the Nyquist frequency: the loss is the mean over them. The peak of a low band
        is wide: a pose that is far off still finds the way, where the whole band is flat. The paper has the whole band
        alone.

    Returns
    -------
    Tensor
        Shape (n,).
    """
    with torch.autocast(a.device.type, enabled=False):
        dtype = a.dtype if a.dtype == torch.float64 else torch.float32
        rotations, shifts = rotations.to(dtype), shifts.to(dtype)
        warped = warp(b.to(dtype), rotations, shifts)
        mask_a = None if weights_a is None else observed_mask(weights_a.to(dtype))
        mask_b = None
        if weights_b is not None:
            mask = observed_mask(weights_b.to(dtype))
            mask_b = rotate_weights(mask[None] if mask.ndim == 3 else mask, rotations)
        first, second = impute(a.to(dtype), warped, mask_a, mask_b, unobserved=unobserved)
        if tuple(bands) == WHOLE_BAND:
            loss = 1 - pearson(first, second)
        else:
            loss = 1 - band_correlations(first, second, bands).mean(dim=1)
        # Sampling at NaN gives zeros, and so a harmless 1: a network that has blown up must not pass for a poor one.
        real = torch.isfinite(rotations).all(dim=(-2, -1)) & torch.isfinite(shifts).all(dim=-1)
        return torch.where(real, loss, torch.nan)
