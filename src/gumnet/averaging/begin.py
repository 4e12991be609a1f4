"""Where the alignment of two halves begins: maps that each half starts from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from gumnet.alignment.aligner import AlignerOptions, make_aligner
from gumnet.alignment.score import default_mask
from gumnet.averaging.checkpoint import Checkpoint
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.first_search import FirstSearch, find
from gumnet.averaging.frame import CHANCE_DRAWS
from gumnet.averaging.result import OnStart
from gumnet.averaging.start import StartStep
from gumnet.devices import seeded
from gumnet.geometry.fourier import shell_sums, to_fourier
from gumnet.geometry.symmetry import point_group
from gumnet.geometry.warp import warp
from gumnet.particles import Particles
from gumnet.resolution.phase_randomisation import randomise_phases
from gumnet.symmetry.angular import angular_part, without_spherical_average
from gumnet.symmetry.find import LEAST_SHARE
from gumnet.types import Volume

AGREEMENT = 0.7
"""Agreement of the shapes of two halves' first maps, within their band, from which on they count as one structure. Maps
of one reach 0.78 or more; a ribosome and what a start that went wrong makes of it 0.4 to 0.5 (docs/joint.md)."""
COMPARED_SHELLS = 7
"""Halves that do not agree in so many shells are given up there: finer ones take two thirds of the time, and do not
bring together what is another shape."""
LEAST_EVIDENCE = 0.3
"""Evidence of a particle, in natural units, from which on first maps tell more than noise does: pure noise has none,
but for chance."""
STARTED_TOGETHER = "Both halves start from one map of all particles, up to shell {}: only finer shells are independent."
_DOUBT = (
    "First maps explain the particles hardly better than noise does (evidence {:.2f} a particle): there may be no "
    "structure, or too few particles for their signal-to-noise."
)
_APART = (
    "The halves, each by itself, found first maps that do not agree (correlation of their shapes {:.2f}; maps of one "
    "structure reach 0.7 or more)."
)
_TINY, _MOST_CHANCE = 1e-20, 0.99


@dataclass(frozen=True)
class Beginning:
    """Maps to start from.

    Parameters
    ----------
    maps
        One a half, (N, N, N).
    shells
        Their highest shell.
    together
        Whether they are one map, in one frame, which all particles made.
    """

    maps: tuple[Volume, Volume]
    shells: int
    together: bool
    steps: tuple[StartStep, ...]
    notes: tuple[str, ...]


def begin(
    halves: list[Particles],
    everyone: Particles,
    config: AverageConfig,
    on_start: OnStart | None = None,
    kept: Checkpoint | None = None,
) -> Beginning:
    """Return what the two halves of a set start from."""
    kept = Checkpoint() if kept is None else kept
    notes: list[str] = []
    steps: list[StartStep] = []
    # Turned and shifted against each other, symmetric maps would not keep their axes.
    apart = config.start == "halves" or (config.start in ("auto", "pairs") and point_group(config.symmetry).order == 1)
    if apart:
        searches = [FirstSearch(half, config, f"half {i + 1}", 1, on_start, kept) for i, half in enumerate(halves)]
        agreement = None if config.start == "halves" else _agreement_so_far(searches, config, kept)
        if agreement is None or agreement >= AGREEMENT:
            found = [search.finish() for search in searches]
            steps = [step for one in found for step in one.history]
            notes += [note for one in found for note in one.notes]
            # One half may have been sure of its poses earlier than the other.
            shells = min(one.shells for one in found)
            agreement = agreement_of_shapes(found[0].maps[0], found[1].maps[0], shells, generator=seeded(config.seed))
            weakest = min(one.evidence for one in found)
            if weakest < LEAST_EVIDENCE:
                notes.append(_DOUBT.format(weakest))
            if agreement >= AGREEMENT or config.start == "halves" or weakest < LEAST_EVIDENCE:
                if agreement < AGREEMENT:
                    notes.append(_APART.format(agreement))
                return Beginning((found[0].maps[0], found[1].maps[0]), shells, False, tuple(steps), tuple(notes))
        else:
            steps = [step for search in searches for step in search.history]
        notes.append(_APART.format(agreement))
        del searches
    both = find(everyone, config, "all particles", 1, on_start, kept)
    notes += [STARTED_TOGETHER.format(both.shells), *both.notes]
    if both.evidence < LEAST_EVIDENCE:
        notes.append(_DOUBT.format(both.evidence))
    return Beginning((both.maps[0], both.maps[0]), both.shells, True, (*steps, *both.history), tuple(notes))


def _agreement_so_far(searches: list[FirstSearch], config: AverageConfig, kept: Checkpoint) -> float | None:
    """Return how far the shapes of two halves agree in `COMPARED_SHELLS`; None where it is not to be asked there.

    It is not where neither half needs finer shells, and where one finds no evidence: that is said at the end.
    """
    before = kept.find("agreement so far")
    if before is not None:
        agreement: float | None = before.facts["agreement"]
        return agreement
    first, second = (search.through(COMPARED_SHELLS) for search in searches)
    agreement = None
    if (first.more or second.more) and min(first.evidence, second.evidence) >= LEAST_EVIDENCE:
        shells = min(first.shells, second.shells)
        agreement = agreement_of_shapes(first.map, second.map, shells, generator=seeded(config.seed))
    kept.keep("agreement so far", {}, {"agreement": agreement})
    return agreement


def agreement_of_shapes(first: Volume, second: Volume, shells: int, *, generator: torch.Generator) -> float:
    """Return how far two maps (N, N, N) agree once put on each other, within shells 1 ... ``shells``: 1 at most.

    Without their spherical averages: particles in random orientations make a ball, and two balls are alike however
    little was found of the structure. What the fit gives by chance, to shapes of the same power but random phases, is
    taken off, as `gumnet.averaging.frame` does.
    """
    if min(_share_of_shape(one, shells) for one in (first, second)) < LEAST_SHARE:
        return 0.0
    mask = default_mask(first.shape[-1])
    first, second = first.float() * mask, second.float() * mask
    shape = without_spherical_average(second, mask)
    unrelated = [second - shape + randomise_phases(shape, 1, generator) for _ in range(CHANCE_DRAWS)]
    found, *chance = (_correlation(first, other, shells) for other in (second, *unrelated))
    level = min(max(sum(chance) / CHANCE_DRAWS, 0.0), _MOST_CHANCE)
    return (found - level) / (1 - level)


def _share_of_shape(volume: Volume, shells: int) -> float:
    """Return the share of a map's power, within shells 1 ... ``shells``, that is not its spherical average."""
    shape = angular_part(volume[None].float()).volumes[0]
    return _common(shape, shape, shells) / max(_common(volume, volume, shells), _TINY)


def _correlation(first: Volume, second: Volume, shells: int) -> float:
    """Return the correlation of two maps put on each other, their spherical averages left out."""
    aligner = make_aligner("exhaustive", AlignerOptions(max_frequency=shells / first.shape[-1]), torch.device("cpu"))
    pose = aligner.align(first[None], second[None], None, None).to(dtype=torch.float32)
    placed = warp(second[None], pose.rotations, pose.shifts, oversampling=2)[0]
    a, b = angular_part(torch.stack([first, placed])).volumes
    return _common(a, b, shells) / max(math.sqrt(_common(a, a, shells) * _common(b, b, shells)), _TINY)


def _common(first: Volume, second: Volume, shells: int) -> float:
    """Return the power that two maps have in common in shells 1 ... ``shells``."""
    cross = (to_fourier(first.double()) * to_fourier(second.double()).conj()).real
    return float(shell_sums(cross, first.shape[-1])[1 : shells + 1].sum())
