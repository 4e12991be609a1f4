"""The average of a particle set: at given poses, or joint alignment from nothing, with classes.

First maps come from posteriors over all poses in low shells (`gumnet.averaging.start`), each half by itself; then each
half is aligned to its own average in turn (`gumnet.averaging.iterate`). Several classes are sorted by first maps of all
particles, K at a time, and each is then averaged by itself, its halves starting from its map.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from gumnet.alignment.auto import TO_MAP, chosen
from gumnet.alignment.learned import as_model, check_box
from gumnet.alignment.matched import as_filter
from gumnet.averaging.begin import Beginning, begin
from gumnet.averaging.checkpoint import Checkpoint
from gumnet.averaging.classes import OneClass, average_classes
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.cross_check import cross_checked
from gumnet.averaging.halves import assign_half_sets, rows_of_half
from gumnet.averaging.iterate import START_SHELLS
from gumnet.averaging.memory import average_shares
from gumnet.averaging.result import Average, OnIteration, OnStart
from gumnet.devices import resolve_device
from gumnet.engine.place import Place
from gumnet.errors import InputError
from gumnet.journal import Journal
from gumnet.model.gumnet import GumNet
from gumnet.particles import Particles

_GIVEN = "Both halves start from the map that was given: detail that it holds may be in both for that reason."


def average(
    particles: Particles,
    config: AverageConfig | None = None,
    *,
    on_iteration: OnIteration | None = None,
    on_start: OnStart | None = None,
    journal: Journal | None = None,
    place: Place | None = None,
) -> Average:
    """Return the average of particles, with half maps that were made independently of each other.

    Parameters
    ----------
    particles
        n particles, two or more. Half sets that they have are kept.
    config
        How; the defaults unless given.
    on_iteration, on_start
        Called after each iteration, and after each step towards first maps, to show or save them.
        Not called for what ``journal`` has already.
    journal
        Keeps first maps and the poses of each iteration, and gives those of an earlier run of the same particles and
        settings (`gumnet.journal.Journal.open` checks that they are): on a CPU the result is that of a run that was not
        stopped, to the bit.
    place
        Where particles are aligned and summed, after the first maps; in this process, on the device of ``config``,
        unless given. The result is the same on one worker and on many.

    Raises
    ------
    InputError
        If the mask or the initial map do not fit the particles, or there are too few of them; or too little memory.
    """
    config = AverageConfig() if config is None else config
    box = particles.box
    for name, volume in (("mask", config.mask), ("initial map", config.initial)):
        if isinstance(volume, Tensor) and tuple(volume.shape) != (box,) * 3:
            raise InputError(
                f"the {name} has shape {tuple(volume.shape)}, the particles have boxes of {box}",
                cure="crop, pad or resample it to the box and voxel size of the particles",
            )
    chosen(config.method, TO_MAP, config.model)  # refuses what does not go together before first maps take their time
    # Loaded once, and not for each half and iteration; and looked at before first maps take their time.
    if config.method == "gumnet":
        model = as_model(config.model)
        if isinstance(model, GumNet):
            check_box(model, box)
        config = replace(config, model=model)
    elif config.method == "matched":
        config = replace(config, model=as_filter(config.model))
    place = Place(config.device, workers=1) if place is None else place
    with place.keeping() as place:
        return _average(particles, config, on_iteration, on_start, Checkpoint(journal), place)


def _average(
    particles: Particles,
    config: AverageConfig,
    on_iteration: OnIteration | None,
    on_start: OnStart | None,
    kept: Checkpoint,
    place: Place,
) -> Average:
    particles = assign_half_sets(particles, config.seed)
    # Every iteration reads them twice or more. The result holds them as they came, so that nothing stays in memory.
    # What is kept would travel to workers, who read for themselves.
    workers = 1 if place.cluster is not None else place.count()
    device = resolve_device(config.device)
    shares = average_shares(config, particles, workers=workers, device=device, keeps=place.cluster is None)
    config = replace(config, memory_gigabytes=shares.alignment_gigabytes)
    read = particles.cached(shares.kept_gigabytes) if shares.kept_gigabytes else particles
    one = OneClass(config, on_iteration, kept, place)
    if config.classes > 1:
        found = average_classes(read, one, on_start)
    else:
        found = one.finished(one.average(read, _beginning(read, one.config, on_start, kept)), read)
        found = cross_checked(found, read, config, place)
    return replace(found, particles=replace(particles, poses=found.particles.poses, classes=found.particles.classes))


def _beginning(
    particles: Particles, config: AverageConfig, on_start: OnStart | None, kept: Checkpoint
) -> Beginning | None:
    """Return what the halves of one class start from; None where they start from their own averages or poses."""
    if not config.iterations or (config.start == "blob" and config.initial is None):
        return None
    if config.initial is not None:
        return Beginning((config.initial, config.initial), START_SHELLS, True, (), (_GIVEN,))
    halves = [particles.select(rows_of_half(particles, half)) for half in (1, 2)]
    return begin(halves, particles, config, on_start, kept)
