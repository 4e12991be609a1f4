"""Missing wedges, and Fourier weights that turn with their particle."""

from __future__ import annotations

import math

import torch

from gumnet.errors import InputError
from gumnet.geometry.fourier import frequencies
from gumnet.types import Rotations, Weights


def missing_wedge(box: int, tilt_max_degrees: float, tilt_min_degrees: float | None = None) -> Weights:
    """Return the binary weights (N, N, N // 2 + 1) of a single-axis tilt series: 1 observed, 0 missing.

    Tilt axis y, beam z. Tilting by theta observes the plane ``kz = tan(theta) kx``.

    Parameters
    ----------
    tilt_max_degrees, tilt_min_degrees
        Ends of the tilt range; the lower end is ``-tilt_max_degrees`` unless given.
    """
    low = -tilt_max_degrees if tilt_min_degrees is None else tilt_min_degrees
    if not -90 <= low < tilt_max_degrees <= 90:
        raise InputError(
            f"a tilt range from {low} to {tilt_max_degrees} degrees is not possible",
            cure="give tilts between -90 and 90 degrees, the lower end first",
        )
    k = frequencies(box, dtype=torch.float64)
    kx, kz = k[..., 0], k[..., 2]
    # kx is 0 or more in the half transform. The rounding guards keep the planes at the two ends inside.
    tilt = torch.rad2deg(torch.atan2(kz, kx))
    observed = (tilt <= tilt_max_degrees + 1e-6) & (tilt >= low - 1e-6)
    if box % 2 == 0:
        # The Nyquist frequency stands for both signs of kz: it is observed if either is.
        flipped = (-tilt <= tilt_max_degrees + 1e-6) & (-tilt >= low - 1e-6)
        observed = torch.where(kz == -0.5, observed | flipped, observed)
    on_axis = (kx == 0) & (kz == 0)
    return (observed | on_axis).to(torch.float32)


def full_from_half(weights: Weights) -> torch.Tensor:
    """Return weights (..., M, M, M) on the centred full grid, M = 2 (N // 2) + 1, from the half layout.

    Weights are even, ``w(-k) = w(k)``. An even box gains a plane on each axis, since its Nyquist frequency stands for
    both ends.
    """
    box = weights.shape[-2]
    half = box // 2
    index = torch.arange(-half, half + 1, device=weights.device)
    # Positive kx straight from the half layout; negative kx from the point mirrored through the origin.
    forward, backward = index % box, (-index) % box
    positive = weights[..., forward[:, None], forward[None, :], :]
    mirrored = weights[..., backward[:, None], backward[None, :], :]
    return torch.cat([mirrored[..., 1:].flip(-1), positive], dim=-1)


def rotate_weights(weights: Weights, rotations: Rotations) -> Weights:
    """Return the Fourier weights of particles put on the reference: ``out(k) = weights(R k)``, trilinear.

    The companion of `gumnet.geometry.warp.warp`: a shift does not change magnitudes, so only R enters. Frequencies
    that R takes outside the box count as not observed.

    Parameters
    ----------
    weights
        Shape (n, N, N, N // 2 + 1), or n = 1 for weights that all rotations share.
    rotations
        Shape (n, 3, 3).

    Returns
    -------
    Weights
        Shape (n, N, N, N // 2 + 1). Differentiable in both.
    """
    box = weights.shape[-2]
    n = rotations.shape[0]
    dtype = weights.dtype
    with torch.autocast(weights.device.type, enabled=False):
        full = full_from_half(weights)
        k = frequencies(box, device=weights.device, dtype=dtype)
        # grid_sample's -1 and 1 are the centres of the outermost voxels: frequency -half / N and half / N.
        grid = torch.einsum("zyxc,ndc->nzyxd", k, rotations.to(dtype)) * (box / (box // 2))
        turned = torch.nn.functional.grid_sample(
            full[:, None].expand(n, -1, -1, -1, -1), grid, mode="bilinear", padding_mode="zeros", align_corners=True
        )
    return turned[:, 0]


def wedge_angles_degrees(weights: Weights) -> tuple[float, float]:
    """Return the lowest and the highest tilt that weights (N, N, N // 2 + 1) observe, in degrees, tilt axis y."""
    box = weights.shape[-2]
    k = frequencies(box, dtype=torch.float64)
    radius = torch.sqrt(k[..., 0] ** 2 + k[..., 2] ** 2)
    ring = (radius > 0.25) & (radius < 0.5) & (k[..., 1] == 0) & (weights.cpu() > 0)
    if not bool(ring.any()):
        return math.nan, math.nan
    tilt = torch.rad2deg(torch.atan2(k[..., 2], k[..., 0]))[ring]
    return float(tilt.min()), float(tilt.max())
