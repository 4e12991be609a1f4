"""RELION 3.1 (GPL), run as a program: the average of particles at their poses, with 3D weights."""

from __future__ import annotations

import tempfile
from pathlib import Path

from gumnet.benchmark import relion
from gumnet.benchmark.seconds import Seconds
from gumnet.io.mrc import read_map
from gumnet.particles import Particles
from gumnet.types import Volume

PROGRAM = "relion_reconstruct"
FLAGS = ("--3d_rot", "--ctf", "--pad", "2")


def missing() -> str | None:
    """Return why it cannot run, or None."""
    return relion.missing(PROGRAM)


def average(particles: Particles) -> tuple[Volume, Seconds]:
    """Return the average of particles with weights, and what the run cost; writing its input is not counted."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        relion.write_input(folder, particles)
        cost = relion.run([PROGRAM, "--i", "particles.star", "--o", "map.mrc", *FLAGS], folder)
        return read_map(folder / "map.mrc")[0].float(), cost
