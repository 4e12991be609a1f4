"""Every method under one call: those of the package, and peers where they are installed."""

from __future__ import annotations

from types import ModuleType

from peers import acryo_pairs, relion_pairs
from peers.cache import Cache, key_of

import gumnet
from gumnet.averaging.mask import soft_sphere
from gumnet.benchmark.aligning import Setting, aligned
from gumnet.benchmark.pairs import Pairs
from gumnet.benchmark.seconds import Seconds
from gumnet.particles import Particles, Poses
from gumnet.types import Volume, Volumes

OURS = ("exhaustive", "ht", "fa", "matched", "gumnet")
PEERS: dict[str, ModuleType] = {"acryo": acryo_pairs, "relion": relion_pairs}


def cannot_run(method: str) -> str | None:
    """Return why a method cannot run here, or None."""
    reason: str | None = PEERS[method].missing() if method in PEERS else None
    return reason


def align_pairs(method: str, pairs: Pairs, setting: Setting, cache: Cache) -> tuple[Poses, Seconds]:
    """Return the poses of n pairs, and seconds a pair."""
    if method in PEERS:
        return _peer_pairs(PEERS[method], pairs.masked(setting.mask), setting, cache)
    aligned(method, pairs.rows(slice(2)), setting)  # the first call warms up
    start = Seconds.now()
    found, _ = aligned(method, pairs, setting)
    return found, (Seconds.now() - start) / len(pairs)


def _peer_pairs(peer: ModuleType, pairs: Pairs, setting: Setting, cache: Cache) -> tuple[Poses, Seconds]:
    """Return the poses of a peer and its seconds a pair, pair by pair, so that each can be read from the cache."""
    settings = peer.settings()
    arguments = {
        "max_shift": setting.max_shift,
        "voxel_size": setting.voxel_size,
        "low_pass": setting.low_pass,
    }
    parts, total = [], Seconds(0.0, 0.0)
    for i in range(len(pairs)):
        one = pairs.rows(slice(i, i + 1))
        tensors = [one.a, one.b, one.weights_a, one.weights_b]
        key = key_of(settings, arguments, tensors)
        known = cache.get(key)
        if known is None:
            known = peer.align_pairs(*tensors, **arguments)
            cache.put(key, *known)
        parts.append(known[0])
        total += known[1]
    return Poses.concatenate(parts), total / len(pairs)


def align_to_reference(
    method: str, particles: Particles, reference: Volume, setting: Setting
) -> tuple[Poses, Seconds, Seconds]:
    """Return the poses of n particles, seconds a particle, and seconds that the reference costs once.

    Peers are given the volumes at once, in memory or on disk. Of a method that does not tell the two costs apart, they
    are told by two runs: over some of the particles and over all.
    """
    n = len(particles)
    if method in PEERS and setting.mask is not None:
        reference = reference * soft_sphere(particles.box, setting.mask)
    if method == "acryo":
        rows = list(range(n))
        volumes, weights = particles.read_volumes(rows), particles.read_weights(rows)
        arguments = (setting.max_shift, setting.voxel_size, setting.low_pass)
        poses, each, once = acryo_pairs.align_to_reference(reference, volumes, weights, *arguments)
        return poses, each / n, once

    def run(count: int) -> tuple[Poses, Seconds]:
        some = particles.select(range(count))
        if method == "relion":
            return _relion(some, reference, setting)
        start = Seconds.now()
        found = gumnet.align(some, reference, setting.config(method, particles.box)).poses
        return found, Seconds.now() - start

    few = 1 if method in PEERS else max(1, min(64, n // 4))
    if method not in PEERS:
        run(few)  # warms up
    short, (poses, long) = run(few)[1], run(n)
    each = (long - short) / (n - few)
    return poses, each, long - Seconds(each.wall * n, each.cpu * n)


def _relion(particles: Particles, reference: Volume, setting: Setting) -> tuple[Poses, Seconds]:
    rows = list(range(len(particles)))
    volumes: Volumes = particles.read_volumes(rows)
    weights = particles.read_weights(rows)
    arguments = (setting.max_shift, setting.voxel_size, setting.low_pass)
    return relion_pairs.align_to_reference(reference, volumes, weights, *arguments)
