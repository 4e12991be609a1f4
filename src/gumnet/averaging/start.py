"""First maps of a particle set, from nothing: no reference, no poses, no labels.

Particles begin in random orientations and classes, which makes a blob; posteriors over all poses and the maps they make
follow each other (`gumnet.averaging.expectation`), and what particles agree on grows. The shape as a whole comes first,
and while orientations are unsure finer shells hold next to nothing but noise. So the first steps let each shell count
by what two parts of the particles have in common (`Lattice.common_power`), later ones by the mean of that and of the
power that the structure will have: with the first alone finer shells never begin to grow, with the second alone noise
grows as well.

Log likelihoods are taken as they are. Multiplied by more than 1 they grow faster and end in noise: to first order a
step leaves what is noise in a map as large as it was, and makes what is signal larger.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from gumnet.averaging.expectation import Expectation, expect, shift_grid
from gumnet.averaging.lattice import Lattice
from gumnet.averaging.low_band import LowBand
from gumnet.geometry.so3 import grid_size_for_spacing, random_rotations, super_fibonacci
from gumnet.geometry.symmetry import PointGroup
from gumnet.particles import Poses
from gumnet.types import Labels, Volume, Volumes

_SPACING_DEGREES = 100.0
"""Spacing of the grid of rotations times the highest shell: 20 degrees for shell 5. The grid is turned at random in
each step, so that over the steps all orientations come up."""


@dataclass(frozen=True)
class Phase:
    """Steps in one band.

    Parameters
    ----------
    shells
        Highest shell.
    steps
        How many, at most.
    caution
        Shells count by the power that is in common to this power, times that of the structure to the rest: 1 to 0.
    stride
        How much further than a step leads the maps go: the difference of two steps times this is added.
    """

    shells: int
    steps: int
    caution: float
    stride: float


SCHEDULE = (Phase(4, 12, 1.0, 0.7), Phase(5, 16, 0.5, 0.7), Phase(6, 12, 0.5, 0.6), Phase(7, 6, 0.5, 0.3))
"""Shell 7 is 55 A in a box of 32 voxels of 12 A. From there the search over all rotations finds every particle."""
_FIRST_CHOICE = 2
"""After this phase the better half of the starts goes on, and again after each that follows."""
_LEAST_STEPS = 3
_LEAST_GAIN = 0.15
"""A phase ends where two steps in turn raised the evidence by less than this share of its largest rise."""


@dataclass(frozen=True)
class StartConfig:
    """How first maps are made.

    Parameters
    ----------
    classes
        How many.
    max_shift
        Largest shift of a particle along each axis, in voxels.
    schedule
        The phases, in turn.
    folds
        Into how many parts particles are dealt, an even number: each is compared with maps of the others.
    starts
        Random starts. After the second phase the better half of them goes on, after the third the best.
    batch
        Most particles in a step, a class; of larger sets each step draws anew.
    symmetry
        Point group that the maps have; none unless given.
    """

    classes: int = 1
    max_shift: float = 4.0
    schedule: tuple[Phase, ...] = SCHEDULE
    folds: int = 4
    starts: int = 4
    batch: int = 1000
    symmetry: PointGroup | None = None


@dataclass(frozen=True)
class StartStep:
    """What one step reached.

    Parameters
    ----------
    start
        Number of the start, from 1.
    shells
        Highest shell.
    evidence
        Mean logarithm of how much likelier the maps of others make a particle than no structure does.
    shares
        Shares of the classes.
    sureness
        Mean probability of a particle's best pose.
    """

    start: int
    shells: int
    evidence: float
    shares: tuple[float, ...]
    sureness: float


OnStep = Callable[[StartStep], None]


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
    evidence
        Mean evidence of a particle, at the end.
    history
        One entry a step.
    """

    maps: Volumes
    classes: Tensor
    poses: Poses
    shells: int
    evidence: float
    history: tuple[StartStep, ...]


