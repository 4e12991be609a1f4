"""First maps of a particle set, from nothing: no reference, no poses, no labels.

Particles begin in random orientations and classes, which makes a blob; posteriors over all poses and the maps they make
follow each other (`gumnet.averaging.expectation`) until the evidence that particles find for the maps of others no longer
grows, then a shell is added. What begins as noise grows where particles agree. The maps hold few shells and all particles:
they start two halves, which go their own ways from there (`gumnet.averaging.iterate`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gumnet.averaging.expectation import Expectation, expect, shift_grid
from gumnet.averaging.lattice import Lattice
from gumnet.averaging.low_band import LowBand
from gumnet.geometry.so3 import grid_size_for_spacing, random_rotations, super_fibonacci
from gumnet.particles import Poses
from gumnet.types import Labels, Volume, Volumes

SPACING_DEGREES = 100.0
"""Spacing of the grid of rotations, over the highest shell: 20 degrees for shell 5. It is turned at random in each step, so
that over the steps all orientations come up."""


@dataclass(frozen=True)
class StartConfig:
    """How first maps are made.

    Parameters
    ----------
    classes
        How many.
    max_shift
        Largest shift of a particle along each axis, in voxels.
    shells
        Highest shells of the bands, in turn. Below the first, blobs of any orientation look alike; a structure that
        breaks its symmetry only in finer shells does so later.
    steps
        Most steps in a band.
    gain
        The next band follows where a step raised the evidence of a particle by less than this share of it, twice in turn.
    folds
        Into how many parts particles are dealt: each is compared with maps of the others.
    starts
        Random starts, of which the one with the most evidence after the first band goes on.
    batch
        Most particles in a step, a class; of larger sets each step draws anew.
    """

    classes: int = 1
    max_shift: float = 4.0
    shells: tuple[int, ...] = (5, 6, 7)
    steps: int = 8
    gain: float = 0.2
    folds: int = 4
    starts: int = 2
    batch: int = 1000
    tempers: tuple[float, ...] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class StartStep:
    """What one step reached: highest shell, mean evidence of a particle, shares of the classes, sureness of poses."""

    start: int
    shells: int
    evidence: float
    shares: tuple[float, ...]
    sureness: float


@dataclass(frozen=True)
class FirstMaps:
    """Maps of all particles in a low band.

    Parameters
    ----------
    maps
        Shape (K, N, N, N).
    classes
        Probabilities (n, K).
    poses
        The most probable pose of each particle on its most probable class.
    shells
        Highest shell of the maps.
    history
        One entry a step.
    """

    maps: Volumes
    classes: Tensor
    poses: Poses
    shells: int
    history: tuple[StartStep, ...]


OnStep = Callable[[StartStep], None]


def first_maps(
    data: LowBand,
    config: StartConfig,
    *,
    mask: Volume,
    generator: torch.Generator,
    on_step: OnStep | None = None,
) -> FirstMaps:
    """Return first maps of n particles; see the module.

    Parameters
    ----------
    data
        The particles in the widest band that is wanted, or wider.
    mask
        Soft mask of the maps (N, N, N).
    generator
        Deals folds, draws starts and turns grids.
    on_step
        Called after each step, to show it.
    """
    run = _Run(data, config, mask, generator, on_step)
    best, *others = (run.band(number, config.shells[0], run.random_maps()) for number in range(1, config.starts + 1))
    for other in others:
        best = max(best, other, key=lambda state: state.evidence)
    for shells in config.shells[1:]:
        best = run.band(best.number, shells, best.maps)
    return run.finished(best)


@dataclass(frozen=True)
class _State:
    """Where a start has come to: its maps for each fold and class, (F, K, N, N, N), and their evidence."""

    number: int
    shells: int
    maps: Tensor
    evidence: float


class _Run:
    """One search for first maps."""

    def __init__(
        self,
        data: LowBand,
        config: StartConfig,
        mask: Volume,
        generator: torch.Generator,
        on_step: OnStep | None,
    ) -> None:
        self.data, self.config, self.mask = data, config, mask.cpu()
        self.generator, self.on_step = generator, on_step
        n = len(data)
        self.folds: Labels = torch.randperm(n, generator=generator) % config.folds
        self.history: list[StartStep] = []

    def random_maps(self) -> Tensor:
        """Return the maps (F, K, N, N, N) of particles in random orientations and classes."""
        data = self.data.up_to(self.config.shells[0])
        lattice = Lattice(data.band)
        n, k = len(data), self.config.classes
        rotations = random_rotations(n, generator=self.generator)
        classes = torch.randint(k, (n,), generator=self.generator)
        sums = torch.zeros(self.config.folds, k, lattice.side**3, 3)
        precision = data.precision.expand(n, -1)
        for fold in range(self.config.folds):
            for c in range(k):
                rows = (self.folds == fold) & (classes == c)
                spectra = torch.cat([data.matched[rows].real, data.matched[rows].imag], dim=-1)
                lattice.add(sums[fold, c], rotations[rows], spectra, precision[rows])
        return self.of_others(lattice, sums, data)

    def of_others(self, lattice: Lattice, sums: Tensor, data: LowBand) -> Tensor:
        """Return maps (F, K, N, N, N), those of fold f without the particles of that fold."""
        total = sums.sum(dim=0)
        one = sums[::2].sum(dim=0)
        signal = [lattice.common_power(a, b - a) for a, b in zip(one, total)]
        signal = [torch.minimum(s,data.signal) for s in signal]
        if self.on_step and len(self.history)%4==0: print('      tau/signal',[round(float(x),3) for x in (signal[0]/data.signal)[1:]])
        maps = [torch.stack([lattice.map(s, w) * self.mask for s, w in zip(total - part, signal)]) for part in sums]
        return torch.stack(maps)

    def band(self, number: int, shells: int, maps: Tensor) -> _State:
        """Return the maps after the steps in the shells up to ``shells``."""
        data = self.data.up_to(shells)
        lattice = Lattice(data.band)
        before, flat, gains = float("-inf"), 0, []
        shares = torch.full((self.config.classes,), 1 / self.config.classes)
        for _ in range(self.config.steps):
            found = self.step(data, maps, shares)
            maps = self.of_others(lattice, found.sums, data)
            seen = found.classes.mean(dim=0)
            evidence = float(found.evidence.mean())
            self.tell(StartStep(number, shells, evidence, tuple(seen.tolist()), float(found.poses.scores.mean())))
            gain = evidence - before
            before = evidence
            gains.append(gain)
            flat = flat + 1 if len(gains) > 2 and gain < self.config.gain * max(gains[1:]) else 0
            if flat == 2:
                break
        return _State(number, shells, maps, before)

    def step(self, data: LowBand, maps: Tensor, shares: Tensor, *, everyone: bool = False) -> Expectation:
        """Return the posterior of a batch of particles, or of all."""
        most = self.config.batch * self.config.classes
        folds = self.folds
        if not everyone and len(data) > most:
            rows = torch.randperm(len(data), generator=self.generator)[:most]
            data, folds = data.rows(rows), folds[rows]
        shells = data.band.shells
        turn = random_rotations(1, generator=self.generator)[0]
        rotations = turn @ super_fibonacci(grid_size_for_spacing(SPACING_DEGREES / shells))
        shifts = shift_grid(data.band.box, shells, self.config.max_shift)
        temper = 1.0 if everyone else self.config.tempers[self.config.shells.index(shells)]
        return expect(data, maps, folds, rotations, shifts, shares=shares, temper=temper)

    def finished(self, state: _State) -> FirstMaps:
        """Return the maps of all particles, from one more step that takes them all."""
        data = self.data.up_to(state.shells)
        lattice = Lattice(data.band)
        shares = torch.tensor(self.history[-1].shares)
        found = self.step(data, state.maps, shares, everyone=True)
        maps = torch.stack([lattice.map(s, data.signal) * self.mask for s in found.sums.sum(dim=0)])
        return FirstMaps(maps, found.classes, found.poses, state.shells, tuple(self.history))

    def tell(self, step: StartStep) -> None:
        self.history.append(step)
        if self.on_step is not None:
            self.on_step(step)
