"""acryo (BSD-3): zero-mean normalised cross correlation over grids of rotations, all shifts by FFT.

Its model has one template and scores it in every rotation of a list; finer lists follow around the best. It rotates
about (n - 1) / 2, and knows a missing wedge of the particle, not one of the template.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from gumnet.benchmark.seconds import Seconds
from gumnet.geometry.so3 import grid_size_for_spacing, super_fibonacci
from gumnet.particles import Poses
from gumnet.types import Volumes, Weights

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

COARSE_DEGREES = 30.0
# (step, steps to each side of the best so far), in degrees, about each of the three axes.
FINER_DEGREES = ((15.0, 1), (5.0, 2), (2.5, 1))
# The centres of rotation are half a voxel apart along each axis: so much more shift, at most, says the same pose.
CENTRES_APART = 0.5 * (1 + 3**0.5)


def missing() -> str | None:
    """Return why it cannot run, or None."""
    return None if find_spec("acryo") else "not installed"


def settings() -> str:
    """Return what its poses depend on besides the volumes."""
    return f"acryo {version('acryo')} ZNCC, grid {COARSE_DEGREES:g}, then {FINER_DEGREES}"


class Prepared:
    """A template that is turned to all rotations of the coarse grid once, for many particles.

    Parameters
    ----------
    template
        Shape (N, N, N).
    weights
        Binary Fourier weights (N, N, N // 2 + 1) of the particles, or None.
    cutoff
        Of its Butterworth filter, in cycles per voxel, or None.
    """

    def __init__(self, template: torch.Tensor, weights: torch.Tensor | None, cutoff: float | None) -> None:
        import dask
        from acryo.tilt import TiltSeriesModel
        from scipy.spatial.transform import Rotation

        dask.config.set(scheduler="synchronous")  # one thread, as for all

        class Observed(TiltSeriesModel):
            def create_mask(self, rotator: Any = None, shape: Any = None) -> Any:
                return mask

        box = template.shape[-1]
        mask = np.ones((box,) * 3, np.float32) if weights is None else both_halves(weights)
        self._box, self._template, self._cutoff, self._tilt = box, template.numpy(), cutoff, Observed()
        matrices = super_fibonacci(grid_size_for_spacing(COARSE_DEGREES)).numpy()
        self._coarse = self._model(Rotation.from_matrix(matrices))

    def align(self, particle: torch.Tensor, max_shift: float) -> tuple[NDArray[Any], NDArray[Any], float]:
        """Return R (3, 3), t (3,) and the score of one particle (N, N, N)."""
        from scipy.spatial.transform import Rotation

        limit = (max_shift + CENTRES_APART,) * 3
        best = self._coarse.align(particle.numpy(), limit)
        for step, steps in FINER_DEGREES:
            angles = np.arange(-steps, steps + 1) * step
            near = np.stack(np.meshgrid(angles, angles, angles), axis=-1).reshape(-1, 3)
            around = Rotation.from_rotvec(near, degrees=True) * Rotation.from_quat(best.quat)
            best = self._model(around).align(particle.numpy(), limit)
        # Its vectors are (z, y, x). About the corner, x_b = R (x_a - c) + c + shift with its centre c = (N - 1) / 2.
        rotation = Rotation.from_quat(best.quat).as_matrix()[::-1, ::-1]
        offset = (self._box - 1) / 2 - self._box // 2
        shift = best.shift[::-1] + offset - rotation @ np.full(3, offset)
        return rotation, shift, float(best.score)

    def _model(self, rotations: Rotation) -> Any:
        from acryo.alignment import ZNCCAlignment

        return ZNCCAlignment(self._template, rotations=rotations, cutoff=self._cutoff, tilt=self._tilt)


def align_pairs(
    a: Volumes,
    b: Volumes,
    weights_a: Weights | None,
    weights_b: Weights | None,
    max_shift: float,
    voxel_size: float,
    low_pass: float | None,
) -> tuple[Poses, Seconds]:
    """Return the poses of n volumes b on their a, and what that cost."""
    cutoff = None if low_pass is None else voxel_size / low_pass
    start, found = Seconds.now(), []
    for i in range(len(a)):
        prepared = Prepared(a[i], None if weights_b is None else weights_b[i], cutoff)
        found.append(prepared.align(b[i], max_shift))
    return poses(found), Seconds.now() - start


def align_to_reference(
    reference: torch.Tensor,
    particles: Volumes,
    weights: Weights | None,
    max_shift: float,
    voxel_size: float,
    low_pass: float | None,
) -> tuple[Poses, Seconds, Seconds]:
    """Return the poses of n particles, what they cost, and what the reference cost; all have the first's weights."""
    start = Seconds.now()
    cutoff = None if low_pass is None else voxel_size / low_pass
    prepared = Prepared(reference, None if weights is None else weights[0], cutoff)
    ready = Seconds.now()
    found = [prepared.align(particle, max_shift) for particle in particles]
    return poses(found), Seconds.now() - ready, ready - start


def poses(found: list[tuple[NDArray[Any], NDArray[Any], float]]) -> Poses:
    """Return what was found as poses."""
    rotations, shifts, scores = (torch.tensor(np.array(part), dtype=torch.float64) for part in zip(*found, strict=True))
    return Poses.of(rotations, shifts, scores)


def both_halves(weights: torch.Tensor) -> NDArray[np.float32]:
    """Return real Fourier weights (N, N, N) of a full transform from those (N, N, N // 2 + 1) of a half."""
    box = weights.shape[0]
    half = weights.numpy().astype(np.float32)
    minus = -np.arange(box) % box
    full = np.empty((box,) * 3, np.float32)
    full[..., : box // 2 + 1] = half
    full[..., box // 2 + 1 :] = half[minus][:, minus][..., (box - 1) // 2 : 0 : -1]
    return full
