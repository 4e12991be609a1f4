"""Particles from a path, whatever known format it has; particles that cannot be read are left out on demand."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from gumnet.errors import InputError
from gumnet.io.atomic import write_whole
from gumnet.io.relion import relion_particles
from gumnet.io.tables import star_program, table_path
from gumnet.particles import Particles
from gumnet.progress import track


def read_particles(
    path: str | Path,
    *,
    voxel_size_angstrom: float | None = None,
    volumes: str | Path | None = None,
    wedge_list: str | Path | None = None,
    tilt_range: tuple[float, float] | None = None,
    allow_outside: bool = True,
) -> Particles:
    """Return the particles of a table, or of a folder that holds ``particles.star``.

    Parameters
    ----------
    path
        RELION STAR file of version 3.0, 3.1, 4 or 5, an optimisation set of RELION 5, a folder of particles, or a table
        of Dynamo, STOPGAP, AV3 or EMAN2.
    voxel_size_angstrom
        Used in place of what the files say.
    volumes
        For tables that name no images: the folder of volumes whose names end in the number of a particle, or a stack in
        the order of the table. The folder of the table unless given.
    wedge_list
        STOPGAP's wedge list, for tables without tilt ranges.
    tilt_range
        Lowest and highest tilt of all particles in degrees, for tables without; -90 and 90 where nothing is missing.
    allow_outside
        Whether a table may name images outside its project folder. The command line says no unless told otherwise.

    Raises
    ------
    InputError
        If there is nothing, or nothing known, at ``path``.
    """
    path = table_path(path)
    given = (volumes, wedge_list, tilt_range) != (None, None, None)
    if path.suffix.lower() == ".star" and star_program(path) == "RELION" and not given:
        return relion_particles(path, voxel_size_angstrom=voxel_size_angstrom, allow_outside=allow_outside)
    from gumnet.io.table_particles import Beside, table_particles

    folder, wedges = (None if p is None else Path(p) for p in (volumes, wedge_list))
    beside = Beside(folder, wedges, tilt_range)
    return table_particles(path, voxel_size_angstrom=voxel_size_angstrom, beside=beside, allow_outside=allow_outside)


def drop_unreadable(particles: Particles, list_path: str | Path, *, overwrite: bool = False) -> Particles:
    """Return the particles that can be read, and list the others in a file with what is wrong with them.

    Every volume and its weights are read once. The file has tab-separated columns particle (its row, from 1), name and
    reason; it is written only if particles are left out.

    Raises
    ------
    InputError
        If none can be read.
    """
    good: list[int] = []
    bad: list[tuple[int, str, str]] = []
    for i in track(range(len(particles)), "checking"):
        try:
            particles.read_volumes([i])
            particles.read_weights([i])
            good.append(i)
        except InputError as error:
            bad.append((i + 1, particles.names[i], error.without_cure()))
    if not bad:
        return particles
    if not good:
        raise InputError(
            f"none of {len(particles)} particles can be read; the first: {bad[0][2]}",
            cure="check the folder of the images",
        )
    write_bad_list(list_path, bad, overwrite=overwrite)
    return particles.select(good)


def write_bad_list(path: str | Path, bad: Sequence[tuple[int, str, str]], *, overwrite: bool = False) -> None:
    """Write which particles were left out: row from 1, name and reason of each, with a header, separated by tabs."""
    with write_whole(path, overwrite=overwrite) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(("particle", "name", "reason"))
        writer.writerows(bad)
