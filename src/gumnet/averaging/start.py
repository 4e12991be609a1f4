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
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from gumnet.averaging.checkpoint import Checkpoint, tensors_of
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
_SORTED_SHELLS = 5
"""Beyond this shell particles are compared only with classes that they may be of: by then nearly all are sorted."""
_LEAST_PROBABLE = 1e-3
_SETTLE = 3
"""Steps before a class may count as lost."""
_LEAST_SHARE = 0.4
"""A class with less than this share of the mean class is lost."""
_TWINS = 0.05
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

    def starts_after(self, phase: int) -> int:
        """Return how many starts go on after a phase, counted from 1; all do before the first."""
        left = self.starts
        for _ in range(_FIRST_CHOICE, phase + 1):
            left = (left + 1) // 2
        return left


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


def _steps(kept: list[dict[str, Any]]) -> list[StartStep]:
    return [StartStep(**{**step, "shares": tuple(step["shares"])}) for step in kept]


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

    @classmethod
    def found(cls, kept: Checkpoint) -> FirstMaps | None:
        """Return first maps that were kept, if they were."""
        found = kept.find("first maps")
        if found is None:
            return None
        tensors, facts = found.tensors, found.facts
        return cls(
            tensors["maps"],
            tensors["classes"],
            found.poses("poses "),
            facts["shells"],
            facts["evidence"],
            tuple(_steps(facts["history"])),
        )

    def keep(self, kept: Checkpoint) -> None:
        """Keep them."""
        tensors = {"maps": self.maps, "classes": self.classes, **tensors_of(self.poses, "poses ")}
        history = [asdict(step) for step in self.history]
        kept.keep("first maps", tensors, {"shells": self.shells, "evidence": self.evidence, "history": history})


def first_maps(
    data: LowBand,
    config: StartConfig,
    *,
    mask: Volume,
    generator: torch.Generator,
    on_step: OnStep | None = None,
    kept: Checkpoint | None = None,
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
    kept
        Keeps what each phase leads to, and gives that of an earlier run.
    """
    kept = Checkpoint() if kept is None else kept
    run = _Run(data, config, mask, generator, on_step)
    done, states = run.kept_states(kept)
    if not states:
        states = [run.random_state(number) for number in range(1, config.starts + 1)]
    for number, phase in enumerate(config.schedule[done:], start=done + 1):
        states = [run.phase(phase, state) for state in states]
        if config.starts_after(number) < len(states):
            states = sorted(states, key=lambda state: -state.evidence)[: config.starts_after(number)]
        run.keep_states(kept, number, states)
    return run.finished(states[0])


@dataclass(frozen=True)
class _State:
    """Where a start has come to: its maps for each fold and class, (F, K, N, N, N), and their evidence."""

    number: int
    maps: Tensor
    evidence: float
    shares: Tensor
    known: Tensor


@dataclass(frozen=True)
class _Batch:
    """Particles of a step, their folds, and their rows in the set."""

    data: LowBand
    folds: Labels
    rows: Tensor


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
        maps = self.maps_of_others(lattice, sums, data, phase)
        return _State(number, maps, float("-inf"), torch.full((k,), 1 / k), torch.ones(n, k))

    def phase(self, phase: Phase, state: _State) -> _State:
        """Return the state after the steps of a phase."""
        data = self.data.up_to(phase.shells)
        lattice = Lattice(data.band)
        maps, old, shares, known = state.maps, None, state.shares, state.known.clone()
        evidences: list[float] = []
        settled = 0
        for _ in range(phase.steps):
            some = self.batch(data)
            sorted_already = phase.shells > _SORTED_SHELLS
            candidates = known[some.rows] > _LEAST_PROBABLE if sorted_already else None
            found = self.step(some, maps, candidates)
            known[some.rows] = found.classes
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
            self.tell(StartStep(state.number, phase.shells, evidences[-1], tuple(shares.tolist()), sureness))
            if _levelled_off(evidences) and settled > _SETTLE:
                break
        return _State(state.number, maps, evidences[-1], shares, known)

    def batch(self, data: LowBand) -> _Batch:
        """Return as many particles as a step takes, others each time where there are more."""
        most = self.config.batch * self.config.classes
        if len(data) <= most:
            return _Batch(data, self.folds, torch.arange(len(data)))
        rows = torch.randperm(len(data), generator=self.generator)[:most]
        return _Batch(data.rows(rows), self.folds[rows], rows)

    def step(self, some: _Batch, maps: Tensor, candidates: Tensor | None = None) -> Expectation:
        """Return the posterior of a batch of particles, all classes as likely beforehand.

        By their shares a class that is ahead by chance would take all.
        """
        shells = some.data.band.shells
        turn = random_rotations(1, generator=self.generator)[0]
        rotations = turn @ super_fibonacci(grid_size_for_spacing(_SPACING_DEGREES / shells))
        shifts = shift_grid(some.data.band.box, shells, self.config.max_shift)
        group = self.config.symmetry
        return expect(some.data, maps, some.folds, rotations, shifts, symmetry=group, candidates=candidates)

    def divided(self, some: _Batch, maps: Tensor, found: Expectation, moves: list[tuple[int, int]]) -> Tensor:
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
        split = self.step(_Batch(some.data, some.folds + folds * worse, some.rows), torch.cat([maps, maps])).sums
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

    def finished(self, state: _State) -> FirstMaps:
        """Return the maps of all particles, from one more step that takes them all."""
        shells = self.config.schedule[-1].shells
        data = self.data.up_to(shells)
        lattice = Lattice(data.band)
        found = self.step(_Batch(data, self.folds, torch.arange(len(data))), state.maps)
        maps = torch.stack([lattice.map(s, data.signal) * self.mask for s in found.sums.sum(dim=0)])
        evidence = float(found.evidence.mean())
        return FirstMaps(maps, found.classes, found.poses, shells, evidence, tuple(self.history))

    def keep_states(self, kept: Checkpoint, phases: int, states: list[_State]) -> None:
        """Keep what the first phases led to, and where the random numbers are."""
        tensors = {
            "maps": torch.stack([state.maps for state in states]),
            "shares": torch.stack([state.shares for state in states]),
            "generator": self.generator.get_state(),
        }
        facts = {
            "numbers": [state.number for state in states],
            "evidence": [state.evidence for state in states],
            "history": [asdict(step) for step in self.history],
        }
        kept.keep(f"phase {phases}", tensors, facts)

    def kept_states(self, kept: Checkpoint) -> tuple[int, list[_State]]:
        """Return how many phases an earlier run finished, and what they led to; go on from there."""
        for phases in range(len(self.config.schedule), 0, -1):
            found = kept.find(f"phase {phases}")
            if found is not None:
                self.generator.set_state(found.tensors["generator"])
                self.history = _steps(found.facts["history"])
                columns = (found.facts["numbers"], found.tensors["maps"], found.facts["evidence"])
                return phases, [_State(*row) for row in zip(*columns, found.tensors["shares"], strict=True)]
        return 0, []

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
