"""Sort a set of particles into classes by the distances of all pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from gumnet.alignment.auto import PAIRS, chosen
from gumnet.alignment.batch import Shares, shares_of
from gumnet.alignment.checks import check_max_shift, check_resolutions, checked_mask
from gumnet.alignment.to_reference import align
from gumnet.averaging.accumulate import accumulate
from gumnet.clustering.blocks import PairScores, all_scores, pairs_before
from gumnet.clustering.config import POSES
from gumnet.clustering.config import ClusterConfig as ClusterConfig
from gumnet.clustering.hierarchy import Array, Distances, classes_of, medoids, silhouettes, square_of, tree_of
from gumnet.clustering.posed import PosedScores
from gumnet.clustering.searched import SearchedScores
from gumnet.clustering.suggest import Suggestion, suggest
from gumnet.devices import resolve_device, seeded
from gumnet.engine.place import Place
from gumnet.errors import InputError
from gumnet.journal import Journal
from gumnet.particles import Particles, Poses
from gumnet.types import Volumes


@dataclass(frozen=True)
class Clustering:
    """Classes of n particles.

    Parameters
    ----------
    particles
        The particles with their classes, from 1, the largest first, and the poses that the class averages were made at:
        on the medoid of their class, or with method "poses" those they came with.
    distances
        1 - score of each pair i < j, condensed, (n (n - 1) / 2,), float32: 0 for a pair that matches, about 1 for
        unrelated ones.
    tree
        The merges, (n - 1, 4), as scipy's linkage has them.
    medoids
        Row of the particle with the least mean distance to its class, for each class.
    silhouettes
        How well each particle lies in its class, (n,), from -1 to 1.
    averages
        Average of each class, (k, N, N, N).
    suggestion
        What spoke for the number of classes, where it was not given.
    config
        How they were made.
    """

    particles: Particles
    distances: Distances
    tree: Array
    medoids: tuple[int, ...]
    silhouettes: Array
    averages: Volumes
    suggestion: Suggestion | None
    config: ClusterConfig

    @property
    def k(self) -> int:
        """How many classes there are."""
        return len(self.medoids)


def cluster(
    particles: Particles,
    config: ClusterConfig | None = None,
    *,
    distances: Distances | None = None,
    journal: Journal | None = None,
    place: Place | None = None,
) -> Clustering:
    """Sort particles into classes by hierarchical clustering of all pairs, as the Gum-Net paper does.

    Every pair is aligned once, or taken at the particles' own poses, and its distance is 1 - score, the constrained
    correlation on the region of Fourier space that both observed (`gumnet.alignment.score`). Noise lowers all scores
    alike, to 0.2 or less within one structure at a signal-to-noise of 0.1, so it is their differences that count;
    shells count as their signal-to-noise asks.

    Parameters
    ----------
    particles
        n particles, 2 or more, with density of the same sign. n (n - 1) / 2 pairs are aligned. The mask lies about the
        centre of the box, so particles should be centred to about a sixth of it.
    config
        How; the defaults unless given.
    distances
        Of all pairs, condensed, where they were computed before: for another k or linkage.
    journal
        Where finished parts of the distances are kept, and read from, of a run of the same particles and settings, but
        for k and linkage (`gumnet.journal.Journal.open` checks that they are). The result is that of a run that was
        not stopped.
    place
        Where pairs are aligned; in this process, on the device of ``config``, unless given. The result is the same on
        one worker and on many.

    Raises
    ------
    InputError
        If particles or settings do not fit each other.
    """
    config = ClusterConfig() if config is None else config
    config = replace(config, method=chosen(config.method, PAIRS, config.model))
    n = len(particles)
    config.check(n)
    check_max_shift(config.max_shift, particles.box)
    check_resolutions(
        config.low_pass_angstrom,
        config.high_pass_angstrom,
        box=particles.box,
        voxel_size_angstrom=particles.voxel_size_angstrom,
    )
    if config.mask is not None:
        config = replace(config, mask=checked_mask(config.mask, particles.box))
    place = Place(config.device, workers=1) if place is None else place
    shares = _shares(particles, config, place)
    within = replace(config, memory_gigabytes=shares.alignment_gigabytes)
    read = particles.cached(shares.kept_gigabytes)
    with place.keeping() as place:
        found = _cluster(particles, read, within, shares.kept_gigabytes, distances, journal, place)
    return replace(found, config=config)


def _shares(particles: Particles, config: ClusterConfig, place: Place) -> Shares:
    """Return how the memory is shared: workers keep what they read, and so does this process."""
    options = config.alignment().options(particles.voxel_size_angstrom)
    workers = 1 if place.cluster is not None else place.count()
    return shares_of(
        config.memory_gigabytes,
        options,
        particles.box,
        resolve_device(config.device),
        particles=len(particles),
        workers=workers,
        keepers=workers if _is_here(place) else workers + 1,
    )


def _cluster(
    unread: Particles,
    particles: Particles,
    config: ClusterConfig,
    kept_gigabytes: float,
    distances: Distances | None,
    journal: Journal | None,
    place: Place,
) -> Clustering:
    """Return the classes of particles, which workers get as they were before anything of them was kept in memory."""
    n = len(particles)
    if distances is None:
        distances = _distances(unread, particles, config, kept_gigabytes, journal, place)
    elif distances.shape != (pairs_before(n, n),) or not bool(np.isfinite(distances).all()):
        raise InputError(
            f"distances of shape {distances.shape} do not fit {n} particles",
            cure=f"give {pairs_before(n, n)} numbers, one for each pair",
        )
    tree = tree_of(distances, config.linkage)
    suggestion = None if config.k else suggest(distances, config.linkage, generator=seeded(config.seed))
    k = config.k or (1 if suggestion is None else suggestion.k)
    classes, square = classes_of(tree, k), square_of(distances)
    centres = medoids(square, classes)
    poses = _class_poses(unread, particles, classes, centres, config, place)
    posed = replace(particles, classes=classes, poses=poses)
    return Clustering(
        posed,
        distances,
        tree,
        centres,
        silhouettes(square, classes),
        _averages(posed, k, resolve_device(config.device)),
        suggestion,
        config,
    )


def _distances(
    unread: Particles,
    particles: Particles,
    config: ClusterConfig,
    kept_gigabytes: float,
    journal: Journal | None,
    place: Place,
) -> Distances:
    """Return 1 - score of all pairs, condensed."""
    scores: PairScores
    elsewhere = None
    if config.method == POSES and not config.refines:
        options = config.alignment().options(particles.voxel_size_angstrom)
        device = resolve_device(config.device)
        scores = PosedScores.of(particles, options, device, memory_gigabytes=config.memory_gigabytes)
    elif _is_here(place):
        scores = SearchedScores.of(particles, config)
    else:
        scores = SearchedScores.of(unread, config, 1 if place.cluster is not None else place.count())
        elsewhere = (scores.work(config, kept_gigabytes), place)
    # Rounding takes the score of a particle with its copy a little above 1.
    return np.maximum(1 - all_scores(scores, journal, elsewhere=elsewhere), 0)


def _is_here(place: Place) -> bool:
    return place.cluster is None and place.count() == 1


def _class_poses(
    unread: Particles,
    particles: Particles,
    classes: torch.Tensor,
    centres: tuple[int, ...],
    config: ClusterConfig,
    place: Place,
) -> Poses:
    """Return the poses of particles on the medoids of their classes, or with method "poses" those they have."""
    if config.method == POSES:
        return particles.poses
    found = Poses.identity(len(particles))
    rotations, shifts, scores = found.rotations, found.shifts, found.scores
    for number, centre in enumerate(centres, start=1):
        others = [int(i) for i in torch.nonzero(classes == number)[:, 0] if int(i) != centre]
        if not others:
            continue
        observed = particles.read_weights([centre])
        poses = align(
            (particles if _is_here(place) else unread).select(others),
            particles.read_volumes([centre])[0],
            config.alignment(),
            weights_reference=None if observed is None else observed[0],
            place=place,
        ).poses
        rotations[others], shifts[others], scores[others] = poses.rotations, poses.shifts, poses.scores
    return Poses(rotations, shifts, scores)


def _averages(particles: Particles, k: int, device: torch.device) -> Volumes:
    """Return the average of each class at its particles' poses, (k, N, N, N)."""
    made = []
    for number in range(1, k + 1):
        members = torch.nonzero(particles.classes == number)[:, 0]
        made.append(accumulate(particles.select(members), device=device, description=f"class {number}").result())
    return torch.stack(made)
