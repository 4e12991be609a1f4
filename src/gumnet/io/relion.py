"""RELION particle tables of versions 3.0, 3.1, 4 and 5 as `Particles`."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from gumnet.errors import InputError
from gumnet.io.check import positive_voxel_size
from gumnet.io.mrc import Entry, MrcSource
from gumnet.io.mrc_header import MrcHeader, read_header
from gumnet.io.outside import check_inside
from gumnet.io.relion_optics import are_tilt_stacks, premultiplied, voxel_size_from_table
from gumnet.io.relion_poses import poses_from_table
from gumnet.io.relion_table import (
    RelionTable,
    find_upwards,
    labels,
    optional_numbers,
    read_relion_table,
)
from gumnet.io.relion_weights import CtfMultiplied, CtfSource
from gumnet.io.store import store_of
from gumnet.particles import Particles, Poses, Source

if TYPE_CHECKING:
    import pandas as pd

IMAGE, CTF_IMAGE, PARTICLE_NAME = "rlnImageName", "rlnCtfImage", "rlnTomoParticleName"
TOMOGRAMS_FILE = "rlnTomoTomogramsFile"
"""Column that is added to the optics of tilt stacks, so that writing can name the tomograms again."""
_LOOKED_AT = 100
"""Rows that are tried, to find the folder of the images and their box, before the table is given up."""


def relion_poses(
    path: str | Path, *, voxel_size_angstrom: float | None = None
) -> tuple[Poses, pd.DataFrame, pd.DataFrame | None]:
    """Return the poses of a RELION table with its particle and optics tables; no image has to exist.

    The poses are those in the volumes, see `gumnet.io.relion_poses`.
    """
    table = read_relion_table(path)
    size = voxel_size_from_table(table) if voxel_size_angstrom is None else positive_voxel_size(voxel_size_angstrom)
    return poses_from_table(table.particles, size, table.path), table.particles, table.optics


def relion_particles(
    path: str | Path, *, voxel_size_angstrom: float | None = None, allow_outside: bool = True
) -> Particles:
    """Return the particles of a RELION table; volumes and weights are read later, batch by batch.

    Parameters
    ----------
    path
        Particle STAR file of RELION 3.0, 3.1, 4 or 5, or an optimisation set that names one.
    voxel_size_angstrom
        Used in place of what the table or the images say.
    allow_outside
        Whether images may lie outside the project folder; see `gumnet.io.outside`.

    Raises
    ------
    InputError
        If the table lacks what is needed, or its images are nowhere to be found.
    """
    table = read_relion_table(path)
    if IMAGE not in table.particles.columns:
        raise InputError(
            f"the table names no images (column {IMAGE})",
            cure="extract the particles, with gumnet extract or in RELION, or give their volumes with --volumes",
            path=table.path,
        )
    size = voxel_size_from_table(table) if voxel_size_angstrom is None else positive_voxel_size(voxel_size_angstrom)
    names = table.particles[PARTICLE_NAME if PARTICLE_NAME in table.particles.columns else IMAGE]
    root = images_root(table.particles, IMAGE, table.path)
    if not allow_outside:
        check_inside(table.particles[IMAGE].astype(str), root, table.path)
    frame = table.particles.copy(deep=False)  # columns are replaced, none is changed
    frame[IMAGE] = [absolute_name(name, root) for name in frame[IMAGE]]
    optics = table.optics
    volumes: Source
    weights: Source | None
    if are_tilt_stacks(table):
        if size is None:
            raise _unknown_size(table)
        volumes, weights, optics = _tilt_stacks(table, frame, root, size)
    else:
        entries = tuple(image_entry(name, table.path) for name in frame[IMAGE])
        header = first_readable(entries)
        size = header.voxel_size_angstrom if size is None else size
        if size is None:
            raise _unknown_size(table)
        ctf_entries: tuple[Entry, ...] | None = None
        if CTF_IMAGE in frame.columns:
            ctf_root = images_root(table.particles, CTF_IMAGE, table.path)
            if not allow_outside:
                check_inside(frame[CTF_IMAGE].astype(str), ctf_root, table.path)
            frame[CTF_IMAGE] = [absolute_name(name, ctf_root) for name in frame[CTF_IMAGE]]
            ctf_entries = tuple(image_entry(name, table.path) for name in frame[CTF_IMAGE])
        volumes, weights = _sources(table, frame, entries, ctf_entries, header.shape[-1])
    return Particles(
        volumes=volumes,
        poses=poses_from_table(frame, size, table.path),
        voxel_size_angstrom=size,
        weights=weights,
        half_sets=labels(frame, "rlnRandomSubset", table.path, largest=2),
        classes=labels(frame, "rlnClassNumber", table.path),
        names=tuple(str(name) for name in names),
        table=frame,
        optics=optics,
    )


def _sources(
    table: RelionTable,
    frame: pd.DataFrame,
    entries: tuple[Entry, ...],
    ctf_entries: tuple[Entry, ...] | None,
    box: int,
) -> tuple[Source, Source | None]:
    """Return volumes and weights of 3D subtomograms, from a store where the images are in one."""
    store = store_of(entries)
    volumes: Source = MrcSource(entries, box) if store is None else store.volume_source(entries)
    if ctf_entries is None:
        return volumes, _wedges(frame, box, table.path)
    if store is not None:
        return volumes, store.weight_source(ctf_entries)
    ctf = CtfSource(ctf_entries, box, premultiplied(table))
    return CtfMultiplied(MrcSource(entries, box), ctf), ctf


def _wedges(frame: pd.DataFrame, box: int, path: Path) -> Source | None:
    """Return the missing wedges by the tilt ranges that tables of other programs had; None where there are none."""
    from gumnet.io.relion_pose_table import TILTS
    from gumnet.io.wedge_weights import wedge_source

    ranges = optional_numbers(frame, TILTS, path)
    return None if ranges is None else wedge_source(ranges, box, frame, path)


def _unknown_size(table: RelionTable) -> InputError:
    return InputError(
        "neither the table (rlnImagePixelSize) nor the images say the voxel size",
        cure="give it in Angstrom with --voxel-size",
        path=table.path,
    )


def split_name(name: str) -> tuple[str, str]:
    """Return number and file of an image name: ``0001@stack.mrcs``, or ``file.mrc`` with an empty number."""
    number, at, file = name.partition("@")
    return (number, file) if at else ("", name)


def absolute_name(name: object, root: Path) -> str:
    """Return an image name with the folder ``root`` before its file."""
    number, file = split_name(str(name))
    path = os.path.join(root, file)
    return f"{number}@{path}" if number else path


def image_entry(name: str, path: Path) -> Entry:
    """Return the file and the number from 0 of an image name; ``path`` is the table, for errors."""
    number, file = split_name(name)
    if not number:
        return _file(file), None
    if not number.isdecimal() or int(number) < 1:
        raise InputError(f"the image {name} has no valid number", cure="count from 1, as in 1@stack.mrcs", path=path)
    return _file(file), int(number) - 1


@lru_cache(maxsize=4096)
def _file(name: str) -> Path:
    """Return a path, the same one for all images of a stack: a path takes more memory than all else of a particle."""
    return Path(name)


def images_root(frame: pd.DataFrame, column: str, path: Path) -> Path:
    """Return the folder that the names in ``column`` start from: the first in which one of the first files exists."""
    names = frame[column].iloc[:_LOOKED_AT]
    for name in names:
        folder = find_upwards(path, split_name(str(name))[1])
        if folder is not None:
            return folder
    raise InputError(
        f"no such file: {column} {names.iloc[0]} of row 1, beside the table, in the folders above it or here",
        cure="keep the table in its project folder, or start from there",
        path=path,
    )


def first_readable(entries: tuple[Entry, ...]) -> MrcHeader:
    """Return the header of the first image that can be read; if none can, raise what is wrong with the first."""
    first_error: InputError | None = None
    for path, _ in entries[:_LOOKED_AT]:
        try:
            return read_header(path)
        except InputError as error:
            first_error = first_error or error
    raise first_error or InputError("there are no images")


def _tilt_stacks(
    table: RelionTable, frame: pd.DataFrame, root: Path, voxel_size_angstrom: float
) -> tuple[Source, Source, pd.DataFrame]:
    """Return volumes and weights made of 2D tilt stacks, and the optics with the file of the tomograms."""
    from gumnet.io.tilt_stack import tilt_stack_sources
    from gumnet.io.tomograms import read_tomograms

    if table.optics is None:
        raise InputError("tilt stacks without data_optics", cure="give the table of RELION 5 or Warp", path=table.path)
    tomograms_path = table.tomograms_path or _tomograms_beside(table.path)
    # The CTF is computed at this size, so one that was given must reach it.
    optics = table.optics.assign(rlnImagePixelSize=voxel_size_angstrom)
    volumes, weights = tilt_stack_sources(frame, optics, read_tomograms(tomograms_path), root)
    return volumes, weights, optics.assign(**{TOMOGRAMS_FILE: str(tomograms_path.absolute())})


def _tomograms_beside(path: Path) -> Path:
    """Return the tomograms of a particle table that was given without its optimisation set."""
    found: set[Path] = set()
    for candidate in sorted(path.parent.glob("*optimisation_set*.star")):
        try:
            named = read_relion_table(candidate)
        except InputError:
            continue  # an optimisation set of something else says nothing about this table
        if named.path.resolve() == path.resolve() and named.tomograms_path is not None:
            found.add(named.tomograms_path)
    beside = path.parent / "tomograms.star"
    if not found and beside.exists():
        found.add(beside)
    if len(found) != 1:
        raise InputError(
            "the particles are 2D tilt stacks, and their tomograms are not known",
            cure="give the optimisation set (…_optimisation_set.star) in place of the particle table, or put "
            "tomograms.star beside it",
            path=path,
        )
    return found.pop()
