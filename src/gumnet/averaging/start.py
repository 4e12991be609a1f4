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

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gumnet.averaging.checkpoint import Checkpoint, tensors_of
from gumnet.averaging.low_band import LowBand
from gumnet.averaging.start_config import ALL_SURE, FINE_PARTICLES, FIRST_CHOICE, SURE, SURE_SHELLS
from gumnet.averaging.start_config import SCHEDULE as SCHEDULE
from gumnet.averaging.start_config import OnStep as OnStep
from gumnet.averaging.start_config import Phase as Phase
from gumnet.averaging.start_config import StartConfig as StartConfig
from gumnet.averaging.start_config import StartStep as StartStep
from gumnet.averaging.start_run import StartRun, State
from gumnet.particles import Poses
from gumnet.types import Labels, Volume, Volumes


def _steps(kept: list[dict[str, Any]]) -> list[StartStep]:
    tuples = ("shares", "refilled")  # lists in JSON
    return [StartStep(**{**step, **{name: tuple(step[name]) for name in tuples}}) for step in kept]


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
    notes
        What a user should know of how they began.
    """

    maps: Volumes
    classes: Tensor
    poses: Poses
    shells: int
    evidence: float
    history: tuple[StartStep, ...]
    notes: tuple[str, ...] = ()

    def of_class(self, index: int, rows: Labels) -> FirstMaps:
        """Return those of class ``index``, from 0, which has the particles ``rows``."""
        maps, ones = self.maps[index : index + 1], self.classes.new_ones(len(rows), 1)
        return replace(self, maps=maps, classes=ones, poses=self.poses[rows], history=(), notes=())

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
            tuple(facts["notes"]),
        )

    def keep(self, kept: Checkpoint) -> None:
        """Keep them."""
        tensors = {"maps": self.maps, "classes": self.classes, **tensors_of(self.poses, "poses ")}
        history = [asdict(step) for step in self.history]
        facts = {"shells": self.shells, "evidence": self.evidence, "history": history, "notes": list(self.notes)}
        kept.keep("first maps", tensors, facts)


@dataclass(frozen=True)
class Begun:
    """Poses to begin with.

    Parameters
    ----------
    poses
        Of n particles on the maps of their classes.
    classes
        0 ... K - 1, (n,).
    used
        Which of them go into the first maps, (n,), boolean.
    """

    poses: Poses
    classes: Labels
    used: Tensor


class StartSearch:
    """A search for first maps, phase by phase, which may be looked at on its way.

    Parameters
    ----------
    data
        n particles in the widest band of the schedule, or wider.
    mask
        Soft mask of the maps (N, N, N).
    generator
        Deals folds, draws starts and turns grids.
    on_step
        Called after each step, to show it.
    kept
        Keeps what each phase leads to, and gives that of an earlier run.
    begun
        Poses that the first map begins with, in place of random starts.
    """

    def __init__(
        self,
        data: LowBand,
        config: StartConfig,
        *,
        mask: Volume,
        generator: torch.Generator,
        on_step: OnStep | None = None,
        kept: Checkpoint | None = None,
        begun: Begun | None = None,
    ) -> None:
        self._kept = Checkpoint() if kept is None else kept
        self._run = run = StartRun(data, config, mask, generator, on_step)
        self._posed = begun is not None
        self._done, self._states = _kept_states(run, self._kept)
        if not self._states and begun is not None:
            self._states = [run.posed_state(1, begun.poses, begun.classes, begun.used)]
        elif not self._states:
            self._states = [run.random_state(number) for number in range(1, config.starts + 1)]

    @property
    def shells(self) -> int:
        """Highest shell that it has come to."""
        return self._run.config.schedule[max(self._done - 1, 0)].shells

    @property
    def history(self) -> tuple[StartStep, ...]:
        """One entry a step, so far."""
        return tuple(self._run.history)

    @property
    def best(self) -> State:
        """Where the start with the most evidence has come to."""
        return max(self._states, key=lambda state: state.evidence)

    def through(self, shells: int) -> bool:
        """Run the phases up to a shell, as far as they are needed; return whether finer ones are needed too."""
        config = self._run.config
        for number, phase in enumerate(config.schedule[self._done :], start=self._done + 1):
            if not self._needs(number, phase):
                return False
            if phase.shells > shells:
                return True
            states = [self._run.phase(phase, state) for state in self._states]
            if config.starts_after(number) < len(states):
                states = sorted(states, key=lambda state: -state.evidence)[: config.starts_after(number)]
            self._done, self._states = number, states
            _keep_states(self._run, self._kept, number, states)
        return False

    def finish(self) -> FirstMaps:
        """Run the phases that are left, and return what the best start led to."""
        run = self._run
        self.through(run.config.schedule[-1].shells)
        best = self.best
        found, maps = run.finished(best, self.shells)
        notes = refilled_words([step for step in run.history if step.start == best.number])
        evidence = float(found.evidence.mean())
        return FirstMaps(maps, found.classes, found.poses, self.shells, evidence, tuple(run.history), notes)

    def _needs(self, number: int, phase: Phase) -> bool:
        """Return whether a phase, from 1, is to run: not where particles are few, or sure of their poses before it."""
        fine = phase.shells > SURE_SHELLS
        if fine and len(self._run.data) < FINE_PARTICLES:
            return False
        # What begins with poses is past the choice of starts.
        chosen = number > FIRST_CHOICE or self._posed
        return not chosen or self._run.sureness(self.best.number) < (SURE if fine else ALL_SURE)


def refilled_words(steps: Sequence[StartStep]) -> tuple[str, ...]:
    """Return which classes a start lost and filled again, as a note; nothing where it lost none."""
    counts = Counter(number for step in steps for number in step.refilled)
    if not counts:
        return ()
    times = ", ".join(f"class {number} {'once' if n == 1 else f'{n} times'}" for number, n in sorted(counts.items()))
    return (
        "Classes that were lost on the way to first maps, with few particles or as the twin of another, were filled "
        f"again with the worse half of a large one: {times}.",
    )


def _keep_states(run: StartRun, kept: Checkpoint, phases: int, states: list[State]) -> None:
    """Keep what the first phases led to, and where the random numbers are."""
    columns = {name: torch.stack([getattr(state, name) for state in states]) for name in State.TENSORS}
    facts = {
        "numbers": [state.number for state in states],
        "evidence": [state.evidence for state in states],
        "history": [asdict(step) for step in run.history],
    }
    kept.keep(f"phase {phases}", {**columns, "generator": run.generator.get_state()}, facts)


def _kept_states(run: StartRun, kept: Checkpoint) -> tuple[int, list[State]]:
    """Return how many phases an earlier run finished, and what they led to; go on from there."""
    for phases in range(len(run.config.schedule), 0, -1):
        found = kept.find(f"phase {phases}")
        if found is not None:
            run.generator.set_state(found.tensors["generator"])
            run.history = _steps(found.facts["history"])
            columns = [found.tensors[name] for name in State.TENSORS]
            rows = zip(found.facts["numbers"], found.facts["evidence"], *columns, strict=True)
            return phases, [State(*row) for row in rows]
    return 0, []
