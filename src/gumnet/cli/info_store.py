"""What ``gumnet info`` says of a store, and whether its files are as they were written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gumnet.errors import InputError

if TYPE_CHECKING:
    from gumnet.particles import Particles

_NAMED = 3
"""Damaged files that are named; the others are counted."""


def verify_store(path: Path) -> None:
    """Raise `InputError` naming the files of a store that are not as they were written."""
    from gumnet.io.store import INDEX, Store

    folder = path if path.is_dir() else path.parent
    if not (folder / INDEX).is_file():
        raise InputError("there are no checksums to verify", cure="give a store, as gumnet pack writes it", path=path)
    store = Store.open(folder)
    damaged = store.damaged()
    if damaged:
        more = f"; and {len(damaged) - _NAMED} more" if len(damaged) > _NAMED else ""
        cure = "copy these files again from where they were packed, or pack again"
        raise InputError("; ".join(damaged[:_NAMED]) + more, cure=cure, path=folder)
    count = sum(len(group) for group in (store.volumes, store.weights, store.others))
    sys.stderr.write(f"all {count} files are as they were written\n")


def store_facts(particles: Particles) -> dict[str, str]:
    """Return what the store is like that particles are in; nothing for others."""
    from gumnet.io.store import StoreVolumes

    if not isinstance(particles.volumes, StoreVolumes):
        return {}
    store = particles.volumes.store
    size = sum(shard.size for shard in (*store.volumes, *store.weights)) / 1e9
    kinds = sum(shard.count for shard in store.weights)
    shards = f"{len(store.volumes)} shard{'' if len(store.volumes) == 1 else 's'}"
    rounding = f", rounded by {100 * store.rounding:.2g} %" if store.rounding else ""
    return {
        "store": f"{store.dtype}{rounding}, {shards}, {kinds} distinct weights, {size:.3g} GB",
    }
