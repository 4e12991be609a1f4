"""RELION 3.1 (GPL), run as programs where they are installed, for rows beside ours.

Its input is written by the package's own writers, and only what it writes is read.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import which

import pandas as pd
import torch

from gumnet.averaging.accumulate import accumulate
from gumnet.averaging.halves import rows_of_half
from gumnet.benchmark.seconds import Seconds
from gumnet.errors import RunError
from gumnet.io.mrc import read_map, write_map
from gumnet.io.relion_write import ctf_from_weights, write_particles
from gumnet.particles import Particles, Poses
from gumnet.types import Volume, Volumes

REFINE = "relion_refine"
_ALWAYS: tuple[str, ...] = (
    *("--dont_combine_weights_via_disc", "--pool", "3", "--pad", "2", "--ctf", "--tau2_fudge", "4", "--K", "1"),
    *("--flatten_solvent", "--zero_mask", "--oversampling", "1", "--offset_step", "2", "--sym", "C1", "--norm"),
    *("--scale", "--dont_check_norm"),
)


@dataclass(frozen=True)
class Schedule:
    """How RELION averages from nothing: a first map of all particles, then each half by itself from that map.

    RELION 3.1 makes no first map of subtomograms (``--denovo_3dref`` takes images), so it starts where the Gum-Net
    paper does: from the average of all particles as they are. relion_refine without MPI makes no half maps, so the
    halves are two runs, which start from one low-passed map as its auto-refinement does.

    Parameters
    ----------
    start_iterations, start_order
        Of all particles, and the order of its grid: 1 is 30 degrees, sampled at half of that around the best.
    iterations, order
        Of each half; 2 is 15 degrees, and 7.5.
    start_low_pass_angstrom
        Of the maps that it starts from.
    """

    start_iterations: int = 15
    start_order: int = 1
    iterations: int = 5
    order: int = 2
    start_low_pass_angstrom: float = 60.0

    def words(self) -> str:
        """Return it for tables."""
        return (
            f"from the average of all as they are, {self.start_iterations} iterations at HEALPix order "
            f"{self.start_order}, then each half by itself from that map at {self.start_low_pass_angstrom:g} A, "
            f"{self.iterations} iterations at order {self.order}"
        )


def missing(program: str) -> str | None:
    """Return why a program cannot run, or None."""
    return None if which(program) else f"{program} of RELION 3.1 is not on the PATH"


def version(program: str) -> str:
    """Return the version that a program says it has."""
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return next(word for line in told.splitlines() if "ersion" in line for word in line.split() if word[0].isdigit())


def run(command: Sequence[str | Path], folder: Path, threads: int = 1) -> Seconds:
    """Run a program in a folder and return what that cost.

    Raises
    ------
    RunError
        If it fails, with what it wrote last.
    """
    words = [str(word) for word in command]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    start = Seconds.now()
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment, check=False)
    cost = Seconds.now() - start
    if done.returncode:
        said = " ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-2:])
        trace = f"{' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}\n"
        raise RunError(f"{words[0]} ended with {done.returncode}: {said}", trace=trace)
    return cost


def write_input(folder: Path, particles: Particles, *, standardised: bool = False) -> None:
    """Write particles.star and one file a volume and a weight into a folder, since RELION reads no stacks of volumes.

    Parameters
    ----------
    standardised
        Whether volumes get mean 0 and variance 1, as refinement wants them.
    """
    rows, voxel_size = range(len(particles)), particles.voxel_size_angstrom
    for i in rows:
        weights = particles.read_weights([i])
        assert weights is not None, "RELION wants weights of every particle"
        volume = particles.read_volumes([i])[0]
        write_map(folder / f"{i}.mrc", standard(volume) if standardised else volume, voxel_size)
        write_map(folder / f"{i}_ctf.mrc", ctf_from_weights(weights[0]), voxel_size)
    images = [str(folder / f"{i}.mrc") for i in rows]
    ctfs = [str(folder / f"{i}_ctf.mrc") for i in rows]
    # Micrographs by name, or it takes all particles for one and warns.
    table = pd.DataFrame(
        {"rlnImageName": images, "rlnCtfImage": ctfs, "rlnMicrographName": "tomogram", "rlnOpticsGroup": 1}
    )
    microscope = {"rlnVoltage": 300.0, "rlnSphericalAberration": 2.7, "rlnAmplitudeContrast": 0.07}
    optics = pd.DataFrame({"rlnOpticsGroup": [1], "rlnOpticsGroupName": ["all"], "rlnCtfDataAreCtfPremultiplied": [1]})
    listed = replace(particles, table=table, optics=optics.assign(**microscope))
    write_particles(folder / "particles.star", listed, version="3.1")


def standard(volume: Volume) -> Volume:
    """Return a volume without mean and of unit variance."""
    centred = volume - volume.mean()
    return centred / centred.std()


def average(
    particles: Particles, max_shift: float, schedule: Schedule, threads: int = 1, seed: int = 0
) -> tuple[Volumes, Seconds]:
    """Return the half maps (2, N, N, N) of particles with half sets, found from nothing, and what the runs cost.

    Writing its input is not counted. Its shifts lie in a sphere: the smallest that holds the cube of ``max_shift``.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        common = [*_ALWAYS, "--offset_range", f"{max_shift * 3**0.5:.2f}", "--j", str(threads)]
        common += ["--particle_diameter", f"{particles.box * particles.voxel_size_angstrom:g}"]
        common += ["--random_seed", str(seed)]
        blob = folder / "blob.mrc"
        as_they_are = particles.with_poses(Poses.identity(len(particles)))
        write_map(blob, standard(accumulate(as_they_are, shown=False).result()), particles.voxel_size_angstrom)
        common += ["--ini_high", f"{schedule.start_low_pass_angstrom:g}", "--firstiter_cc"]

        def refined(place: str, some: Particles, reference: Path, iterations: int, order: int) -> tuple[Path, Seconds]:
            inside = folder / place
            (inside / "out").mkdir(parents=True)  # it makes none itself
            write_input(inside, some, standardised=True)
            command = [REFINE, "--i", "particles.star", "--o", "out/run", "--ref", str(reference), *common]
            command += ["--iter", str(iterations), "--healpix_order", str(order)]
            cost = run(command, inside, threads)
            return inside / "out" / f"run_it{iterations:03d}_class001.mrc", cost

        first, total = refined("start", particles, blob, schedule.start_iterations, schedule.start_order)
        maps = []
        for half in (1, 2):
            some = particles.select(rows_of_half(particles, half))
            path, cost = refined(f"half{half}", some, first, schedule.iterations, schedule.order)
            maps.append(read_map(path)[0].float())
            total += cost
        return torch.stack(maps), total
