"""Translations by FFT: constrained correlation of turned references with a particle, at all whole shifts at once."""

from __future__ import annotations

import torch
from torch import Tensor

from gumnet.alignment.shells import Masked
from gumnet.geometry.fourier import friedel_multiplicity, shell_indices, to_fourier, to_real
from gumnet.geometry.warp import warp
from gumnet.geometry.wedge import rotate_weights
from gumnet.types import Rotations, Vectors, centre

_OVERSAMPLING = 2
"""Of the reference before it is turned in real space: linear interpolation between its voxels would low-pass it."""
_TINY = 1e-30


def best_shifts(
    reference: Masked, particle: Masked, rotations: Rotations, *, shells: int, max_shift: float, subvoxel: bool
) -> tuple[Vectors, Tensor]:
    """Return the best shift (k, 3) of one particle on one reference turned by each of k rotations, and its score (k,).

    The score is the correlation on the Fourier coefficients that both observed, up to shell ``shells``:
    ``sum Re(A conj(B)) / sqrt(sum |A|^2 sum |B|^2)``.

    Parameters
    ----------
    reference, particle
        One volume each.
    rotations
        Shape (k, 3, 3).
    max_shift
        Largest shift along each axis, in voxels.
    subvoxel
        Whether the peak is interpolated, by a quadratic through its neighbours; otherwise shifts are whole voxels.
    """
    box = particle.volumes.shape[-1]
    # A volume turned by R is a(R^-1 x), its mask w(R^-1 k).
    back = rotations.mT
    zero = torch.zeros(len(back), 3, device=back.device)
    turned = to_fourier(warp(reference.volumes, back, zero, oversampling=_OVERSAMPLING))
    shared = rotate_weights(reference.mask, back) * particle.mask
    shell = shell_indices(box, device=back.device)
    shared = shared * ((shell >= 1) & (shell <= shells))
    spectrum = to_fourier(particle.volumes)
    # The sum over all k of conj(A) B exp(+2 pi i k t): an inverse transform without its factor 1 / N^3.
    correlation = to_real(shared * turned.conj() * spectrum, box) * box**3
    multiplicity = friedel_multiplicity(box, device=back.device)
    powers = [(shared * f.abs().square() * multiplicity).sum(dim=(-3, -2, -1)) for f in (turned, spectrum)]
    correlation = correlation / torch.sqrt(powers[0] * powers[1]).clamp_min(_TINY)[:, None, None, None]
    return _peaks(correlation, max_shift, subvoxel)


def _peaks(correlation: Tensor, max_shift: float, subvoxel: bool) -> tuple[Vectors, Tensor]:
    """Return place (k, 3) from the centre, (x, y, z), and height (k,) of the highest value within the limit."""
    box = correlation.shape[-1]
    reach = min(int(max_shift), (box - 1) // 2)
    part = slice(centre(box) - reach, centre(box) + reach + 1)
    size = 2 * reach + 1
    heights, index = correlation[:, part, part, part].flatten(1).max(dim=1)
    place = torch.stack([index % size, index // size % size, index // size**2], dim=-1) - reach
    shifts = place.to(correlation)
    if not subvoxel:
        return shifts, heights
    # A missing wedge stretches the peak along any direction: a parabola along each axis by itself would miss its top.
    rows = torch.arange(len(place), device=place.device)[:, None]
    steps = torch.cartesian_prod(*[torch.arange(-1, 2, device=place.device)] * 3)
    around = ((place[:, None] + steps + centre(box)) % box).flip(-1).unbind(-1)
    values = correlation[(rows, *around)]
    offsets = _quadratic_tops(values.double(), steps.double())
    return (shifts + offsets.to(shifts)).clamp(-max_shift, max_shift), heights


def _quadratic_tops(values: Tensor, steps: Tensor) -> Tensor:
    """Return where (k, 3) the quadratic has its top that fits values (k, 27) at ``steps`` (27, 3) best, within 1."""
    pairs = torch.triu_indices(3, 3)
    bends = steps[:, pairs[0]] * steps[:, pairs[1]]
    terms = torch.linalg.pinv(torch.cat([torch.ones_like(steps[:, :1]), steps, bends], dim=1)) @ values.mT
    slope, bend = terms[1:4].mT, terms[4:].mT
    hessian = bend.new_zeros(len(values), 3, 3)
    hessian[:, pairs[0], pairs[1]] += bend
    hessian[:, pairs[1], pairs[0]] += bend
    # A top bends down along every direction; where noise says otherwise, that direction is left where it is.
    curvatures, axes = torch.linalg.eigh(hessian)
    along = (axes.mT @ slope[..., None])[..., 0]
    moves = torch.where(curvatures < 0, -along / curvatures.clamp(max=-_TINY), 0.0).clamp(-1, 1)
    offsets: Tensor = axes @ moves[..., None]
    return offsets[..., 0]
