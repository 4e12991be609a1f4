"""RELION 3.1 (GPL), run as a program: the average of particles at their poses, with 3D weights."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd

from gumnet.benchmark.seconds import Seconds
from gumnet.io.mrc import read_map, write_map
from gumnet.io.relion_write import ctf_from_weights, write_particles
from gumnet.particles import Particles
from gumnet.types import Volume
from peers import relion

PROGRAM = "relion_reconstruct"
FLAGS = ("--3d_rot", "--ctf", "--pad", "2")


def missing() -> str | None:
    """Return why it cannot run, or None."""
    return relion.missing(PROGRAM)


def average(particles: Particles) -> tuple[Volume, Seconds]:
    """Return the average of particles with weights, and what the run cost; writing its input is not counted."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_input(folder, particles)
        cost = relion.run([PROGRAM, "--i", "particles.star", "--o", "map.mrc", *FLAGS], folder)
        return read_map(folder / "map.mrc")[0].float(), cost


def write_input(folder: Path, particles: Particles) -> None:
    """Write the table with the package's own writer; one file a volume and a weight, since RELION reads no stacks."""
    rows, voxel_size = range(len(particles)), particles.voxel_size_angstrom
    for i in rows:
        weights = particles.read_weights([i])
        assert weights is not None, "RELION wants weights of every particle"
        write_map(folder / f"{i}.mrc", particles.read_volumes([i])[0], voxel_size)
        write_map(folder / f"{i}_ctf.mrc", ctf_from_weights(weights[0]), voxel_size)
    images = [str(folder / f"{i}.mrc") for i in rows]
    ctfs = [str(folder / f"{i}_ctf.mrc") for i in rows]
    table = pd.DataFrame({"rlnImageName": images, "rlnCtfImage": ctfs, "rlnOpticsGroup": 1})
    microscope = {"rlnVoltage": 300.0, "rlnSphericalAberration": 2.7, "rlnAmplitudeContrast": 0.07}
    optics = pd.DataFrame({"rlnOpticsGroup": [1], "rlnOpticsGroupName": ["all"], "rlnCtfDataAreCtfPremultiplied": [1]})
    listed = replace(particles, table=table, optics=optics.assign(**microscope))
    write_particles(folder / "particles.star", listed, version="3.1")
