"""A simulation as a folder of files that other programs read, the truth in files of its own."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.io.atomic import claim_folder, write_whole
from gumnet.io.mrc import write_map, write_volume_stack
from gumnet.io.relion import CTF_IMAGE, IMAGE, PARTICLE_NAME, relion_poses
from gumnet.io.relion_optics import GROUP, PREMULTIPLIED
from gumnet.io.relion_table import labels
from gumnet.io.relion_write import ctf_from_weights, write_particles
from gumnet.particles import Poses, Source
from gumnet.simulation.dataset import Simulation, WeightKinds
from gumnet.types import Labels

if TYPE_CHECKING:
    import pandas as pd

PARTICLES, VOLUMES, TRUTH, PAIRS, TRUTH_FOLDER = (
    "particles.star",
    "volumes.mrcs",
    "truth.star",
    "pairs.csv",
    "truth_structures",
)
_PAIR_COLUMNS = ["a", "b"]


def write_simulation(folder: str | Path, simulation: Simulation, *, overwrite: bool = False) -> None:
    """Write a simulation to a folder.

    ``particles.star`` is a RELION 3.1 table without poses; its images are ``1@volumes.mrcs`` and so on, its
    rlnCtfImage are the square roots of Fourier weights in the half layout, which RELION 3.1 squares, one file for each
    kind (``weights_1.mrc``, ...). ``truth.star`` is the same table with the true poses, and the structures as classes.
    ``pairs.csv``, for pairs, has columns a and b: row numbers in the table, from 1. ``truth_structures/`` holds
    ``structure_1.mrc`` and so on, by class. The table of particles is written last: a folder that has it is complete.

    Parameters
    ----------
    overwrite
        Whether a folder that holds something may be written to.

    Raises
    ------
    InputError
        If the folder holds something and ``overwrite`` is false.
    """
    folder = claim_folder(folder, overwrite=overwrite)
    particles, size = simulation.particles, simulation.particles.voxel_size_angstrom
    for old in (PARTICLES, PAIRS):
        # A folder that is written again must not pass for whole, or for pairs, by what it held before.
        (folder / old).unlink(missing_ok=True)
    one_by_one = (particles.read_volumes([i])[0] for i in range(len(particles)))
    write_volume_stack(folder / VOLUMES, one_by_one, size, overwrite=True)
    truth_folder = claim_folder(folder / TRUTH_FOLDER, overwrite=True)
    for number, structure in enumerate(simulation.structures, start=1):
        write_map(truth_folder / f"structure_{number}.mrc", structure, size, overwrite=True)
    table, optics = _tables(folder, simulation)
    listed = replace(particles, table=table, optics=optics)
    truth = replace(listed, poses=simulation.truth, classes=simulation.truth_classes)
    write_particles(folder / TRUTH, truth, version="3.1", overwrite=True)
    if simulation.pairs is not None:
        with write_whole(folder / PAIRS) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_PAIR_COLUMNS)
            writer.writerows((simulation.pairs + 1).tolist())
    write_particles(folder / PARTICLES, listed, version="3.1", overwrite=True)


def read_pairs(path: str | Path, n: int) -> Tensor:
    """Return the pairs of a CSV file as row numbers from 0, shape (m, 2): columns a and b.

    Parameters
    ----------
    path
        A file with a header that names columns ``a`` and ``b``, and row numbers from 1; or a folder with pairs.csv.
    n
        How many particles the table has.

    Raises
    ------
    InputError
        If the file is missing or empty, lacks a column, or names a row that the table does not have.
    """
    path = Path(path)
    path = path / PAIRS if path.is_dir() else path
    cure = f"give columns a and b with row numbers from 1 to {n}"
    if not path.is_file():
        raise InputError("no such file", cure="check the name; gumnet simulate --pairs writes one", path=path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = header
            lines = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error):
        raise InputError("this is not a CSV file", cure=cure, path=path) from None
    for column in _PAIR_COLUMNS:
        if column not in header:
            raise InputError(f"column {column!r} is missing, found {', '.join(header) or 'none'}", cure=cure, path=path)
    if not lines:
        raise InputError("there are no pairs", cure=cure, path=path)
    pairs = [[_row_number(row[c], c, line, n, path, cure) for c in _PAIR_COLUMNS] for line, row in lines]
    return torch.tensor(pairs, dtype=torch.int64) - 1


def _row_number(text: str | None, column: str, line: int, n: int, path: Path, cure: str) -> int:
    try:
        number = int(text or "")
    except ValueError:
        raise InputError(f"line {line}: {column} is {text!r}, not a whole number", cure=cure, path=path) from None
    if not 1 <= number <= n:
        raise InputError(f"line {line}: {column} is {number}, but there are {n} particles", cure=cure, path=path)
    return number


def read_truth(folder: str | Path) -> tuple[Poses, Labels]:
    """Return the true poses and classes (n,) of the particles in a folder that `write_simulation` wrote."""
    path = Path(folder) / TRUTH if Path(folder).is_dir() else Path(folder)
    if not path.is_file():
        raise InputError(
            "no such file, so the truth is not known", cure="give a folder that gumnet simulate wrote", path=path
        )
    poses, frame, _ = relion_poses(path)
    return poses, labels(frame, "rlnClassNumber", path)


def _tables(folder: Path, simulation: Simulation) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return particle and optics tables that name the images, after writing the weights."""
    import pandas as pd

    particles = simulation.particles
    names = range(1, len(particles) + 1)
    table = pd.DataFrame({IMAGE: [f"{i}@{folder.absolute() / VOLUMES}" for i in names]})
    table[PARTICLE_NAME] = [name.replace(" ", "_") for name in particles.names]
    microscope = {
        "rlnVoltage": simulation.config.voltage_kv,
        "rlnSphericalAberration": simulation.config.spherical_aberration_mm,
        "rlnAmplitudeContrast": simulation.config.amplitude_contrast,
    }
    optics = pd.DataFrame({GROUP: [1], "rlnOpticsGroupName": ["simulated"]}).assign(**microscope)
    if particles.weights is not None:
        table[CTF_IMAGE] = _write_weights(folder, particles.weights, particles.voxel_size_angstrom)
        # The volumes have the form that goes with their weights, so a reader is not to multiply them again.
        optics[PREMULTIPLIED] = 1
    table[GROUP] = 1
    return table, optics


def _write_weights(folder: Path, weights: Source, voxel_size_angstrom: float) -> list[str]:
    """Write the square root of each kind of weights once, and return the name of each particle's."""
    if not isinstance(weights, WeightKinds):
        raise InputError("the weights are not those of a simulation", cure="write what simulate returned")
    paths = [folder.absolute() / f"weights_{kind + 1}.mrc" for kind in range(len(weights.kinds))]
    for path, kind in zip(paths, weights.kinds, strict=True):
        write_map(path, ctf_from_weights(kind), voxel_size_angstrom, overwrite=True)
    return [str(paths[int(kind)]) for kind in weights.kind_of]
