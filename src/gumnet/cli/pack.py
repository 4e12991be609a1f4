"""``gumnet pack``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from gumnet.cli.options import COMMON, OUTPUT, READING, Common, Output, Reading, bad_list_beside, say
from gumnet.cli.running import RUNNING, Running


def pack(
    particles: Path,
    *,
    out: Path,
    type: Annotated[Literal["float16", "float32"], Parameter(name="--type")] = "float16",
    shard_megabytes: float = 256.0,
    common: Common = COMMON,
    output: Output = OUTPUT,
    reading: Reading = READING,
    running: Running = RUNNING,
) -> None:
    """Pack particles into a store: a folder that every command takes, and reads quickly.

    Example
        gumnet pack particles.star --out store
        gumnet pack run_optimisation_set.star --out store --workers 8
        gumnet info store --verify

    OUT gets particles.star, the volumes in MRC stacks (shards), each distinct set of
    Fourier weights once, and store.json with a checksum of each file. 2D tilt stacks
    become 3D volumes with 3D weights. A run that was killed goes on with --resume.

    Parameters
    ----------
    particles
        Particle table, or folder of particles.
    out
        Folder to write.
    type
        Type of the volumes. float16 halves them; what that changes is said.
    shard_megabytes
        About the size of a shard. A worker needs up to twice as much memory.
    """
    common.start()
    from gumnet.io.pack import pack as run

    data = reading.particles(particles, bad_list_beside(out), overwrite=output.overwrite or running.resume)
    store = run(
        data,
        out,
        dtype=type,
        shard_megabytes=shard_megabytes,
        place=running.place(common),
        resume=running.resume,
        overwrite=output.overwrite,
    )
    size = sum(shard.size for shard in (*store.volumes, *store.weights)) / 1e9
    kinds = sum(shard.count for shard in store.weights)
    said = f"{store.particles} particles, {kinds or 'no'} distinct weights, {size:.3g} GB"
    if type == "float16":
        said += f", rounded by {100 * store.rounding:.2g} % (root mean square)"
    say(f"{said}: {out}")
