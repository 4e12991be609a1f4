"""Pairs and sets of simulated subtomograms, with the truth kept apart from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.devices import seeded
from gumnet.errors import InputError
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.warp import warp
from gumnet.particles import InMemory, MemorySource, Particles, Poses
from gumnet.progress import progress
from gumnet.simulation.config import SimulationConfig as SimulationConfig
from gumnet.simulation.microscope import FourierImaging, radial_transfer
from gumnet.simulation.noise import variance
from gumnet.simulation.phantom import phantoms
from gumnet.simulation.tilt_series import TiltSeriesImaging
from gumnet.types import Labels, Vectors, Volume, Volumes, Weights

# Random numbers are drawn batch by batch, so this is part of what a seed means.
_BATCH = 32
# Trilinear interpolation of structures enlarged this much keeps 98.7 % of the amplitude at half of Nyquist.
_OVERSAMPLING = 3


@dataclass(frozen=True)
class WeightKinds(InMemory):
    """Fourier weights of n particles of which many are the same: a source that keeps each kind once.

    Parameters
    ----------
    kinds
        The different weights, shape (k, N, N, N // 2 + 1).
    kind_of
        Which of them each particle has, shape (n,).
    """

    kinds: Weights
    kind_of: Labels

    @property
    def box(self) -> int:
        """Side of the cubic box in voxels."""
        return int(self.kinds.shape[1])

    def __len__(self) -> int:
        return len(self.kind_of)

    def read(self, indices: Sequence[int]) -> Tensor:
        """Return the weights (k, N, N, N // 2 + 1) of the particles at ``indices``, float32."""
        return self.kinds[self.kind_of[list(indices)]].to(torch.float32)


@dataclass(frozen=True)
class Simulation:
    """Simulated particles, and what is true of them.

    Parameters
    ----------
    particles
        n subtomograms with their weights. Poses, classes and half sets are unset: nothing of the truth is in here.
    truth
        The true poses of the n particles on their structures.
    truth_classes
        Which structure each particle is of, from 1, shape (n,).
    pairs
        Rows (a, b) of the particles that form a pair, from 0, shape (m, 2); None for a set of particles.
    structures
        The structures, shape (k, N, N, N), as they were before imaging.
    config
        How they were made.
    """

    particles: Particles
    truth: Poses
    truth_classes: Labels
    pairs: Tensor | None
    structures: Volumes
    config: SimulationConfig

    def pair_truth(self) -> Poses:
        """Return the true pose of b on a of every pair, ``x_b = R x_a + t``."""
        if self.pairs is None:
            raise InputError("this is a set of particles, not of pairs", cure="simulate with pairs")
        return self.truth[self.pairs[:, 1]].compose(self.truth[self.pairs[:, 0]].inverse())


def simulate(
    structures: Volumes | Sequence[Volume] | None = None,
    *,
    pairs: int | None = None,
    particles: int | None = None,
    config: SimulationConfig | None = None,
) -> Simulation:
    """Simulate pairs of subtomograms, or a set of them.

    A pair (a, b) is two independent volumes of one structure, as in the paper: a is turned by a random rotation and
    not shifted; b is a turned by another uniformly random rotation and then shifted. So the relative pose,
    ``x_b = R x_a + t``, has R uniform on SO(3) and t uniform within the largest shift on every axis. Pair i holds
    particles 2 i (a) and 2 i + 1 (b). In a set, every particle has a uniformly random rotation and shift, and a wedge.
    Structures appear equally often, in random order.

    Signals are scaled so that a structure seen through the CTF has about unit variance; noise is scaled to each signal.

    Parameters
    ----------
    structures
        Shape (k, N, N, N), or k volumes (N, N, N); white on black, at the box and voxel size of the configuration; the
        built-in phantoms unless given.
    pairs, particles
        How many to make; give one of the two.
    config
        How; the defaults unless given.
    """
    config = SimulationConfig() if config is None else config
    if (pairs is None) == (particles is None):
        raise InputError("pairs and particles are both given, or neither is", cure="give the number of one of them")
    count = pairs if particles is None else particles
    if count is None or count < 1:
        raise InputError(f"{count} cannot be simulated", cure="give a number of 1 or more")
    if structures is None:
        structures = phantoms(config.phantoms, config.box, config.voxel_size_angstrom, seed=config.phantom_seed)
    if not isinstance(structures, Tensor):
        shapes = {tuple(structure.shape) for structure in structures}
        if len(shapes) != 1:
            raise InputError(f"structures of shapes {sorted(shapes)}", cure="give at least one, all of one box")
        structures = torch.stack(list(structures))
    structures = structures.detach().to("cpu", torch.float32)
    _check(structures, config.box)
    generator = seeded(config.seed)
    chosen = torch.randperm(count, generator=generator) % len(structures)
    rotations = random_rotations(count, generator=generator)
    shifts = _random_shifts(count, config, generator)
    truth, rows = Poses.of(rotations, shifts), None
    has_wedge = torch.ones(count, dtype=torch.int64)
    if pairs is not None:
        first = Poses.of(random_rotations(count, generator=generator), torch.zeros_like(shifts))
        # Pair by pair: a, b, a, b, ...
        truth = Poses.concatenate([first, truth.compose(first)])[torch.arange(2 * count).view(2, count).T.flatten()]
        chosen = chosen.repeat_interleave(2)
        rows = torch.arange(2 * count).view(count, 2)
        has_wedge = torch.tensor([config.wedge == "both", True]).to(torch.int64).repeat(count)
    volumes, weights = _image(structures, chosen, truth, has_wedge, config, generator)
    return Simulation(
        particles=Particles(
            volumes=MemorySource(volumes),
            poses=Poses.identity(len(volumes)),
            voxel_size_angstrom=config.voxel_size_angstrom,
            weights=weights,
        ),
        truth=truth,
        truth_classes=chosen + 1,
        pairs=rows,
        structures=structures,
        config=config,
    )


def posed(structure: Volumes, poses: Poses) -> Volumes:
    """Return a structure (1, N, N, N) in n poses, (n, N, N, N): ``out(R x + t) = structure(x)``, zero from outside."""
    onto = poses.inverse()
    return warp(structure, onto.rotations, onto.shifts, oversampling=_OVERSAMPLING)


def _check(structures: Volumes, box: int) -> None:
    if structures.ndim != 4 or len(structures) == 0 or tuple(structures.shape[1:]) != (box,) * 3:
        raise InputError(
            f"structures of shape {tuple(structures.shape)} do not fit a box of {box}",
            cure=f"give them as (k, {box}, {box}, {box})",
        )
    for i, structure in enumerate(structures):
        if not bool(torch.isfinite(structure).all()) or float(structure.std()) == 0:
            raise InputError(f"structure {i + 1} is constant or not finite", cure="give a density")


def _random_shifts(n: int, config: SimulationConfig, generator: torch.Generator) -> Vectors:
    if config.whole_voxel_shifts:
        largest = int(config.max_shift)
        return torch.randint(-largest, largest + 1, (n, 3), generator=generator).to(torch.float64)
    return (2 * torch.rand(n, 3, generator=generator, dtype=torch.float64) - 1) * config.max_shift


def _image(
    structures: Volumes,
    chosen: Labels,
    truth: Poses,
    has_wedge: Labels,
    config: SimulationConfig,
    generator: torch.Generator,
) -> tuple[Volumes, WeightKinds]:
    """Return the subtomograms (n, N, N, N) and their weights, made batch by batch in order."""
    imaging = FourierImaging if config.model == "fourier" else TiltSeriesImaging
    kinds = torch.unique(has_wedge)
    microscopes = [imaging(config, has_wedge=bool(kind)) for kind in kinds]
    kind_of = torch.searchsorted(kinds, has_wedge)
    volumes = torch.empty(len(chosen), *structures.shape[1:])
    scaled = _unit_signals(structures.to(torch.float32), config)
    with progress("simulating", len(chosen)) as display:
        for kind, microscope in enumerate(microscopes):
            for number in range(len(structures)):
                rows = torch.nonzero((chosen == number) & (kind_of == kind))[:, 0]
                for start in range(0, len(rows), _BATCH):
                    some = rows[start : start + _BATCH]
                    placed = posed(scaled[number : number + 1], truth[some])
                    volumes[some] = microscope.subtomograms(placed, generator)
                    display.advance(len(some))
    return volumes, WeightKinds(torch.stack([m.weights for m in microscopes]), kind_of)


def _unit_signals(structures: Volumes, config: SimulationConfig) -> Volumes:
    """Return structures scaled so that, seen through the CTF, each has unit variance."""
    spectra = torch.fft.rfftn(structures, dim=(-3, -2, -1)) * radial_transfer(config)
    seen = torch.fft.irfftn(spectra, s=structures.shape[1:], dim=(-3, -2, -1))
    return structures / variance(seen).sqrt()[:, None, None, None]
