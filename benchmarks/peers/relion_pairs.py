"""RELION 3.1 (GPL), run as a program: one iteration against a fixed reference, with 3D weights for every particle.

The score of its first iteration is a normalised cross correlation, which needs no common grey scale. Its shifts lie in
a sphere: the smallest that holds the cube of the shift limit, so no right pose is out of its reach. Its own mask is as
wide as the box. One process a pair, since each pair has its own reference; one for all particles of one reference.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd
import torch

from gumnet.benchmark import relion
from gumnet.benchmark.seconds import Seconds
from gumnet.io.mrc import write_map
from gumnet.io.relion_poses import poses_from_table
from gumnet.io.relion_write import ctf_from_weights
from gumnet.io.star import read_star, write_star
from gumnet.particles import Poses
from gumnet.types import Volumes, Weights

PROGRAM = relion.REFINE
HEALPIX_ORDER = 2
"""15 degrees, and half of it once more around the best: 7.5 degrees in the end."""
OFFSET_STEP = 2.0
FLAGS = (
    f"--iter 1 --firstiter_cc --dont_combine_weights_via_disc --pool 3 --pad 2 --ctf --tau2_fudge 4 --K 1 "
    f"--flatten_solvent --zero_mask --oversampling 1 --healpix_order {HEALPIX_ORDER} --offset_step {OFFSET_STEP:g} "
    f"--sym C1 --norm --scale --j 1 --dont_check_norm --skip_maximize"
).split()


def missing() -> str | None:
    """Return why it cannot run, or None."""
    return relion.missing(PROGRAM)


def settings() -> str:
    """Return what its poses depend on besides the volumes."""
    return f"RELION {relion.version(PROGRAM)} {' '.join(FLAGS)}"


def align_pairs(
    a: Volumes,
    b: Volumes,
    weights_a: Weights | None,
    weights_b: Weights | None,
    max_shift: float,
    voxel_size: float,
    low_pass: float | None,
) -> tuple[Poses, Seconds]:
    """Return the poses of n volumes b on their a, and what that cost."""
    parts, total = [], Seconds(0.0, 0.0)
    for i in range(len(a)):
        weights = None if weights_b is None else weights_b[i : i + 1]
        found, cost = align_to_reference(a[i], b[i : i + 1], weights, max_shift, voxel_size, low_pass)
        parts.append(found)
        total += cost
    return Poses.concatenate(parts), total


def align_to_reference(
    reference: torch.Tensor,
    particles: Volumes,
    weights: Weights | None,
    max_shift: float,
    voxel_size: float,
    low_pass: float | None,
) -> tuple[Poses, Seconds]:
    """Return the poses of n particles, and what the run cost; writing its input is not counted."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "out").mkdir()  # it makes none itself
        write_map(folder / "reference.mrc", relion.standard(reference), voxel_size)
        _write_particles(folder, particles, weights, voxel_size)
        box = particles.shape[-1]
        command = [PROGRAM, "--i", "particles.star", "--ref", "reference.mrc", "--o", "out/run", *FLAGS]
        command += [
            "--offset_range",
            f"{max_shift * 3**0.5:.2f}",
            "--particle_diameter",
            f"{box * voxel_size:g}",
        ]
        if low_pass is not None:
            command += ["--ini_high", f"{low_pass:g}", "--strict_highres_exp", f"{low_pass:g}"]
        cost = relion.run(command, folder)
        table = read_star(folder / "out" / "run_it001_data.star")["particles"]
        order = table["rlnImageName"].map(lambda image: int(Path(image).stem)).argsort()
        return poses_from_table(table.iloc[order], voxel_size, folder), cost


def _write_particles(folder: Path, particles: Volumes, weights: Weights | None, voxel_size: float) -> None:
    """Write one file a particle, one of weights for each, and the table of them; RELION reads no stacks of volumes."""
    box = particles.shape[-1]
    everything = torch.ones(box, box, box // 2 + 1)
    for i, particle in enumerate(particles):
        write_map(folder / f"{i}.mrc", relion.standard(particle), voxel_size)
        ctf = ctf_from_weights(everything if weights is None else weights[i])
        write_map(folder / f"{i}_ctf.mrc", ctf, voxel_size)
    optics = pd.DataFrame(
        {
            "rlnOpticsGroup": [1],
            "rlnOpticsGroupName": ["opticsGroup1"],
            "rlnImagePixelSize": [voxel_size],
            "rlnImageSize": [box],
            "rlnImageDimensionality": [3],
            "rlnVoltage": [300.0],
            "rlnSphericalAberration": [2.7],
            "rlnAmplitudeContrast": [0.1],
            "rlnCtfDataAreCtfPremultiplied": [1],
        }
    )
    rows = range(len(particles))
    table = pd.DataFrame(
        {
            "rlnImageName": [f"{i}.mrc" for i in rows],
            "rlnCtfImage": [f"{i}_ctf.mrc" for i in rows],
            "rlnMicrographName": "tomogram",
            "rlnOpticsGroup": 1,
            **dict.fromkeys(("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"), 0.0),
        }
    )
    write_star(folder / "particles.star", {"optics": optics, "particles": table})
