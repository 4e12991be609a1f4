"""Where the alignment of two halves begins: maps that each half starts from."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace

import torch

from gumnet.alignment.aligner import AlignerOptions, make_aligner
from gumnet.alignment.score import default_mask
from gumnet.averaging.checkpoint import Checkpoint
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.frame import CHANCE_DRAWS
from gumnet.averaging.low_band import LowBand
from gumnet.averaging.paired import begun_from_pairs
from gumnet.averaging.result import OnStart
from gumnet.averaging.start import SCHEDULE, Begun, FirstMaps, Phase, StartConfig, StartStep, first_maps
from gumnet.averaging.start_progress import start_progress
from gumnet.devices import resolve_device, seeded
from gumnet.geometry.fourier import shell_sums, to_fourier
from gumnet.geometry.symmetry import point_group
from gumnet.geometry.warp import warp
from gumnet.particles import Particles
from gumnet.resolution.phase_randomisation import randomise_phases
from gumnet.symmetry.angular import angular_part, without_spherical_average
from gumnet.symmetry.find import LEAST_SHARE
from gumnet.types import Volume

START_SHIFT = 1 / 8
"""Largest shift for the first maps along each axis, in boxes, unless given: what pickers leave. Their cost grows with
the third power of it, and the iterations that follow search further."""
AGREEMENT = 0.5
"""Agreement of the shapes of two halves' first maps, within their band, from which on they count as one structure."""
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
    "structure reach 0.5 or more)."
)
MOST_FOR_ONE = 20_000
"""Particles that first maps of one class are made of, drawn at random from more: a step takes a thousand."""
KEPT_BYTES_OF_ONE = 30_000
"""What is kept of each of them for all steps, at most."""
_TINY, _MOST_CHANCE = 1e-20, 0.99
_PHASES_OF_CLASSES = 3
_PAIRED_SHELLS = 6
"""Shells of the first phase from pairs: their orientations are about right, so the coarser ones have nothing to add."""


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


def find(
    particles: Particles, config: AverageConfig, whose: str, classes: int, on_start: OnStart | None, kept: Checkpoint
) -> FirstMaps:
    """Return first maps of particles; those of one class may be of some of them, see `MOST_FOR_ONE`."""
    kept = kept.within(whose)
    before = FirstMaps.found(kept)
    if before is not None:
        return before
    device = resolve_device(config.device)
    if classes == 1 and len(particles) > MOST_FOR_ONE:
        drawn = torch.randperm(len(particles), generator=seeded(seed_of(config.seed, f"the rows of {whose}")))
        particles = particles.select(drawn[:MOST_FOR_ONE].sort().values)
    box = particles.box
    schedule = tuple(phase for phase in SCHEDULE if phase.shells <= (box - 1) // 2) or (
        Phase((box - 1) // 2, 12, 0.5, 0.5),
    )
    if classes > 1:
        # By then particles are sorted; the search that follows finds their poses from there.
        schedule = schedule[:_PHASES_OF_CLASSES]
    group = point_group(config.symmetry)
    settings = StartConfig(
        classes=classes,
        max_shift=START_SHIFT * box if config.max_shift is None else config.max_shift,
        schedule=schedule,
        symmetry=None if group.order == 1 else group,
    )
    data = LowBand.of(particles, schedule[-1].shells, device=device)
    generator = seeded(seed_of(config.seed, whose))
    begun: Begun | None = None
    notes: tuple[str, ...] = ()
    if config.start == "pairs":
        begun, notes = begun_from_pairs(particles, config, classes, whose, generator=generator, kept=kept)
    if begun is not None:
        late = tuple(phase for phase in schedule if phase.shells >= _PAIRED_SHELLS) or schedule[-1:]
        settings = replace(settings, schedule=late, starts=1)
    with start_progress(f"First map{'s' * (classes > 1)}, {whose}", settings) as show:

        def on_step(step: StartStep) -> None:
            show(step)
            if on_start is not None:
                on_start(whose, step)

        mask = default_mask(box)
        found = first_maps(data, settings, mask=mask, generator=generator, on_step=on_step, kept=kept, begun=begun)
    found = replace(found, notes=(*notes, *found.notes))
    found.keep(kept)
    return found


def seed_of(seed: int, whose: str) -> int:
    """Return the seed of a search for first maps, another one for each of those that a run makes.

    By a hash, since generators take 32 bits of a seed. Apart from the other uses of the same seed, too: a simulation of
    that seed draws its true rotations, and a start that drew them again would begin with the truth.
    """
    return int.from_bytes(hashlib.sha256(f"first maps of {whose}, seed {seed}".encode()).digest()[:4], "little")


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
        found = [find(half, config, f"half {i + 1}", 1, on_start, kept) for i, half in enumerate(halves)]
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
        notes.append(_APART.format(agreement))
    both = find(everyone, config, "all particles", 1, on_start, kept)
    notes += [STARTED_TOGETHER.format(both.shells), *both.notes]
    if both.evidence < LEAST_EVIDENCE:
        notes.append(_DOUBT.format(both.evidence))
    return Beginning((both.maps[0], both.maps[0]), both.shells, True, (*steps, *both.history), tuple(notes))


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
