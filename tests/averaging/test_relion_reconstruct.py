"""Our particles and poses, read and reconstructed by RELION 3.1's own program: the same map, the same hand."""

from __future__ import annotations

import math
import os
import subprocess
from pathlib import Path
from shutil import which

import pandas as pd
import pytest
import torch
from oracles import gaussians
from torch import Tensor

from gumnet.averaging.accumulate import accumulate
from gumnet.averaging.fsc import fsc
from gumnet.geometry.ctf import electron_wavelength_angstrom
from gumnet.geometry.fourier import frequencies, to_fourier, to_real
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.wedge import missing_wedge
from gumnet.io.mrc import read_map, write_map
from gumnet.io.relion_write import ctf_from_weights, write_particles
from gumnet.particles import Particles, Poses

PROGRAM = "relion_reconstruct"
BOX, VOXEL_SIZE = 32, 10.0
SHELL = round(0.35 * BOX)

pytestmark = pytest.mark.skipif(which(PROGRAM) is None, reason="RELION 3.1 is not installed")


def ctf_squared(defocus_angstrom: float) -> Tensor:
    k = frequencies(BOX).norm(dim=-1) / VOXEL_SIZE
    phase = math.pi * electron_wavelength_angstrom(300.0) * defocus_angstrom * k**2
    return torch.sin(phase + math.asin(0.07)) ** 2


def reconstruct(folder: Path, particles: Particles) -> Tensor:
    """Return RELION's map: one file a particle, their weights as 3D CTF volumes, the table written by us."""
    table = pd.DataFrame({"rlnImageName": [], "rlnCtfImage": []}, dtype=str)
    for i in range(len(particles)):
        image, ctf = folder / f"{i}.mrc", folder / f"{i}_ctf.mrc"
        weights = particles.read_weights([i])
        assert weights is not None
        write_map(image, particles.read_volumes([i])[0], VOXEL_SIZE)
        write_map(ctf, ctf_from_weights(weights[0]), VOXEL_SIZE)
        table.loc[i] = [str(image), str(ctf)]
    table["rlnOpticsGroup"] = 1
    optics = pd.DataFrame({"rlnOpticsGroup": [1], "rlnOpticsGroupName": ["all"], "rlnCtfDataAreCtfPremultiplied": [1]})
    optics = optics.assign(rlnVoltage=300.0, rlnSphericalAberration=2.7, rlnAmplitudeContrast=0.07)
    listed = Particles(
        particles.volumes,
        particles.poses,
        VOXEL_SIZE,
        particles.weights,
        table=table,
        optics=optics,
    )
    write_particles(folder / "particles.star", listed, version="3.1")
    command = [PROGRAM, "--i", "particles.star", "--o", "map.mrc", "--3d_rot", "--ctf"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return read_map(folder / "map.mrc")[0]


def test_relion_makes_our_average_of_our_table(tmp_path: Path, generator: torch.Generator) -> None:
    n = 24
    poses = Poses.of(random_rotations(n, generator=generator), 4 * torch.rand(n, 3, generator=generator).double() - 2)
    wedge = missing_wedge(BOX, 60.0)
    defoci = torch.linspace(20000, 40000, n).tolist()
    weights = torch.stack([wedge * ctf_squared(defocus) for defocus in defoci])
    volumes = torch.stack(
        [gaussians.density(BOX, r, t, sigma=1.0) for r, t in zip(poses.rotations, poses.shifts, strict=True)]
    )
    volumes = to_real(to_fourier(volumes.float()) * weights, BOX)
    particles = Particles.from_tensors(volumes, voxel_size_angstrom=VOXEL_SIZE, weights=weights, poses=poses)
    ours, theirs = accumulate(particles).result(), reconstruct(tmp_path, particles).float()
    # Measured 0.9998; RELION divides point by point, we solve for the map.
    assert float(fsc(ours, theirs)[: SHELL + 1].min()) > 0.98
    mirrored = ours.flip(0).roll(1, 0)
    assert float(fsc(mirrored, theirs)[3:SHELL].mean()) < 0.5
    truth = gaussians.density(BOX, sigma=1.0).float()
    assert float(fsc(theirs, truth)[: SHELL + 1].min()) > 0.98
