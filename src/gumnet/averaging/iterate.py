"""Two halves of a set, aligned and averaged in turn, each to its own average.

Two halves never meet
    Each half starts from its own first map (`gumnet.averaging.begin`), is aligned to its own average, and averaged
    again. The band rises as far as the halves agree.
A common frame
    Started apart, the halves come out turned and shifted against each other. After each iteration the map of half 2 is
    aligned to that of half 1, and the rigid transformation goes into the poses of half 2. That transformation and how
    far the halves agree in each shell are all that passes between them. What the fit itself adds to their correlation
    is measured and taken off (`gumnet.averaging.frame`).
The reference
    Summed spectra with their summed weights: what no particle observed is not compared, and what many observed counts
    more (see `gumnet.alignment.score`). From the second iteration on each shell counts by the share of signal that the
    agreement of the halves tells of (`gumnet.alignment.known_power`), as in RELION.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial

import torch
from torch import Tensor

from gumnet.alignment.band import ShellPower
from gumnet.alignment.known_power import KnownPower, amplitude_of_average, power_and_deviation
from gumnet.alignment.reference_mask import reference_mask
from gumnet.alignment.to_reference import align
from gumnet.averaging.accumulate import Accumulator
from gumnet.averaging.begin import Beginning
from gumnet.averaging.checkpoint import Checkpoint, tensors_of
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.folds import HalfSums, dealt, half_sums, rows_of_folds
from gumnet.averaging.frame import agreement, as_particle, fit_frame, unrelated_maps
from gumnet.averaging.fsc import GOLD_STANDARD_THRESHOLD, noise_to_signal, resolution_angstrom
from gumnet.averaging.halves import rows_of_half
from gumnet.averaging.mask import low_pass, without_corners
from gumnet.averaging.result import Average, Iteration, OnIteration
from gumnet.averaging.shared_sums import shared_sums
from gumnet.averaging.sums import BoxSums
from gumnet.averaging.symmetrise import symmetrise
from gumnet.devices import resolve_device, seeded
from gumnet.engine.place import Place
from gumnet.evaluation.metrics import rotation_error_degrees, shift_error
from gumnet.geometry.symmetry import point_group
from gumnet.particles import Particles, Poses
from gumnet.resolution.auto_mask import automatic_mask
from gumnet.resolution.claim import claimed_resolution_angstrom, independent_fraction
from gumnet.resolution.phase_randomisation import phase_randomisation
from gumnet.types import Labels, Volume, Volumes

START_SHELLS = 4
"""Highest shell of the first iteration from a blob or a given map: 96 A in a box of 32 voxels of 12 A. A particle half
as wide as its box has two periods of it across; finer ones are out of phase until the orientations are about right."""
RISEN_SHELLS = 7
"""Least highest shell of the last iterations."""
GLOBAL_ITERATIONS = 3
"""Iterations that search all rotations at least. Those that follow do while poses have not settled, and then only
refine them, at a third of the cost."""
SETTLED_DEGREES = 5.0
"""Mean movement of the rotations in an iteration, below which poses have settled. At a signal-to-noise ratio of 0.05
wrong poses become right for as long as poses are searched, a few in each iteration."""
STILL_DEGREES, STILL_VOXELS = 0.25, 0.02
"""Mean movements of rotations and shifts in an iteration that only refined, below which the next would change nothing
that can be seen: it is not run."""
LEAST_AGREEMENT, SHELLS_BEYOND = 0.05, 2
"""Shells are used down to this correlation of the halves, each counting by its signal-to-noise, but not more of them
than these beyond the resolution: where little noise is left, as in volumes that were low-passed, halves agree on what
interpolation leaves there."""
LEAST_COUNT = 0.02
"""Even particles whose pose is all but unknown count a little, so that no half is ever empty."""


def iterate(
    particles: Particles,
    config: AverageConfig,
    beginning: Beginning | None,
    *,
    class_number: int = 1,
    on_iteration: OnIteration | None = None,
    kept: Checkpoint | None = None,
    place: Place | None = None,
    before: Average | None = None,
) -> Average:
    """Return the average of particles in two half sets.

    Parameters
    ----------
    particles
        n particles, all in half set 1 or 2.
    beginning
        What the halves start from; None averages at the particles' own poses, or starts from the average of each half
        as it is where there are iterations.
    class_number
        For the history.
    kept
        Keeps the poses after each iteration, and gives those of an earlier run.
    place
        Where particles are aligned and summed; in this process, on the device of ``config``, unless given.
    before
        Average to go on from, of which the particles have the poses: the iterations of ``config`` count its own, and of
        those that follow the first searches again, all others refine.
    """
    kept = (Checkpoint() if kept is None else kept).within(f"class {class_number}")
    place = Place(config.device, workers=1) if place is None else place
    device = resolve_device(config.device)
    box, voxel = particles.box, particles.voxel_size_angstrom
    group = point_group(config.symmetry)
    rows = [rows_of_half(particles, half) for half in (1, 2)]
    halves = [particles.select(r) for r in rows]

    def inserted(half: Particles, words: str) -> Accumulator:
        # Poses of the table are taken as they are.
        counts = weights_of(half.poses) if config.iterations else None
        return shared_sums(half, place, counts=counts, device=device, batch_size=config.batch_size, description=words)

    def reduced(whole: Accumulator) -> BoxSums:
        return whole.reduced() if group.order == 1 else symmetrise(whole, group)

    def summed(i: int, words: str, *, aligned_next: bool) -> HalfSums:
        insert = partial(inserted, words=words)
        return half_sums(halves[i], folds[i], insert, reduced, aligned_next=aligned_next)

    # Averages that begin as blobs have yet to choose an orientation, and parts of a half would choose different ones.
    folded = config.iterations > 0 and (beginning is not None or before is not None)
    folds = [dealt(len(r), config.seed + i) if folded else torch.zeros_like(r) for i, r in enumerate(rows)]
    sums: list[HalfSums] = []
    if config.iterations and before is None:
        halves = [half.with_poses(Poses.identity(len(half))) for half in halves]
    history: list[Iteration] = [] if before is None else list(before.history)
    done = len(history)
    unrelated: Tensor | None = None
    generator = seeded(config.seed)
    stopped_at = next(filter(None, (kept.find(f"iteration {n}") for n in range(config.iterations, done, -1))), None)
    if stopped_at is not None:
        halves = [half.with_poses(stopped_at.poses(f"half {i + 1} ")) for i, half in enumerate(halves)]
        history = [Iteration(**step) for step in stopped_at.facts["history"]]
        unrelated = stopped_at.tensors.get("unrelated")
        generator.set_state(stopped_at.tensors["generator"])
    if beginning is None or history:
        words = "Averaging" if history else "First average,"
        more = len(history) < config.iterations
        sums = [summed(i, f"{words} half {i + 1}", aligned_next=more) for i in (0, 1)]
    curve = agreement(_half_maps(sums), unrelated) if history else None
    powers = [power_and_deviation(half) for half in halves] if len(history) < config.iterations else []
    near = (beginning is not None and beginning.together) or not config.iterations
    shared_shells = 0 if before is None else before.shared_shells
    if beginning is not None and beginning.together:
        shared_shells = _band(1, config, beginning, box, voxel, None)
    for number in range(len(history) + 1, config.iterations + 1):
        if before is None and _still(history, beginning):
            break
        rung = number if before is None else config.iterations  # what goes on has risen already
        shells = _band(rung, config, beginning, box, voxel, curve)
        first = None if beginning is None or number > 1 else beginning.maps
        earlier = [half.poses for half in halves]
        local = _refines(history, beginning) if before is None else number > done + 1
        for i in (0, 1):
            initial = None if first is None else first[i]
            halves[i] = _align(
                halves[i],
                folds[i],
                sums[i] if sums else None,
                initial,
                config,
                shells,
                powers[i],
                None if curve is None else _signal(curve, shells, sums[i].share),
                local,
                place,
                kept.within(f"iteration {number}, half {i + 1}"),
            )
        changes = torch.cat([_changes(b, half.poses) for b, half in zip(earlier, halves, strict=True)], dim=1)
        more, moves = number < config.iterations, group.order == 1
        sums = [summed(i, f"Averaging half {i + 1}", aligned_next=more and not (i and moves)) for i in (0, 1)]
        if moves:
            frame = fit_frame(sums[0].whole, sums[1].whole, near=near)
            halves[1] = halves[1].with_poses(halves[1].poses.compose(frame))
            sums[1] = summed(1, "Half 2 in the frame of half 1", aligned_next=more)
            unrelated = unrelated_maps(sums[0].whole, sums[1].whole, near=near, generator=generator)
        half_maps = _half_maps(sums)
        curve = agreement(half_maps, unrelated)
        reached = resolution_angstrom(curve, voxel, box)
        scores = torch.cat([half.poses.scores for half in halves])
        degrees, voxels = changes.mean(dim=1).tolist()
        history.append(
            Iteration(number, voxel * box / shells, float(scores.nanmean()), reached, degrees, voxels, class_number)
        )
        state = {"generator": generator.get_state(), **({} if unrelated is None else {"unrelated": unrelated})}
        columns = [tensors_of(half.poses, f"half {i + 1} ") for i, half in enumerate(halves)]
        steps = [asdict(step) for step in history]
        kept.keep(f"iteration {number}", {**state, **columns[0], **columns[1]}, {"history": steps})
        if on_iteration is not None:
            on_iteration(history[-1], _together(particles, rows, halves), half_maps)
    half_maps = _half_maps(sums)
    unmasked = agreement(half_maps, unrelated)
    curve = unmasked
    notes = () if beginning is None else beginning.notes
    mask = config.mask
    if isinstance(mask, str):
        automatic = automatic_mask(half_maps.mean(dim=0))
        mask, notes = automatic.mask, (*notes, automatic.words(voxel))
    if mask is not None:
        mask = mask.to(half_maps)
        found = phase_randomisation(half_maps, mask, voxel_size_angstrom=voxel, generator=seeded(config.seed))
        # Where the fit of the halves adds more than the mask, the lower curve holds.
        curve = torch.minimum(found.corrected.cpu(), agreement(half_maps, unrelated, mask))
    whole = reduced(sums[0].inserted.merge(sums[1].inserted))
    return Average(
        map=without_corners(whole.result(noise_to_signal(unmasked))),
        half_maps=half_maps,
        fsc=curve,
        fsc_unmasked=unmasked,
        resolution_angstrom=claimed_resolution_angstrom(
            curve,
            voxel,
            box,
            fraction=independent_fraction(mask),
            unmasked=unmasked,
            shared_shells=shared_shells,
        ),
        particles=_together(particles, rows, halves),
        history=tuple(history),
        starts=() if beginning is None else beginning.steps,
        notes=notes,
        mask=mask,
        shared_shells=shared_shells,
    )


def _refines(history: list[Iteration], beginning: Beginning | None) -> bool:
    """Return whether the iteration after those of a history refines poses only, since they have settled."""
    searched = beginning is not None and len(history) >= GLOBAL_ITERATIONS
    return searched and history[-1].mean_change_degrees < SETTLED_DEGREES


def _still(history: list[Iteration], beginning: Beginning | None) -> bool:
    """Return whether poses have come to rest: the last iteration only refined them, and hardly moved them."""
    if not _refines(history[:-1], beginning):
        return False
    return history[-1].mean_change_degrees < STILL_DEGREES and history[-1].mean_change_voxels < STILL_VOXELS


def weights_of(poses: Poses) -> Tensor | None:
    """Return how much each particle counts in an average, (n,): its confidence; None where poses have none.

    A wrong pose adds its particle's density where it does not belong, and wrong poses are mostly unsure ones.
    """
    if poses.confidences is None:
        return None
    return poses.confidences.nan_to_num(1.0).clamp_min(LEAST_COUNT)


def _band(
    number: int, config: AverageConfig, beginning: Beginning | None, box: int, voxel: float, curve: Tensor | None
) -> int:
    """Return the highest shell of iteration ``number``, ``curve`` (N // 2 + 1,) being what the halves agreed on.

    From first maps it is theirs, and from then on up to where the halves agreed at all. From anything else it rises
    evenly, and the last iterations, a third of them, use what the halves agreed on.
    """
    highest = (box - 1) // 2
    if beginning is not None and config.low_pass_angstrom is None:
        start = risen = min(beginning.shells, highest)
        rising = 1
    else:
        start = START_SHELLS if config.low_pass_angstrom is None else round(voxel * box / config.low_pass_angstrom)
        start = max(1, min(start, highest))
        risen = min(max(start, RISEN_SHELLS), highest)
        rising = config.iterations - config.iterations // 3
    if number <= rising:
        return round(start + (risen - start) * (number - 1) / max(1, rising - 1))
    if curve is None:
        return risen
    told = min(_agreed(curve, LEAST_AGREEMENT), _agreed(curve, GOLD_STANDARD_THRESHOLD) + SHELLS_BEYOND)
    return max(risen, min(highest, told))


def _agreed(curve: Tensor, least: float) -> int:
    """Return the last shell before the first in which halves agree by less."""
    below = torch.nonzero(curve[1:] < least)[:, 0]
    return int(below[0]) if len(below) else len(curve) - 1


def _half_maps(sums: list[HalfSums]) -> Volumes:
    """Return the maps of both halves, (2, N, N, N)."""
    return torch.stack([without_corners(s.whole.result()) for s in sums])


def _signal(curve: Tensor, shells: int, share: float) -> Tensor:
    """Return the share of signal in averages of a share of each half's particles, (N // 2 + 1,), in a band."""
    # Of both halves together; a share of one has so many times less particles, and more noise.
    noise = noise_to_signal(curve.clamp_min(LEAST_AGREEMENT)) * 2 / share
    return torch.where(torch.arange(len(curve)) <= shells, 1 / (1 + noise), 0.0).float()


def _align(
    half: Particles,
    folds: Labels,
    sums: HalfSums | None,
    initial: Volume | None,
    config: AverageConfig,
    shells: int,
    power: tuple[ShellPower, float],
    signal: Tensor | None,
    local: bool,
    place: Place,
    kept: Checkpoint,
) -> Particles:
    """Return a half with its poses, each fold on the average of the others, or all on the map that they start from.

    ``power`` is that of its particles with their deviation, ``signal`` the share of signal in what they are aligned to,
    where it is known.
    ``kept`` keeps those of particles that are aligned, batch by batch, and gives those of an earlier run.
    """
    band_angstrom = half.voxel_size_angstrom * half.box / shells
    settings = config.alignment(band_angstrom, local=local)
    if initial is not None:
        reference = low_pass(initial.float(), half.voxel_size_angstrom / band_angstrom)
        return align(half, reference, settings, place=place, journal=kept.batches("all"))
    assert sums is not None
    found: list[Poses] = []
    parts = rows_of_folds(folds)
    for fold, rows in enumerate(parts):
        others = sums.reference(fold)
        reference, weights = as_particle(others)
        known = None
        if signal is not None:
            known = KnownPower(power[0], signal, amplitude_of_average(reference, weights, power[1]))
        masked = replace(settings, mask=reference_mask(others.result()), known=known)
        some, batches = half.select(rows), kept.batches(f"fold {fold}")
        found.append(align(some, reference, masked, weights_reference=weights, place=place, journal=batches).poses)
    poses = Poses.concatenate(found)[torch.argsort(torch.cat(parts))]
    if local and half.poses.confidences is not None:
        # Refined poses have none of their own: those of the last search still hold.
        poses = replace(poses, confidences=half.poses.confidences, spreads_degrees=half.poses.spreads_degrees)
    return half.with_poses(poses)


def _changes(before: Poses, after: Poses) -> Tensor:
    """Return how far poses moved, (2, n): degrees and voxels."""
    degrees = rotation_error_degrees(after.rotations, before.rotations)
    return torch.stack([degrees, shift_error(after.shifts, before.shifts)])


def _together(particles: Particles, rows: list[Tensor], halves: list[Particles]) -> Particles:
    """Return all particles in their own order, with the poses of their halves."""
    order = torch.argsort(torch.cat(rows))
    return particles.with_poses(Poses.concatenate([half.poses for half in halves])[order])
