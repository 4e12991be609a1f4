"""Every method under one call: those of the package, and peers where they are installed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from common import Pairs, Seconds
from peers import acryo_pairs, relion_pairs
from peers.cache import Cache, key_of

import gumnet
from gumnet.alignment.aligner import make_aligner
from gumnet.alignment.batch import batch_size_for
from gumnet.averaging.mask import soft_sphere
from gumnet.devices import resolve_device
from gumnet.particles import Particles, Poses
from gumnet.types import Volume, Volumes, Weights

OURS = ("exhaustive", "ht", "fa", "matched", "gumnet")
PEERS: dict[str, ModuleType] = {"acryo": acryo_pairs, "relion": relion_pairs}


@dataclass(frozen=True)
class Setting:
    """What all methods are told alike.

    Parameters
    ----------
    max_shift
        Largest shift along each axis, in voxels.
    voxel_size
        In Angstrom.
    low_pass
        Finest resolution that is used, in Angstrom; None for all that the voxels hold.
    mask
        Radius of a soft sphere on the reference, a of a pair, in voxels; None for what each does by itself.
    refine, device, model
        Of our methods.
    memory_gigabytes
        Limit of the memory that our methods take.
    """

    max_shift: float
    voxel_size: float
    low_pass: float | None = None
    mask: float | None = None
    refine: bool = True
    device: str = "cpu"
    model: Path | None = None
    memory_gigabytes: float | None = None

    def config(self, method: str, box: int) -> gumnet.AlignConfig:
        """Return what one of our methods is told."""
        return gumnet.AlignConfig(
            method=method,
            refine=self.refine,
            max_shift=self.max_shift,
            low_pass_angstrom=self.low_pass,
            # As an option, not on the volume: the noise is estimated where the mask would be 0.
            mask=None if self.mask is None else soft_sphere(box, self.mask),
            model=self.model,
            device=self.device,
            memory_gigabytes=self.memory_gigabytes,
        )


def cannot_run(method: str, setting: Setting) -> str | None:
    """Return why a method cannot run here, or None."""
    if method in PEERS:
        reason: str | None = PEERS[method].missing()
        return reason
    return "no --model given" if method == "gumnet" and setting.model is None else None


def align_pairs(method: str, pairs: Pairs, setting: Setting, cache: Cache) -> tuple[Poses, Seconds]:
    """Return the poses of n pairs, and seconds a pair."""
    if method in PEERS:
        return _peer_pairs(PEERS[method], pairs.masked(setting.mask), setting, cache)
    _our_pairs(method, pairs.rows(slice(2)), setting)  # the first call warms up
    start = Seconds.now()
    found = _our_pairs(method, pairs, setting)
    return found, (Seconds.now() - start) / len(pairs)


def _our_pairs(method: str, pairs: Pairs, setting: Setting) -> Poses:
    device, box = resolve_device(setting.device), pairs.a.shape[-1]
    options = setting.config(method, box).options(setting.voxel_size)
    aligner = make_aligner(method, options, device)
    memory = setting.memory_gigabytes
    size = batch_size_for(options, box, device, shared_reference=False, memory_gigabytes=memory)

    def on(weights: Weights | None) -> Weights | None:
        return None if weights is None else weights.to(device)

    parts = []
    for start in range(0, len(pairs), size):
        some = pairs.rows(slice(start, start + size))
        parts.append(aligner.align(some.a.to(device), some.b.to(device), on(some.weights_a), on(some.weights_b)))
    return Poses.concatenate(parts)


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
