"""Tensor types, and the conventions that every module keeps.

Axes
    Volumes are indexed [z, y, x]. Vectors and matrices are in (x, y, z) order. The centre of a box of N voxels is
    voxel N // 2 on every axis, for odd and for even N.
Poses
    A pose (R, t) maps the reference to the particle: ``x_particle = R @ x_reference + t``, in voxels from the centre.
    A particle is put on the reference by sampling it at ``R @ x + t``. For a pair (a, b), a is the reference.
Fourier space
    Spectra and weights are in ``torch.fft.rfftn`` layout, (N, N, N // 2 + 1) for (kz, ky, kx), with the phase origin at
    the centre voxel (see `gumnet.geometry.fourier.to_fourier`). Frequencies are in cycles per voxel.
Fourier weights
    Real, 0 or more. A particle's spectrum is ``weights * signal + noise``, and the variance of the noise is
    proportional to the weights. A binary missing wedge is one case of this; data multiplied by its CTF, with the sum
    of CTF^2 as weights, is the other. Readers bring everything else into this form.
Missing wedge
    The tilt axis is y, the beam is z. A symmetric tilt range observes ``|kz| <= tan(tilt_max) * |kx|``.
Units
    Angstrom and degrees for people, voxels and matrices inside. Names carry the unit where it is not voxels.
"""

from __future__ import annotations

from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

Volume = Float[Tensor, "z y x"]
Volumes = Float[Tensor, "n z y x"]
Spectra = Complex[Tensor, "*n z y xh"]
Weights = Float[Tensor, "*n z y xh"]
Rotations = Float[Tensor, "*n 3 3"]
Vectors = Float[Tensor, "*n 3"]
Scores = Float[Tensor, " n"]
Labels = Int[Tensor, " n"]
Mask = Bool[Tensor, " n"]


def centre(box: int) -> int:
    """Index of the centre voxel of a box of ``box`` voxels, the fixed point of every rotation."""
    return box // 2
