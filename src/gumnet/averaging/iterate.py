"""The average of a particle set: at given poses, or reference-free, aligned and averaged in turn.

Two halves never meet
    Each half set starts from its own average, is aligned to its own average, and averaged again. The first average is
    of the particles as they are, without transformation: a blob, whose noise breaks the symmetry. Alignment starts in a
    low band, where the blob can tell orientations at all, and the band rises from iteration to iteration.
A common frame
    Started apart, the halves come out turned and shifted against each other. After each iteration the map of half 2 is
    aligned to that of half 1, and the rigid transformation goes into the poses of half 2. That transformation and, for
    the band of the last iterations, the resolution to which the halves agree are all that passes between them. What the
    fit itself adds to their correlation is measured and taken off (`gumnet.averaging.frame`).
The reference
    Summed spectra with their summed weights: what no particle observed is not compared, and what many observed counts
    more (see `gumnet.alignment.score`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gumnet.alignment.to_reference import AlignConfig, align
from gumnet.averaging.accumulate import Accumulator, accumulate
from gumnet.averaging.frame import agreement, as_particle, fit_frame, unrelated_maps
from gumnet.averaging.fsc import noise_to_signal, resolution_angstrom
from gumnet.averaging.halves import assign_half_sets, rows_of_half
from gumnet.averaging.mask import low_pass
from gumnet.devices import resolve_device, seeded
from gumnet.errors import InputError
from gumnet.evaluation.metrics import rotation_error_degrees, shift_error
from gumnet.model.weights import load_model
from gumnet.particles import Particles, Poses
from gumnet.types import Volume, Volumes

if TYPE_CHECKING:
    from gumnet.model.gumnet import GumNet

START_SHELLS = 4
"""Highest shell of the first iteration: 96 A in a box of 32 voxels of 12 A. A particle half as wide as its box has two
periods of it across; finer ones are out of phase until the orientations are about right."""
RISEN_SHELLS = 7
"""Highest shell before the last iterations, and the least there."""


@dataclass(frozen=True)
class AverageConfig:
    """How to average.

    Parameters
    ----------
    iterations
        How often to align and average; 0 averages at the particles' own poses, which the others ignore.
    method
        "exhaustive"; "gumnet", which needs a model; or the baselines "ht" (H-T align) and "fa" (F&A align).
    refine
        Whether to refine poses continuously.
    symmetry
        Point group; C1 so far.
    mask
        Volume (N, N, N) from 0 to 1 for the correlation of the halves; it does not touch the maps. Without one the
        whole box counts: simulations then give a resolution (0.143 between halves) within 3 % of that against the truth
        (0.5). A mask smears the strong low shells of both halves into the weak high ones, alike in both: an edge of 3
        voxels turned 29 A into 24 A.
    initial
        Map (N, N, N) that both halves start from, low-passed, in place of their first averages. They share its frame.
    low_pass_angstrom
        Resolution of the first iteration; shell 4 of the box unless given. The band rises from there.
    max_shift
        Largest shift along each axis, in voxels; a quarter of the box unless given.
    model
        Network, or path of its weights, for method "gumnet".
    seed
        Deals particles without a half set to one.
    device
        auto, cpu, cuda or cuda:N.
    batch_size
        Particles at a time; as many as memory allows comfortably unless given.
    """

    iterations: int = 6
    method: str = "exhaustive"
    refine: bool = True
    symmetry: str = "C1"
    mask: Tensor | None = None
    initial: Tensor | None = None
    low_pass_angstrom: float | None = None
    max_shift: float | None = None
    model: GumNet | str | Path | None = None
    seed: int = 0
    device: str = "auto"
    batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.iterations < 0:
            raise InputError(f"{self.iterations} iterations are not possible", cure="give 0 or more")
        if self.symmetry.upper() != "C1":
            raise InputError(f"symmetry {self.symmetry!r} is not supported yet", cure="use C1")
        if self.low_pass_angstrom is not None and not self.low_pass_angstrom > 0:
            raise InputError(f"a low pass of {self.low_pass_angstrom} A is not possible", cure="give one above 0")


@dataclass(frozen=True)
class Iteration:
    """What one iteration did.

    Parameters
    ----------
    number
        From 1.
    band_angstrom
        Finest resolution that the alignment used.
    mean_score
        Mean score of the particles.
    resolution_angstrom
        Where the halves' correlation falls below 0.143, after the iteration.
    mean_change_degrees, mean_change_voxels
        How far rotations and shifts moved, within their half. The first iteration moves them from no transformation.
    """

    number: int
    band_angstrom: float
    mean_score: float
    resolution_angstrom: float
    mean_change_degrees: float
    mean_change_voxels: float


@dataclass(frozen=True)
class Average:
    """An average and how good it is.

    Parameters
    ----------
    map
        Shape (N, N, N): all particles, each shell weighted by its signal-to-noise as the halves' correlation gives it
        (Wiener); nothing is sharpened.
    half_maps
        Shape (2, N, N, N), least squares, in one frame, not filtered.
    fsc
        Correlation of the half maps, within the mask if there is one, (N // 2 + 1,).
    resolution_angstrom
        Where it falls below 0.143.
    particles
        The particles with their poses on the map, scores and half sets.
    history
        One entry an iteration.
    """

    map: Volume
    half_maps: Volumes
    fsc: Tensor
    fsc_unmasked: Tensor
    resolution_angstrom: float
    particles: Particles
    history: tuple[Iteration, ...]


OnIteration = Callable[[Iteration, Particles, Tensor], None]
"""Called after each iteration with what it did, the particles so far, and their half maps (2, N, N, N)."""


def average(
    particles: Particles, config: AverageConfig | None = None, *, on_iteration: OnIteration | None = None
) -> Average:
    """Return the average of particles, with half maps that were made independently of each other.

    Parameters
    ----------
    particles
        n particles, two or more. Half sets that they have are kept.
    config
        How; the defaults unless given.
    on_iteration
        Called after each iteration, to show or save it.
    """
    config = AverageConfig() if config is None else config
    device = resolve_device(config.device)
    box, voxel = particles.box, particles.voxel_size_angstrom
    for name, volume in (("mask", config.mask), ("initial map", config.initial)):
        if volume is not None and tuple(volume.shape) != (box,) * 3:
            raise InputError(
                f"the {name} has shape {tuple(volume.shape)}, the particles have boxes of {box}",
                cure="crop, pad or resample it to the box and voxel size of the particles",
            )
    if config.method == "gumnet" and isinstance(config.model, str | Path):
        config = replace(config, model=load_model(config.model))  # once, and not for each half and iteration
    particles = assign_half_sets(particles, config.seed)
    rows = [rows_of_half(particles, half) for half in (1, 2)]
    # Every iteration reads them twice or more. The result holds them as they came, so that nothing stays in memory.
    read = particles.cached() if config.iterations else particles
    halves = [read.select(r) for r in rows]
    if config.iterations:
        halves = [half.with_poses(Poses.identity(len(half))) for half in halves]
    sums = [_accumulate(half, config, device, f"First average, half {i + 1}") for i, half in enumerate(halves)]
    history: list[Iteration] = []
    reached, unrelated = math.inf, None
    generator, near = seeded(config.seed), config.initial is not None
    for number in range(1, config.iterations + 1):
        band_angstrom = voxel * box / _band(number, config, box, voxel, reached)
        initial = config.initial if number == 1 else None
        before = [half.poses for half in halves]
        for i in (0, 1):
            halves[i] = _align(halves[i], sums[i], initial, config, band_angstrom)
        changes = torch.cat([_changes(b, half.poses) for b, half in zip(before, halves, strict=True)], dim=1)
        sums = [_accumulate(half, config, device, f"Averaging half {i + 1}") for i, half in enumerate(halves)]
        halves[1] = halves[1].with_poses(halves[1].poses.compose(fit_frame(sums[0], sums[1], near=near)))
        sums[1] = _accumulate(halves[1], config, device, "Half 2 in the frame of half 1")
        half_maps = torch.stack([s.result() for s in sums])
        unrelated = unrelated_maps(sums[0], sums[1], near=near, generator=generator)
        reached = resolution_angstrom(agreement(half_maps, unrelated), voxel, box)
        scores = torch.cat([half.poses.scores for half in halves])
        degrees, voxels = changes.mean(dim=1).tolist()
        history.append(Iteration(number, band_angstrom, float(scores.nanmean()), reached, degrees, voxels))
        if on_iteration is not None:
            on_iteration(history[-1], _together(particles, rows, halves), half_maps)
    half_maps = torch.stack([s.result() for s in sums])
    unmasked = agreement(half_maps, unrelated)
    curve = unmasked if config.mask is None else agreement(half_maps, unrelated, config.mask.to(half_maps))
    return Average(
        map=sums[0].merge(sums[1]).result(noise_to_signal(unmasked)),
        half_maps=half_maps,
        fsc=curve,
        fsc_unmasked=unmasked,
        resolution_angstrom=resolution_angstrom(curve, voxel, box),
        particles=_together(particles, rows, halves),
        history=tuple(history),
    )


def _band(number: int, config: AverageConfig, box: int, voxel: float, reached: float) -> int:
    """Return the highest shell of iteration ``number``.

    It rises evenly from the start; the last iterations, a third of them, use what the halves agreed on.
    """
    highest = (box - 1) // 2
    start = START_SHELLS if config.low_pass_angstrom is None else round(voxel * box / config.low_pass_angstrom)
    start = max(1, min(start, highest))
    risen = min(max(start, RISEN_SHELLS), highest)
    rising = config.iterations - config.iterations // 3
    if number <= rising:
        return round(start + (risen - start) * (number - 1) / max(1, rising - 1))
    return max(risen, min(highest, math.floor(voxel * box / reached)))


def _align(
    half: Particles, sums: Accumulator, initial: Volume | None, config: AverageConfig, band_angstrom: float
) -> Particles:
    """Return a half with its poses on its own average, or on the initial map."""
    if initial is None:
        reference, weights = as_particle(sums)
    else:
        reference, weights = low_pass(initial.float(), half.voxel_size_angstrom / band_angstrom), None
    settings = AlignConfig(
        method=config.method,
        refine=config.refine,
        max_shift=config.max_shift,
        low_pass_angstrom=band_angstrom,
        model=config.model,
        device=config.device,
        batch_size=config.batch_size,
    )
    return align(half, reference, settings, weights_reference=weights)


def _accumulate(half: Particles, config: AverageConfig, device: torch.device, description: str) -> Accumulator:
    return accumulate(half, device=device, batch_size=config.batch_size, description=description)


def _changes(before: Poses, after: Poses) -> Tensor:
    """Return how far poses moved, (2, n): degrees and voxels."""
    degrees = rotation_error_degrees(after.rotations, before.rotations)
    return torch.stack([degrees, shift_error(after.shifts, before.shifts)])


def _together(particles: Particles, rows: list[Tensor], halves: list[Particles]) -> Particles:
    """Return all particles in their own order, with the poses of their halves."""
    order = torch.argsort(torch.cat(rows))
    return particles.with_poses(Poses.concatenate([half.poses for half in halves])[order])
