"""Weighted averages in Fourier space, batch by batch.

A particle's spectrum is ``weights * signal + noise``, the variance of the noise proportional to the weights (see
`gumnet.types`). Spectra and weights of all particles are inserted into one padded grid (`gumnet.averaging.insertion`),
and the least-squares map of their sums is taken once, at the end (`gumnet.averaging.solve`). What no particle observed
stays 0, what few observed counts as much signal as what all did.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gumnet.averaging.insertion import InsertionGrid, samples
from gumnet.averaging.solve import solve
from gumnet.averaging.sums import BoxSums
from gumnet.engine.work import Result
from gumnet.errors import InputError
from gumnet.geometry.fourier import phase_ramp, shell_indices, to_fourier
from gumnet.particles import Particles, Poses
from gumnet.progress import progress
from gumnet.types import Spectra, Volume, Volumes, Weights

_UNTURNED = 1e-9
"""Largest entry by which a rotation that turns nothing differs from the identity."""


class Accumulator:
    """Running sums of spectra and weights, from which the average comes.

    Parameters
    ----------
    box
        Side of the cubic box N, in voxels.
    device
        Where the sums are kept and computed.
    dtype
        Floating-point type of the sums; float64, so that thousands of particles add up without loss.
    """

    def __init__(self, box: int, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float64) -> None:
        self.box = box
        self.count = 0.0
        self._poses = 0
        # As long as no particle is turned, half of the grid is empty and the sums of the coefficients are exact.
        self._unturned: BoxSums | None = BoxSums.empty(box, device, dtype)
        self.grid = InsertionGrid(box)
        self._sums = self.grid.zeros(device, dtype)
        self._reduced: BoxSums | None = None

    @torch.no_grad()
    def add(
        self,
        volumes: Volumes,
        weights: Weights | None,
        poses: Poses,
        *,
        confidences: Tensor | None = None,
    ) -> None:
        """Put particles on the reference and add them.

        Parameters
        ----------
        volumes
            Shape (k, N, N, N).
        weights
            Fourier weights (k, N, N, N // 2 + 1) of the particles, (1, ...) of all, or None where everything was
            observed.
        poses
            The k poses.
        confidences
            How much each particle counts (k,), 0 or more; 1 unless given. Spectrum and weights are both multiplied by
            it, so that a particle which counts half leaves the level of the average as it is.
        """
        if volumes.shape[-3:] != (self.box,) * 3:
            raise InputError(
                f"particles of shape {tuple(volumes.shape[-3:])} do not fit an average of {self.box}",
                cure="use particles of one box",
            )
        sums = self._sums
        counts = torch.ones(len(poses)) if confidences is None else confidences
        if bool((counts < 0).any()) or len(counts) != len(poses):
            raise InputError("confidences are negative or not one a pose", cure="give one number of 0 or more a pose")
        if len(poses) != len(volumes):
            raise InputError(f"{len(poses)} poses for {len(volumes)} particles", cure="give one a particle")
        taken = samples(self.box, sums.device, sums.dtype)
        spectra = taken.take(to_fourier(volumes.to(sums.device))).to(torch.promote_types(sums.dtype, torch.complex64))
        if weights is None:
            observed = torch.ones(1, len(taken.index), device=sums.device, dtype=sums.dtype)
        else:
            observed = taken.take(weights.to(sums.device)).to(sums.dtype)
        self._unturned = _with_unturned(self._unturned, volumes, weights, poses, counts)
        self.grid.insert(sums, spectra, observed, poses.rotations, poses.shifts, counts)
        self.count += float(counts.sum())
        self._poses += int((counts > 0).sum())
        self._reduced = None

    def reduced(self) -> BoxSums:
        """Return the sums on the grid of the box: the least-squares map, and the weights that it was observed with."""
        if self._reduced is None:
            self._reduced = self.solved() if self._unturned is None else _without_corners(self._unturned)
        return self._reduced

    def solved(self) -> BoxSums:
        """Return what `reduced` does, from the padded grid also where no particle is turned.

        There it is less exact, but what lies beside the edge of a wedge is told from what it did observe, and not 0.
        """
        spectrum, weights = solve(self.grid, self._sums, single=self._poses == 1)
        return BoxSums(self.box, spectrum, weights, self.count)

    @property
    def spectrum(self) -> Spectra:
        """Spectrum of `reduced`."""
        return self.reduced().spectrum

    @property
    def weights(self) -> Weights:
        """Weights of `reduced`."""
        return self.reduced().weights

    @property
    def device(self) -> torch.device:
        """Where the sums are."""
        return self._sums.device

    def merge(self, other: Accumulator) -> Accumulator:
        """Return the sums of both, for averages made in parts."""
        sums = self._sums
        both = Accumulator(self.box, device=sums.device, dtype=sums.dtype)
        both._sums = self._sums + other._sums.to(self._sums)
        both.count = self.count + other.count
        both._poses = self._poses + other._poses
        first, second = self._unturned, other._unturned
        both._unturned = None if first is None or second is None else first.merge(second)
        return both

    def to_parts(self) -> Result:
        """Return the sums as tensors by name, which add up: those of two sets of particles are the sums of both."""
        unturned = BoxSums.empty(self.box, self.device, self._sums.dtype) if self._unturned is None else self._unturned
        return {
            "sums": self._sums,
            "unturned_spectrum": torch.view_as_real(unturned.spectrum),  # safetensors knows no complex128
            "unturned_weights": unturned.weights,
            "numbers": torch.tensor([self.count, self._poses, self._unturned is None], dtype=torch.float64),
        }

    @classmethod
    def of_parts(cls, box: int, parts: Result) -> Accumulator:
        """Return the sums that `to_parts` took apart, or those of several that were added up."""
        kept = parts["sums"]
        sums = cls(box, device=kept.device, dtype=kept.dtype)
        count, poses, turned = parts["numbers"].tolist()
        sums._sums, sums.count, sums._poses = kept, count, round(poses)
        spectrum, weights = torch.view_as_complex(parts["unturned_spectrum"]), parts["unturned_weights"]
        sums._unturned = None if turned else BoxSums(box, spectrum, weights, count)
        return sums

    def result(self, noise_to_signal: Tensor | float = 0.0) -> Volume:
        """Return the average (N, N, N), float32 on the CPU; see `BoxSums.result`."""
        return self.reduced().result(noise_to_signal)


def _with_unturned(
    sums: BoxSums | None, volumes: Volumes, weights: Weights | None, poses: Poses, counts: Tensor
) -> BoxSums | None:
    """Return sums with particles added that are only shifted; None if any of them is turned, or was."""
    identity = torch.eye(3, dtype=poses.rotations.dtype, device=poses.rotations.device)
    if sums is None or bool((poses.rotations - identity).abs().max() > _UNTURNED):
        return None
    seen = torch.ones(1, *sums.weights.shape) if weights is None else weights
    seen = seen.to(sums.weights).expand(len(volumes), -1, -1, -1)
    for volume, weight, shift, count in zip(volumes, seen, poses.shifts, counts.tolist(), strict=True):
        moved = to_fourier(volume.to(sums.weights)) * phase_ramp(sums.box, -shift.to(sums.weights))
        sums = BoxSums(sums.box, sums.spectrum + count * moved, sums.weights + count * weight, sums.count + count)
    return sums


def _without_corners(sums: BoxSums) -> BoxSums:
    """Return sums without what lies beyond the last whole shell, which the padded grid does not hold either."""
    kept = shell_indices(sums.box, device=sums.weights.device) <= sums.box // 2
    return replace(sums, spectrum=sums.spectrum * kept, weights=sums.weights * kept)


def default_batch_size(box: int, device: torch.device) -> int:
    """Return how many particles of a box of ``box`` voxels to transform at once: about 100 MB on a CPU."""
    voxels = 2**19 if device.type == "cpu" else 2**23
    return max(1, voxels // box**3)


def accumulate(
    particles: Particles,
    *,
    confidences: Tensor | None = None,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
    shown: bool | None = None,
    description: str = "averaging",
) -> Accumulator:
    """Return the sums of particles at their own poses; reads them batch by batch, never all at once.

    Parameters
    ----------
    confidences
        How much each particle counts (n,); see `Accumulator.add`.
    batch_size
        Particles to hold in memory at a time; by the size of the box unless given.
    shown
        Whether to show progress; by default on a terminal only.
    """
    device = torch.device(device)
    sums = Accumulator(particles.box, device=device)
    with progress(description, len(particles), shown=shown) as display:
        for batch in particles.batches(batch_size or default_batch_size(particles.box, device)):
            some = None if confidences is None else confidences[batch]
            sums.add(
                particles.read_volumes(batch), particles.read_weights(batch), particles.poses[batch], confidences=some
            )
            display.advance(len(batch))
    return sums
