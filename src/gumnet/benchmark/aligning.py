"""Pairs aligned by a method of the package, all methods told alike, batch by batch by the clock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gumnet.alignment.aligner import make_aligner
from gumnet.alignment.batch import batching_for
from gumnet.alignment.to_reference import AlignConfig
from gumnet.averaging.mask import soft_sphere
from gumnet.benchmark.pairs import Pairs
from gumnet.benchmark.seconds import Seconds
from gumnet.devices import resolve_device
from gumnet.particles import Poses
from gumnet.types import Weights

if TYPE_CHECKING:
    from gumnet.model.gumnet import GumNet


@dataclass(frozen=True)
class Setting:
    """What all methods are told alike.

    Parameters
    ----------
    max_shift
        Largest shift along each axis, in voxels.
    voxel_size
        In Angstrom.
    low_pass
        Finest resolution that is used, in Angstrom; None for all that the voxels hold.
    mask
        Radius of a soft sphere on the reference, a of a pair, in voxels; None for what each does by itself.
    refine, device, model
        Of our methods.
    memory_gigabytes
        Limit of the memory that our methods take.
    """

    max_shift: float
    voxel_size: float
    low_pass: float | None = None
    mask: float | None = None
    refine: bool = True
    device: str = "cpu"
    model: GumNet | Path | None = None
    memory_gigabytes: float | None = None

    def config(self, method: str, box: int) -> AlignConfig:
        """Return what one of our methods is told."""
        return AlignConfig(
            method=method,
            refine=self.refine,
            max_shift=self.max_shift,
            low_pass_angstrom=self.low_pass,
            # As an option, not on the volume: the noise is estimated where the mask would be 0.
            mask=None if self.mask is None else soft_sphere(box, self.mask),
            model=self.model,
            device=self.device,
            memory_gigabytes=self.memory_gigabytes,
        )


@dataclass(frozen=True)
class Timing:
    """What some pairs, or particles, cost together."""

    count: int
    seconds: Seconds


def aligned(method: str, pairs: Pairs, setting: Setting) -> tuple[Poses, tuple[Timing, ...]]:
    """Return the poses of n pairs, and what each batch of them cost; what is set up once is in the first."""
    device, box = resolve_device(setting.device), pairs.a.shape[-1]
    began = Seconds.now()
    options = setting.config(method, box).options(setting.voxel_size)
    memory = setting.memory_gigabytes
    batching = batching_for(options, box, device, shared_reference=False, memory_gigabytes=memory)
    size, options = batching.size, replace(options, at_once=batching.at_once)
    aligner = make_aligner(method, options, device)

    def on(weights: Weights | None) -> Weights | None:
        return None if weights is None else weights.to(device)

    parts, timings = [], []
    for start in range(0, len(pairs), size):
        some = pairs.rows(slice(start, start + size))
        # Poses come back to the CPU, so what a GPU was asked is done when the clock is read.
        parts.append(aligner.align(some.a.to(device), some.b.to(device), on(some.weights_a), on(some.weights_b)))
        ended = Seconds.now()
        timings.append(Timing(len(some), ended - began))
        began = ended
    return Poses.concatenate(parts), tuple(timings)