def first_maps(
    data: LowBand, config: StartConfig, *, mask: Volume, generator: torch.Generator, on_step: OnStep | None = None
) -> FirstMaps:
    """Return first maps of n particles; see the module.

    Parameters
    ----------
    data
        The particles in the widest band of the schedule, or wider.
    mask
        Soft mask of the maps (N, N, N).
    generator
        Deals folds, draws starts and turns grids.
    on_step
        Called after each step, to show it.
    """
    run = _Run(data, config, mask, generator, on_step)
    states = [run.random_state(number) for number in range(1, config.starts + 1)]
    for done, phase in enumerate(config.schedule, start=1):
        states = [run.phase(phase, state) for state in states]
        if done >= _FIRST_CHOICE:
            states = sorted(states, key=lambda state: -state.evidence)[: (len(states) + 1) // 2]
    return run.finished(max(states, key=lambda state: state.evidence))


@dataclass(frozen=True)
class _State:
    """Where a start has come to: its maps for each fold and class, (F, K, N, N, N), and their evidence."""

    number: int
    maps: Tensor
    evidence: float
    shares: Tensor


class _Run:
    """One search for first maps."""

    def __init__(
        self, data: LowBand, config: StartConfig, mask: Volume, generator: torch.Generator, on_step: OnStep | None
    ) -> None:
        self.data, self.config, self.mask = data, config, mask.cpu()
        self.generator, self.on_step = generator, on_step
        self.folds: Labels = torch.randperm(len(data), generator=generator) % config.folds
        self.history: list[StartStep] = []

    def random_state(self, number: int) -> _State:
        """Return the maps of particles in random orientations and classes."""
        phase, k = self.config.schedule[0], self.config.classes
        data = self.data.up_to(phase.shells)
        lattice = Lattice(data.band)
        n = len(data)
        rotations = random_rotations(n, generator=self.generator)
        classes = torch.randint(k, (n,), generator=self.generator)
        sums = torch.zeros(self.config.folds, k, *lattice.zeros().shape)
        precision = data.precision.expand(n, -1)
        for fold in range(self.config.folds):
            for c in range(k):
                rows = (self.folds == fold) & (classes == c)
                spectra = torch.cat([data.matched[rows].real, data.matched[rows].imag], dim=-1)
                lattice.add(sums[fold, c], rotations[rows], spectra, precision[rows])
        return _State(number, self.maps_of_others(lattice, sums, data, phase), float("-inf"), torch.full((k,), 1 / k))

    def phase(self, phase: Phase, state: _State) -> _State:
        """Return the state after the steps of a phase."""
        data = self.data.up_to(phase.shells)
        lattice = Lattice(data.band)
        maps, old = state.maps, None
        evidences: list[float] = []
        for _ in range(phase.steps):
            found = self.step(data, maps)
            new = self.maps_of_others(lattice, found.sums, data, phase)
            maps = new if old is None else new + phase.stride * (new - old)
            old, shares = new, found.classes.mean(dim=0)
            evidences.append(float(found.evidence.mean()))
            sureness = float(found.poses.scores.mean())
            self.tell(StartStep(state.number, phase.shells, evidences[-1], tuple(shares.tolist()), sureness))
            if _levelled_off(evidences):
                break
        return _State(state.number, maps, evidences[-1], shares)

    def step(self, data: LowBand, maps: Tensor, *, everyone: bool = False) -> Expectation:
        """Return the posterior of a batch of particles, or of all.

        All classes count alike beforehand: by their shares a class that is ahead by chance would take all.
        """
        most = self.config.batch * self.config.classes
        folds = self.folds
        if not everyone and len(data) > most:
            rows = torch.randperm(len(data), generator=self.generator)[:most]
            data, folds = data.rows(rows), folds[rows]
        shells = data.band.shells
        turn = random_rotations(1, generator=self.generator)[0]
        rotations = turn @ super_fibonacci(grid_size_for_spacing(_SPACING_DEGREES / shells))
        shifts = shift_grid(data.band.box, shells, self.config.max_shift)
        return expect(data, maps, folds, rotations, shifts, symmetry=self.config.symmetry)

    def maps_of_others(self, lattice: Lattice, sums: Tensor, data: LowBand, phase: Phase) -> Tensor:
        """Return maps (F, K, N, N, N), those of fold f without the particles of that fold."""
        total = sums.sum(dim=0)
        even = sums[::2].sum(dim=0)
        maps = torch.empty(self.config.folds, self.config.classes, *self.mask.shape)
        for k in range(self.config.classes):
            common = torch.minimum(lattice.common_power(even[k], total[k] - even[k]), data.signal.cpu())
            power = common**phase.caution * data.signal.cpu() ** (1 - phase.caution)
            for fold in range(self.config.folds):
                maps[fold, k] = lattice.map(total[k] - sums[fold, k], power) * self.mask
        return maps

    def finished(self, state: _State) -> FirstMaps:
        """Return the maps of all particles, from one more step that takes them all."""
        shells = self.config.schedule[-1].shells
        data = self.data.up_to(shells)
        lattice = Lattice(data.band)
        found = self.step(data, state.maps, everyone=True)
        maps = torch.stack([lattice.map(s, data.signal) * self.mask for s in found.sums.sum(dim=0)])
        evidence = float(found.evidence.mean())
        return FirstMaps(maps, found.classes, found.poses, shells, evidence, tuple(self.history))

    def tell(self, step: StartStep) -> None:
        """Keep a step, and show it."""
        self.history.append(step)
        if self.on_step is not None:
            self.on_step(step)


def _levelled_off(evidences: list[float]) -> bool:
    """Return whether the last two steps of a phase gained little beside its largest gain."""
    gains = [after - before for before, after in pairwise(evidences)]
    return len(gains) > _LEAST_STEPS and max(gains[-2:]) < _LEAST_GAIN * max(gains)
