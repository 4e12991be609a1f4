"""Alignment of a particle set against one reference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from gumnet.alignment.aligner import AlignerOptions
from gumnet.alignment.auto import TO_MAP, chosen
from gumnet.alignment.batch import Batching, batching_for
from gumnet.alignment.checks import (
    as_stack,
    as_weights,
    check_max_shift,
    check_resolutions,
    checked_mask,
    checked_volumes,
)
from gumnet.alignment.near import Near
from gumnet.alignment.reference_mask import reference_mask
from gumnet.alignment.spectrum_match import LEAST_PARTICLES, sampled, shown_power
from gumnet.alignment.work import AlignWork, poses_of
from gumnet.devices import resolve_device
from gumnet.engine.place import Place
from gumnet.engine.run import Done, Tolerate, batches_of, run
from gumnet.engine.work import Failure
from gumnet.errors import InputError
from gumnet.geometry.symmetry import point_group
from gumnet.journal import Batches
from gumnet.particles import Particles, Poses
from gumnet.progress import progress
from gumnet.types import Volume, Weights

if TYPE_CHECKING:
    from gumnet.alignment.aligner import Model
    from gumnet.alignment.known_power import KnownPower

_SEARCH_NEAR = ("exhaustive", "matched")
"""Methods that search about the poses that particles have; the others only refine these."""

_BATCH_ELSEWHERE = 128
"""Particles at a time for GPUs that this process cannot ask how much memory they have; they halve what is too much."""


@dataclass(frozen=True)
class AlignConfig:
    """How to align particles to a reference.

    Parameters
    ----------
    method
        "exhaustive"; "matched", the same search on volumes that a learned filter cleaned; "gumnet", a
        smaller network, or that of ``model``; the baselines "ht" (H-T align) and "fa" (F&A align); or "auto", the one
        that measurements advise (`gumnet.alignment.auto`), here "exhaustive".
    refine
        Whether to refine the poses continuously.
    local
        Start from the poses that the particles have, instead of searching all rotations and shifts; they are refined
        unless ``cone_degrees`` or ``in_plane_degrees`` asks for a search about them.
    max_shift
        Largest shift along each axis, in voxels, from the centre or, with ``local``, from the pose that a particle has;
        a quarter of the box unless given.
    symmetry
        Point group of the reference in RELION's setting, such as C7, D2, O or I1: of equivalent poses one is found.
    low_pass_angstrom
        Finest resolution that is used; all that the voxels hold unless given, each shell weighted by its
        signal-to-noise.
    model
        Network, or path of its weights, for method "gumnet", or for "matched", which else takes the one that ships.
    device
        auto, cpu, cuda or cuda:N.
    batch_size
        Particles at a time; as many as memory allows comfortably unless given.
    high_pass_angstrom
        Coarsest resolution that is used; no limit unless given.
    mask
        Soft mask of the reference, (N, N, N), from 0 to 1; found from its density unless given
        (`gumnet.alignment.reference_mask`), a soft sphere of a third of the box where none stands clear of noise.
    cone_degrees
        With ``local``: how far the z axis of the reference may tilt from where a particle's pose has it; not at all
        if only ``in_plane_degrees`` is given.
    in_plane_degrees
        With ``local``: how far the particle may turn about that axis, either way; not at all if only ``cone_degrees``
        is given.
    memory_gigabytes
        Limit of the memory that alignment takes; see `gumnet.alignment.batch`.
    known
        Powers of signal and noise, where more is known of them than the volumes say by themselves: of an average that
        two half maps tell of (`gumnet.alignment.known_power`).
    match_spectrum
        Whether each shell of the reference counts by how much of it particles show, where nothing is known of that: a
        hundred particles are aligned first, and tell (`gumnet.alignment.spectrum_match`). For "exhaustive" and sets
        of 30 or more; without effect where the reference was not observed everywhere. Off by default: it gains much
        on simulated particles and their atoms, but no more of 40 real ones were found (docs/design.md).
    """

    method: str = "exhaustive"
    refine: bool = True
    local: bool = False
    max_shift: float | None = None
    symmetry: str = "C1"
    low_pass_angstrom: float | None = None
    model: Model = None
    device: str = "auto"
    batch_size: int | None = None
    high_pass_angstrom: float | None = None
    mask: Volume | None = None
    cone_degrees: float | None = None
    in_plane_degrees: float | None = None
    memory_gigabytes: float | None = None
    known: KnownPower | None = None
    match_spectrum: bool = False

    def options(self, voxel_size_angstrom: float) -> AlignerOptions:
        """Return these settings in the units of the volumes."""
        low, high = self.low_pass_angstrom, self.high_pass_angstrom
        for name, value in (("low", low), ("high", high)):
            if value is not None and not value > 0:
                raise InputError(f"a {name} pass of {value} A is not possible", cure="give one above 0")
        near = None
        if self.cone_degrees is not None or self.in_plane_degrees is not None:
            if not self.local:
                raise InputError("a cone or a range in plane needs poses to start from", cure="set local as well")
            if chosen(self.method, TO_MAP) not in _SEARCH_NEAR:
                raise InputError(
                    f"method {self.method!r} does not search about poses, so it takes no cone and no range in plane",
                    cure=f"use method {' or '.join(_SEARCH_NEAR)}, or leave them out",
                )
            near = Near(self.cone_degrees or 0.0, self.in_plane_degrees or 0.0)
        return AlignerOptions(
            refine=self.refine,
            max_shift=self.max_shift,
            max_frequency=None if low is None else voxel_size_angstrom / low,
            model=self.model,
            min_frequency=None if high is None else voxel_size_angstrom / high,
            mask=self.mask,
            symmetry=point_group(self.symmetry),
            near=near,
            known=self.known,
        )


def align(
    particles: Particles,
    reference: Volume,
    config: AlignConfig | None = None,
    *,
    weights_reference: Weights | None = None,
    place: Place | None = None,
    journal: Batches | None = None,
) -> Particles:
    """Return the particles with their poses on a reference, and the scores of these.

    Parameters
    ----------
    particles
        n particles of box N; their volumes are read batch by batch.
    reference
        Shape (N, N, N), at the voxel size of the particles, density of the same sign as theirs.
    config
        How; the defaults unless given.
    weights_reference
        Fourier weights (N, N, N // 2 + 1) of the reference, where it was not observed everywhere.
    place
        Where; in this process, on the device of ``config``, unless given.
    journal
        Keeps finished batches, and gives those of an earlier run.

    Raises
    ------
    InputError
        For settings that are not possible, and for the first particle that cannot be read.
    """
    aligned, _ = align_tolerantly(
        particles, reference, config, weights_reference=weights_reference, place=place, journal=journal
    )
    return aligned


def align_tolerantly(
    particles: Particles,
    reference: Volume,
    config: AlignConfig | None = None,
    *,
    weights_reference: Weights | None = None,
    place: Place | None = None,
    journal: Batches | None = None,
    tolerate: Tolerate = "nothing",
) -> tuple[Particles, tuple[Failure, ...]]:
    """Return the particles that could be aligned, with their poses, and those that could not, with the reason.

    Parameters
    ----------
    tolerate
        Which particles may fail without ending the run; see `gumnet.engine.run.run`. The others are as for `align`.
    """
    config = AlignConfig() if config is None else config
    place = Place(config.device, workers=1) if place is None else place
    work = _work(particles, reference, config, weights_reference)
    if len(particles) == 0:
        raise InputError("there are no particles to align", cure="give a table with at least one")
    if config.match_spectrum and config.known is None and weights_reference is None:
        _check_matching(work.method, len(particles))
        work = replace(work, options=replace(work.options, known=_shown(particles, work, config, place)))
    return _aligned(particles, work, config, place, journal, tolerate, "Aligning")


def _check_matching(method: str, count: int) -> None:
    if method != "exhaustive":
        raise InputError(f"method {method!r} does not match spectra", cure="use exhaustive, or leave that out")
    if count < LEAST_PARTICLES:
        raise InputError(
            f"{count} particles are too few to say how much of the reference particles show",
            cure=f"give {LEAST_PARTICLES} or more, or do not match spectra",
        )


def _aligned(
    particles: Particles,
    work: AlignWork,
    config: AlignConfig,
    place: Place,
    journal: Batches | None,
    tolerate: Tolerate,
    words: str,
) -> tuple[Particles, tuple[Failure, ...]]:
    """Return particles with their poses, and those that failed."""
    batching = _batching(work, config, place)
    work, size = replace(work, options=replace(work.options, at_once=batching.at_once)), batching.size
    if journal is not None:
        size = journal.agree({"particles a batch": size})["particles a batch"]
    found: dict[int, Done] = {}
    with progress(words, len(particles)) as display:
        for done in run(work, batches_of(len(particles), size), place, journal=journal, tolerate=tolerate):
            found[done.number] = done
            display.advance(len(done.rows) + len(done.failures))
    finished = [found[number] for number in sorted(found)]
    failures = tuple(failure for done in finished for failure in done.failures)
    if len(failures) == len(particles):
        raise failures[0].error()
    rows = [row for done in finished for row in done.rows]
    poses = Poses.concatenate([poses_of(done.result) for done in finished if done.result is not None])
    return (particles.select(rows) if failures else particles).with_poses(poses), failures


def _shown(particles: Particles, work: AlignWork, config: AlignConfig, place: Place) -> KnownPower | None:
    """Return what some of the particles, aligned as the reference is, show of it; None where they do not fit it."""
    some = particles.select(sampled(len(particles)))
    work = replace(work, volumes=some.volumes, weights=some.weights, priors=some.poses if config.local else None)
    try:
        # What cannot be read is told of by the run of all.
        found, _ = _aligned(some, work, config, place, None, "all", "Matching the reference")
    except InputError:
        return None
    device = torch.device("cpu") if place.cluster is not None else resolve_device(place.device)
    return shown_power(found, work.reference, work.options, device)


def _work(particles: Particles, reference: Volume, config: AlignConfig, weights_reference: Weights | None) -> AlignWork:
    """Return what each worker is to do, its settings checked."""
    options = config.options(particles.voxel_size_angstrom)
    stack = checked_volumes(as_stack(reference[None], "reference"), "reference").cpu()
    box = stack.shape[-1]
    if box != particles.box:
        raise InputError(
            f"the reference has a box of {box}, the particles of {particles.box}",
            cure="crop, pad or resample the reference to the particles' box and voxel size",
        )
    check_max_shift(config.max_shift, box)
    check_resolutions(
        config.low_pass_angstrom,
        config.high_pass_angstrom,
        box=box,
        voxel_size_angstrom=particles.voxel_size_angstrom,
    )
    mask = reference_mask(stack[0]) if options.mask is None else checked_mask(options.mask, box)
    options = replace(options, mask=mask, to_map=True)
    return AlignWork(
        volumes=particles.volumes,
        weights=particles.weights,
        priors=particles.poses if config.local else None,
        reference=stack,
        weights_reference=as_weights(weights_reference, "weights_reference", 1, box),
        method=chosen(config.method, TO_MAP, config.model),
        options=options,
    )


def _batching(work: AlignWork, config: AlignConfig, place: Place) -> Batching:
    """Return how many particles go out at a time; those of workers elsewhere are known by their device's name."""
    if place.cluster is not None and config.batch_size is None and place.device != "cpu":
        return Batching(_BATCH_ELSEWHERE, place.threads or 1)
    device = torch.device("cpu") if place.cluster is not None else resolve_device(place.device)
    count = place.count()
    return batching_for(
        work.options,
        work.volumes.box,
        device,
        shared_reference=True,
        wanted=config.batch_size,
        memory_gigabytes=config.memory_gigabytes,
        particles=len(work.volumes),
        workers=1 if place.cluster is not None or device.type == "cuda" else count,
        threads=place.threads or (1 if place.cluster is not None else max(1, torch.get_num_threads() // count)),
    )
