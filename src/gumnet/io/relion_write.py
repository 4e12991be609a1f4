"""Particles as RELION tables of version 3.1 (which RELION 4 shares) and 5."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.io.atomic import check_free
from gumnet.io.mrc import write_map, write_volume_stack
from gumnet.io.relion import CTF_IMAGE, IMAGE, PARTICLE_NAME, TOMOGRAMS_FILE, split_name
from gumnet.io.relion_optics import PREMULTIPLIED, with_optics
from gumnet.io.relion_poses import put_poses
from gumnet.io.star import write_star
from gumnet.particles import Particles, SharedWeights, Source, SubsetSource
from gumnet.progress import track
from gumnet.types import Weights

if TYPE_CHECKING:
    import pandas as pd

Version = Literal["3.1", "5"]


def write_particles(
    path: str | Path, particles: Particles, *, version: Version | None = None, overwrite: bool = False
) -> None:
    """Write the poses, half sets, classes and scores of particles as a RELION table.

    Columns that came with the particles and mean nothing here are kept. Images below the folder of the table are
    named relative to it, others by their absolute path. Particles that never were in files get them: volumes and
    weights are written as stacks beside the table (``volumes.mrcs``, ``weights.mrcs`` for ``particles.star``); what is
    written of weights is their square root, see `ctf_from_weights`. RELION itself takes 3D subtomograms one a file
    only, so such a table is for gumnet.

    Parameters
    ----------
    version
        RELION version of the table; that of the table they came from, or else 3.1, unless given.
    overwrite
        Whether files of these names may be replaced.
    """
    path = Path(path)
    stacks_2d = _column(particles.optics, "rlnImageDimensionality") == 2
    if version is None:
        version = "5" if stacks_2d or _is_version_5(particles.table) else "3.1"
    if stacks_2d and version != "5":
        raise InputError("2D tilt stacks exist in RELION 5 only", cure="write version 5", path=path)
    check_tables_free(path, particles, overwrite=overwrite)
    frame = particles.table
    in_files = frame is not None and IMAGE in frame.columns
    if frame is None or not in_files:
        frame = _write_images(path, particles, frame, overwrite)
    frame = put_poses(frame, particles.poses, particles.voxel_size_angstrom)
    frame = _put_labels(frame, particles)
    frame, optics = with_optics(frame, particles.optics, particles.voxel_size_angstrom)
    defaults = {PREMULTIPLIED: 0, "rlnImageSize": particles.box, "rlnImageDimensionality": 3}
    optics = optics.assign(**{k: v for k, v in defaults.items() if k not in optics.columns})
    if not in_files and CTF_IMAGE in frame.columns:
        # Weights in memory have the form of `gumnet.types`, which is that of data multiplied by the CTF.
        optics[PREMULTIPLIED] = 1
    for column in (IMAGE, CTF_IMAGE):
        if column in frame.columns:
            frame[column] = [portable(str(name), path) for name in frame[column]]
    blocks: dict[str, pd.DataFrame | dict[str, Any]] = {}
    if version == "5":
        blocks["general"] = {"rlnTomoSubTomosAre2DStacks": int(stacks_2d)}
    blocks["optics"] = optics.drop(columns=TOMOGRAMS_FILE, errors="ignore")
    blocks["particles"] = frame
    write_star(path, blocks, overwrite=overwrite)
    tomograms = _column(particles.optics, TOMOGRAMS_FILE)
    if tomograms is not None:
        write_set(path, str(tomograms), overwrite=overwrite)


def ctf_from_weights(weights: Weights) -> Tensor:
    """Return what rlnCtfImage holds, of the shape of ``weights``, for data that are multiplied by their CTF already.

    RELION 3.1 squares it to get the weights, so it is their square root; a binary wedge is its own.

    Raises
    ------
    InputError
        If weights are negative.
    """
    if bool((weights < 0).any()):
        raise InputError("weights are negative", cure="give Fourier weights of 0 or more")
    return weights.sqrt()


def check_tables_free(path: Path, particles: Particles, *, overwrite: bool = False) -> None:
    """Raise `InputError` if the table, or the optimisation set that goes with tilt stacks, may not be written."""
    if path.suffix.lower() != ".star":
        raise InputError("the name of a particle table ends in .star", cure=f"write {path.stem}.star", path=path)
    check_free(path, overwrite=overwrite)
    if _column(particles.optics, TOMOGRAMS_FILE) is not None:
        check_free(set_path(path), overwrite=overwrite)


def set_path(path: Path) -> Path:
    """Return where the optimisation set of a particle table is written."""
    return path.with_name(f"{path.stem}_optimisation_set.star")


def write_set(path: Path, tomograms: str, *, overwrite: bool = False) -> Path:
    """Write the optimisation set of a particle table with its tomograms, and return where it is."""
    names = {"rlnTomoParticlesFile": path.name, TOMOGRAMS_FILE: portable(tomograms, path)}
    write_star(set_path(path), {"": names}, overwrite=overwrite)
    return set_path(path)


def _column(frame: pd.DataFrame | None, column: str) -> Any:
    """Return the first entry of a column, or None where there is none."""
    return frame[column].iloc[0] if frame is not None and column in frame.columns else None


def _is_version_5(frame: pd.DataFrame | None) -> bool:
    return frame is not None and "rlnCenteredCoordinateXAngst" in frame.columns


def _put_labels(frame: pd.DataFrame, particles: Particles) -> pd.DataFrame:
    """Return the table with half sets and classes, where there are any."""
    for column, values in (("rlnRandomSubset", particles.half_sets), ("rlnClassNumber", particles.classes)):
        if column in frame.columns or bool(values.any()):
            frame[column] = values.cpu().numpy()
    return frame


def portable(name: str, star: Path) -> str:
    """Return an image name relative to the folder of the table if the image is below it, else as it is."""
    number, file = split_name(name)
    # Text, not Path: there may be hundreds of thousands of names.
    file = file.removeprefix(f"{star.absolute().parent}{os.sep}")
    return f"{number}@{file}" if number else file


def _write_images(path: Path, particles: Particles, frame: pd.DataFrame | None, overwrite: bool) -> pd.DataFrame:
    """Write volumes and weights as stacks beside the table, and return the table with their names."""
    import pandas as pd

    prefix = "" if path.stem == "particles" else f"{path.stem}_"
    n = len(particles)
    frame = pd.DataFrame(index=range(n)) if frame is None else frame.copy()
    volumes = path.with_name(f"{prefix}volumes.mrcs")
    write_volume_stack(
        volumes, _one_by_one(particles.volumes, "volumes"), particles.voxel_size_angstrom, overwrite=overwrite
    )
    frame[IMAGE] = _numbered(volumes.name, n)
    if PARTICLE_NAME not in frame.columns:
        frame[PARTICLE_NAME] = [name.replace(" ", "_") for name in particles.names]
    if particles.weights is not None:
        shared = _shared(particles.weights)
        size = particles.voxel_size_angstrom
        if shared is not None:
            weights = path.with_name(f"{prefix}weights.mrc")
            write_map(weights, ctf_from_weights(shared), size, overwrite=overwrite)
            frame[CTF_IMAGE] = weights.name
        else:
            weights = path.with_name(f"{prefix}weights.mrcs")
            ctfs = (ctf_from_weights(each) for each in _one_by_one(particles.weights, "weights"))
            write_volume_stack(weights, ctfs, size, overwrite=overwrite)
            frame[CTF_IMAGE] = _numbered(weights.name, n)
    return frame


def _numbered(stack: str, n: int) -> list[str]:
    return [f"{i + 1:06d}@{stack}" for i in range(n)]


def _one_by_one(source: Source, what: str) -> Iterator[Tensor]:
    # Particles are cut out of tomograms, or made of tilt stacks, as they are asked for here: that may take long.
    for i in track(range(len(source)), f"writing {what}"):
        yield source.read([i])[0]


def _shared(weights: Source) -> Tensor | None:
    """Return the weights that all particles share, or None if each has its own."""
    while isinstance(weights, SubsetSource):
        weights = weights.parent
    return weights.weights.to(torch.float32) if isinstance(weights, SharedWeights) else None
