"""Our particles and poses, read and reconstructed by RELION 3.1's own program: the same map, the same hand."""

from __future__ import annotations

import importlib
import math

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
from gumnet.particles import Particles, Poses

BOX, VOXEL_SIZE, COUNT = 32, 10.0, 24
SHELL = math.ceil(0.35 * BOX)


def ctf_squared(defocus_angstrom: float) -> Tensor:
    k = frequencies(BOX).norm(dim=-1) / VOXEL_SIZE
    phase = math.pi * electron_wavelength_angstrom(300.0) * defocus_angstrom * k**2
    return torch.sin(phase + math.asin(0.07)) ** 2


@pytest.mark.usefixtures("benchmarks")
def test_relion_makes_our_average_of_our_table(generator: torch.Generator) -> None:
    relion = importlib.import_module("peers.relion_average")
    if relion.missing():
        pytest.skip("RELION 3.1 is not installed")
    rotations = random_rotations(COUNT, generator=generator)
    poses = Poses.of(rotations, 4 * torch.rand(COUNT, 3, generator=generator).double() - 2)
    defoci = torch.linspace(20000, 40000, COUNT).tolist()
    weights = torch.stack([missing_wedge(BOX, 60.0) * ctf_squared(defocus) for defocus in defoci])
    pairs = zip(poses.rotations, poses.shifts, strict=True)
    volumes = torch.stack([gaussians.density(BOX, r, t, sigma=1.0) for r, t in pairs]).float()
    volumes = to_real(to_fourier(volumes) * weights, BOX)
    particles = Particles.from_tensors(volumes, voxel_size_angstrom=VOXEL_SIZE, weights=weights, poses=poses)
    ours, (theirs, _) = accumulate(particles).result(), relion.average(particles)
    # Measured 0.9998, and 0.998 and 0.999 against the truth.
    assert float(fsc(ours, theirs)[: SHELL + 1].min()) > 0.98
    truth = gaussians.density(BOX, sigma=1.0).float()
    assert float(fsc(ours, truth)[: SHELL + 1].min()) > 0.98
    # The mirror image, voxel N // 2 staying in place, is another map.
    assert float(fsc(ours.flip(0).roll(1, 0), theirs)[3 : SHELL + 1].mean()) < 0.5
