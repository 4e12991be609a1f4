"""The steps of a search for first maps: see `gumnet.averaging.start`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from gumnet.alignment.grid_part import GridPart
from gumnet.alignment.rotation_grid import RotationGrid
from gumnet.alignment.score import phases
from gumnet.averaging.expectation import SHIFTS_A_PERIOD, Expectation, expect, shift_grid
from gumnet.averaging.lattice import Lattice
from gumnet.averaging.likely import likely_rotations
from gumnet.averaging.low_band import LowBand
from gumnet.averaging.start_config import OnStep, Phase, StartConfig, StartStep
from gumnet.geometry.so3 import random_rotations
from gumnet.particles import Poses
from gumnet.types import Labels, Vectors, Volume, Volumes

_SPACING_DEGREES = 100.0
"""Spacing of the grid of rotations times the highest shell: 20 degrees for shell 5. The grid is turned at random in
each step, so that over the steps all orientations come up."""
_SORTED_SHELLS = 5
"""Beyond this shell particles are compared only with classes that they may be of: by then nearly all are sorted."""
_LEAST_PROBABLE = 1e-3
_PLACED_SHELLS = 6
"""Beyond this shell shifts are tried only near those known: a fifth of the cost."""
LIKELY_SHELLS = 5
"""Beyond this shell a CPU compares particles only with rotations that these shells leave possible; a GPU, which is
quickest with whole matrices, with all."""
_LIKELY_SURENESS = 0.1
"""While particles are less sure of their poses than this, low shells leave nearly all rotations possible, and are not
asked."""
_MOST_LIKELY = 0.4
_SETTLE = 3
"""Steps before a class may count as lost."""
_LEAST_SHARE = 0.4
"""A class with less than this share of the mean class is lost."""
_TWINS = 0.05
_LEAST_STEPS = 3
_LEAST_GAIN = 0.15
"""A phase ends where two steps in turn raised the evidence by less than this share of its largest rise."""


@dataclass(frozen=True)
class State:
    """Where a start has come to.

    Parameters
    ----------
    number
        Of the start, from 1.
    evidence
        Mean evidence of a particle in the last step.
    maps
        Those of each fold and class, (F, K, N, N, N).
    known
        Probabilities of the classes for each particle, (n, K).
    centres
        Mean shift of each particle over its posterior, (n, 3), in voxels.
    """

    TENSORS: ClassVar = ("maps", "known", "centres")

    number: int
    evidence: float
    maps: Tensor
    known: Tensor
    centres: Vectors


@dataclass(frozen=True)
class Batch:
    """Particles of a step, their folds, and their rows in the set."""

    data: LowBand
    folds: Labels
    rows: Tensor


class StartRun:
    """One search for first maps."""

    def __init__(
        self, data: LowBand, config: StartConfig, mask: Volume, generator: torch.Generator, on_step: OnStep | None
    ) -> None:
        self.data, self.config, self.mask = data, config, mask.cpu()
        self.generator, self.on_step = generator, on_step
        self.folds: Labels = torch.randperm(len(data), generator=generator) % config.folds
        self.history: list[StartStep] = []

    def random_state(self, number: int) -> State:
        """Return the maps of particles in random orientations and classes."""
        n, k = len(self.data), self.config.classes
        rotations = random_rotations(n, generator=self.generator)
        classes = torch.randint(k, (n,), generator=self.generator)
        poses = Poses.of(rotations, torch.zeros(n, 3, dtype=rotations.dtype))
        return self.posed_state(number, poses, classes, torch.ones(n, dtype=torch.bool))

    def posed_state(self, number: int, poses: Poses, classes: Labels, used: Tensor) -> State:
        """Return the maps of some particles, ``used`` (n,), at poses on the maps of their classes, 0 ... K - 1."""
        phase, k = self.config.schedule[0], self.config.classes
        data = self.data.up_to(phase.shells)
        lattice = Lattice(data.band)
        n = len(data)
        sums = torch.zeros(self.config.folds, k, *lattice.zeros().shape)
        precision = data.precision.expand(n, -1)
        matched = data.matched * phases(data.band, -poses.shifts.to(data.band.frequencies))
        for fold in range(self.config.folds):
            for c in range(k):
                rows = (self.folds == fold) & (classes == c) & used
                spectra = torch.cat([matched[rows].real, matched[rows].imag], dim=-1)
                lattice.add(sums[fold, c], poses.rotations[rows], spectra, precision[rows])
        maps = self.maps_of_others(lattice, sums, data, phase)
        centres = poses.shifts.float()
        return State(number, float("-inf"), maps, torch.ones(n, k), centres)

    def phase(self, phase: Phase, state: State) -> State:
        """Return the state after the steps of a phase."""
        data = self.data.up_to(phase.shells)
        lattice = Lattice(data.band)
        maps, old = state.maps, None
        known, centres = state.known.clone(), state.centres.clone()
        evidences: list[float] = []
        settled = 0
        for _ in range(phase.steps):
            some = self.batch(data)
            sorted_already = phase.shells > _SORTED_SHELLS
            candidates = known[some.rows] > _LEAST_PROBABLE if sorted_already else None
            sure = self.sureness(state.number)
            found = self.step(some, maps, candidates=candidates, shifts_near=centres[some.rows], sureness=sure)
            known[some.rows], centres[some.rows] = found.classes, found.shifts
            shares, settled = found.classes.mean(dim=0), settled + 1
            moves = divisions(shares, found.sums) if settled > _SETTLE else []
            if moves:
                sums, old, settled = self.divided(some, maps, found, moves), None, 0
                known.fill_(1.0)
            else:
                sums = found.sums
            new = self.maps_of_others(lattice, sums, data, phase)
            maps = new if old is None else new + phase.stride * (new - old)
            old = new
            evidences.append(float(found.evidence.mean()))
            sureness = float(found.poses.scores.mean())
            refilled = tuple(lost + 1 for lost, _ in moves)
            self.tell(StartStep(state.number, phase.shells, evidences[-1], tuple(shares.tolist()), sureness, refilled))
            if _levelled_off(evidences) and settled > _SETTLE:
                break
        return State(state.number, evidences[-1], maps, known, centres)

    def batch(self, data: LowBand) -> Batch:
        """Return as many particles as a step takes, others each time where there are more."""
        most = self.config.batch * self.config.classes
        if len(data) <= most:
            return Batch(data, self.folds, torch.arange(len(data)))
        rows = torch.randperm(len(data), generator=self.generator)[:most]
        return Batch(data.rows(rows), self.folds[rows], rows)

    def sureness(self, number: int) -> float:
        """Return how sure particles were of their poses in the last step of a start; 0 before there was one."""
        return next((step.sureness for step in reversed(self.history) if step.start == number), 0.0)

    def step(
        self,
        some: Batch,
        maps: Tensor,
        *,
        candidates: Tensor | None = None,
        shifts_near: Vectors | None = None,
        sureness: float = 1.0,
    ) -> Expectation:
        """Return the posterior of a batch of particles, all classes as likely beforehand.

        By their shares a class that is ahead by chance would take all. In the finer bands shifts are tried only about
        those (n, 3) that a particle was found to have: where it lies is known long before how it is turned.
        """
        box, shells = some.data.band.box, some.data.band.shells
        grid = self.turned_grid(shells)
        reach = self.config.max_shift
        if shells > _PLACED_SHELLS and shifts_near is not None:
            reach = min(reach, box / (SHIFTS_A_PERIOD * shells))  # one step of the grid, either way
        else:
            shifts_near = None
        sure = sureness >= _LIKELY_SURENESS
        if sure and shells > LIKELY_SHELLS and some.data.matched.device.type == "cpu":
            likely = self.likely(some, maps, grid, candidates, shifts_near)
            # One particle at a time costs more than the matrix that they share where little is left out.
            candidates = likely if float(likely.float().mean()) < _MOST_LIKELY else candidates
        return expect(
            some.data,
            maps,
            some.folds,
            grid,
            shift_grid(box, shells, reach),
            symmetry=self.config.symmetry,
            candidates=candidates,
            centres=shifts_near,
        )

    def turned_grid(self, shells: int) -> GridPart:
        """Return a grid of rotations for a band, turned at random."""
        turn = random_rotations(1, generator=self.generator)[0]
        return GridPart.of_grid(RotationGrid.of_spacing(_SPACING_DEGREES / shells), turn)

    def likely(
        self, some: Batch, maps: Tensor, grid: GridPart, candidates: Tensor | None, centres: Vectors | None
    ) -> Tensor:
        """Return which classes and rotations particles may have, as low shells say."""
        n, box = len(some.rows), some.data.band.box
        reach = self.config.max_shift if centres is None else box / (SHIFTS_A_PERIOD * LIKELY_SHELLS)
        return likely_rotations(
            some.data.up_to(LIKELY_SHELLS),
            maps,
            some.folds,
            grid.rotations,
            self.turned_grid(LIKELY_SHELLS),
            shift_grid(box, LIKELY_SHELLS, min(reach, self.config.max_shift)),
            torch.ones(n, maps.shape[1], dtype=torch.bool) if candidates is None else candidates,
            torch.zeros(n, 3) if centres is None else centres,
        )

    def divided(self, some: Batch, maps: Tensor, found: Expectation, moves: list[tuple[int, int]]) -> Tensor:
        """Return sums (F, K, D^3, 3) in which lost classes have got the worse half of large ones.

        Of a class that holds two structures, its map resembles one: particles of the other find less evidence there.
        """
        worse = torch.zeros(len(some.folds), dtype=torch.bool)
        of_class = found.classes.argmax(dim=1)
        for _, donor in moves:
            members = of_class == donor
            if bool(members.any()):
                worse |= members & (found.evidence < found.evidence[members].median())
        folds = self.config.folds
        split = self.step(Batch(some.data, some.folds + folds * worse, some.rows), torch.cat([maps, maps])).sums
        better, rest = split[:folds], split[folds:]
        sums = better + rest
        for lost, donor in moves:
            sums[:, lost], sums[:, donor] = rest[:, donor], better[:, donor]
        return sums

    def maps_of_others(self, lattice: Lattice, sums: Tensor, data: LowBand, phase: Phase) -> Tensor:
        """Return maps (F, K, N, N, N), those of fold f without the particles of that fold."""
        total = sums.sum(dim=0)
        even = sums[::2].sum(dim=0)
        signal = data.signal.cpu()
        maps = torch.empty(self.config.folds, self.config.classes, *self.mask.shape)
        for k in range(self.config.classes):
            common = torch.minimum(lattice.common_power(even[k], total[k] - even[k]), signal)
            power = common**phase.caution * signal ** (1 - phase.caution)
            for fold in range(self.config.folds):
                maps[fold, k] = lattice.map(total[k] - sums[fold, k], power) * self.mask
        return maps

    def finished(self, state: State, shells: int) -> tuple[Expectation, Volumes]:
        """Return the posterior of all particles, and the maps (K, N, N, N) that they make."""
        data = self.data.up_to(shells)
        lattice = Lattice(data.band)
        found = self.step(Batch(data, self.folds, torch.arange(len(data))), state.maps, shifts_near=state.centres)
        return found, torch.stack([lattice.map(s, data.signal) * self.mask for s in found.sums.sum(dim=0)])

    def tell(self, step: StartStep) -> None:
        """Keep a step, and show it."""
        self.history.append(step)
        if self.on_step is not None:
            self.on_step(step)


def divisions(shares: Tensor, sums: Tensor) -> list[tuple[int, int]]:
    """Return which classes are lost, each with the class that is to be divided for it.

    Parameters
    ----------
    shares
        Shares of the classes, (K,).
    sums
        Shape (F, K, D^3, 3). A class whose sums are those of another one to a few per cent is lost too.
    """
    total = sums.sum(dim=0).flatten(1)
    size = torch.linalg.vector_norm(total, dim=1)
    lost = shares < _LEAST_SHARE / len(shares)
    for k in range(len(shares)):
        for other in range(k):
            apart = torch.linalg.vector_norm(total[k] - total[other])
            lost[k] |= bool(apart < _TWINS * torch.maximum(size[k], size[other])) and not bool(lost[other])
    left, moves = shares.masked_fill(lost, 0.0), []
    for k in torch.nonzero(lost)[:, 0].tolist():
        donor = int(left.argmax())
        if left[donor] > 0:
            moves.append((k, donor))
            left[donor] = 0.0
    return moves


def _levelled_off(evidences: list[float]) -> bool:
    """Return whether the last two steps of a phase gained little beside its largest gain."""
    gains = [after - before for before, after in pairwise(evidences)]
    return len(gains) > _LEAST_STEPS and max(gains[-2:]) < _LEAST_GAIN * max(gains)
