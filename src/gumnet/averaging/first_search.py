"""The search for first maps, set up for a set: its particles, its phases, its random numbers, what is kept of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from gumnet.alignment.reference_mask import widest_mask
from gumnet.averaging.checkpoint import Checkpoint
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.low_band import LowBand
from gumnet.averaging.paired import begun_from_pairs
from gumnet.averaging.result import OnStart
from gumnet.averaging.start import SCHEDULE, Begun, FirstMaps, OnStep, Phase, StartConfig, StartSearch, StartStep
from gumnet.averaging.start_config import ALL_SURE
from gumnet.averaging.start_progress import start_progress
from gumnet.devices import resolve_device, seeded
from gumnet.geometry.symmetry import point_group
from gumnet.particles import Particles
from gumnet.types import Labels, Volume

START_SHIFT = 1 / 8
"""Largest shift for the first maps along each axis, in boxes, unless given: what pickers leave. Their cost grows with
the third power of it, and the iterations that follow search further."""
MOST_FOR_ONE = 20_000
"""Particles that first maps of one class are made of, drawn at random from more: a step takes a thousand."""
KEPT_BYTES_OF_ONE = 30_000
"""What is kept of each of them for all steps, at most."""
_COARSE, _SORTING = 2, 2
"""Classes take as many phases, and one more of so many times its steps: what that does not sort stays as it is."""
_PAIRED_SHELLS = 6
"""Shells of the first phase from pairs: their orientations are about right, so the coarser ones have nothing to add."""


def find(
    particles: Particles, config: AverageConfig, whose: str, classes: int, on_start: OnStart | None, kept: Checkpoint
) -> FirstMaps:
    """Return first maps of particles; see `FirstSearch`."""
    return FirstSearch(particles, config, whose, classes, on_start, kept).finish()


@dataclass(frozen=True)
class SoFar:
    """What a search has come to.

    Parameters
    ----------
    map
        Of its best start, (N, N, N).
    shells
        Its highest shell.
    evidence
        Mean evidence of a particle.
    more
        Whether finer shells are needed.
    """

    map: Volume
    shells: int
    evidence: float
    more: bool


class FirstSearch:
    """A search for first maps of particles; those of one class may be of some of them, see `MOST_FOR_ONE`.

    Parameters
    ----------
    particles
        n particles.
    whose
        What the search is called.
    classes
        How many.
    """

    def __init__(
        self,
        particles: Particles,
        config: AverageConfig,
        whose: str,
        classes: int,
        on_start: OnStart | None,
        kept: Checkpoint,
    ) -> None:
        self._kept = kept.within(whose)
        self._found = FirstMaps.found(self._kept)
        if self._found is not None:
            return
        if classes == 1:
            particles = particles.select(_drawn(len(particles), config, whose))
        schedule = _schedule(particles.box)
        if classes > 1:
            # By then particles are sorted, and each class goes on by itself (`finer`).
            coarse, last = schedule[:_COARSE], schedule[_COARSE : _COARSE + 1]
            schedule = (*coarse, *(replace(phase, steps=_SORTING * phase.steps) for phase in last))
        generator = seeded(seed_of(config.seed, whose))
        begun: Begun | None = None
        self._notes: tuple[str, ...] = ()
        if config.start == "pairs":
            pairs = begun_from_pairs(particles, config, classes, whose, generator=generator, kept=self._kept)
            begun, self._notes = pairs
        if begun is not None:
            schedule = tuple(phase for phase in schedule if phase.shells >= _PAIRED_SHELLS) or schedule[-1:]
        settings = _settings(particles, config, classes, schedule, begun)
        self._steps = _Steps(particles, settings, config, whose, begun, generator, on_start, self._kept)

    def through(self, shells: int) -> SoFar:
        """Run the phases up to a shell, and return what they led to."""
        if self._found is None:
            return self._steps.through(shells)
        return SoFar(self._found.maps[0], self._found.shells, self._found.evidence, more=False)

    @property
    def history(self) -> tuple[StartStep, ...]:
        """One entry a step, so far."""
        return self._steps.history if self._found is None else self._found.history

    def finish(self) -> FirstMaps:
        """Run the phases that are left, and return first maps."""
        if self._found is None:
            found = self._steps.finish()
            self._found = replace(found, notes=(*self._notes, *found.notes))
            self._found.keep(self._kept)
            # With it the spectra of the particles.
            del self._steps
        return self._found


def finer(
    particles: Particles,
    config: AverageConfig,
    first: FirstMaps,
    whose: str,
    on_start: OnStart | None,
    kept: Checkpoint,
) -> FirstMaps:
    """Return the first map of a class by itself, in finer shells than those that sorted it.

    A structure that is nearly symmetric in the band of the sorting, as a proteasome is by half a turn, is in that map
    in both of its orientations. Searched on it, particles stay in either; posteriors in finer shells tell them apart.

    Parameters
    ----------
    particles
        n particles of the class.
    first
        Its map, and their poses on it.
    whose
        What the search is called.
    """
    kept = kept.within(whose)
    before = FirstMaps.found(kept)
    if before is not None:
        return before
    schedule = tuple(phase for phase in _schedule(particles.box) if phase.shells > first.shells)
    if not schedule or float(first.poses.scores.mean()) >= ALL_SURE:
        return first
    rows = _drawn(len(particles), config, whose)
    begun = Begun(first.poses[rows], torch.zeros_like(rows), torch.ones_like(rows, dtype=torch.bool))
    particles = particles.select(rows)
    settings = _settings(particles, config, 1, schedule, begun)
    generator = seeded(seed_of(config.seed, whose))
    found = _Steps(particles, settings, config, whose, begun, generator, on_start, kept).finish()
    found.keep(kept)
    return found


def _drawn(n: int, config: AverageConfig, whose: str) -> Labels:
    """Return the rows of n particles that first maps of one class are made of."""
    if n <= MOST_FOR_ONE:
        return torch.arange(n)
    drawn = torch.randperm(n, generator=seeded(seed_of(config.seed, f"the rows of {whose}")))
    return drawn[:MOST_FOR_ONE].sort().values


def _schedule(box: int) -> tuple[Phase, ...]:
    """Return the phases that a box has the shells for."""
    highest = (box - 1) // 2
    return tuple(phase for phase in SCHEDULE if phase.shells <= highest) or (Phase(highest, 12, 0.5, 0.5),)


def _settings(
    particles: Particles, config: AverageConfig, classes: int, schedule: tuple[Phase, ...], begun: Begun | None
) -> StartConfig:
    group = point_group(config.symmetry)
    settings = StartConfig(
        classes=classes,
        max_shift=START_SHIFT * particles.box if config.max_shift is None else config.max_shift,
        schedule=schedule,
        symmetry=None if group.order == 1 else group,
    )
    return settings if begun is None else replace(settings, starts=1)


class _Steps:
    """The phases of a search, shown step by step."""

    def __init__(
        self,
        particles: Particles,
        settings: StartConfig,
        config: AverageConfig,
        whose: str,
        begun: Begun | None,
        generator: torch.Generator,
        on_start: OnStart | None,
        kept: Checkpoint,
    ) -> None:
        data = LowBand.of(particles, settings.schedule[-1].shells, device=resolve_device(config.device))
        self._whose, self._settings, self._on_start = whose, settings, on_start
        self._show: OnStep | None = None
        mask = widest_mask(particles.box)
        self._search = StartSearch(
            data, settings, mask=mask, generator=generator, on_step=self._on_step, kept=kept, begun=begun
        )

    @property
    def history(self) -> tuple[StartStep, ...]:
        return self._search.history

    def through(self, shells: int) -> SoFar:
        with self._shown():
            more = self._search.through(shells)
        best = self._search.best
        return SoFar(best.maps[:, 0].mean(dim=0), self._search.shells, best.evidence, more)

    def finish(self) -> FirstMaps:
        with self._shown():
            return self._search.finish()

    @contextmanager
    def _shown(self) -> Iterator[None]:
        with start_progress(f"First map{'s' * (self._settings.classes > 1)}, {self._whose}", self._settings) as show:
            self._show = show
            yield

    def _on_step(self, step: StartStep) -> None:
        if self._show is not None:
            self._show(step)
        if self._on_start is not None:
            self._on_start(self._whose, step)


def seed_of(seed: int, whose: str) -> int:
    """Return the seed of a search for first maps, another one for each of those that a run makes.

    By a hash, since generators take 32 bits of a seed. Apart from the other uses of the same seed, too: a simulation of
    that seed draws its true rotations, and a start that drew them again would begin with the truth.
    """
    return int.from_bytes(hashlib.sha256(f"first maps of {whose}, seed {seed}".encode()).digest()[:4], "little")
