"""Alignment of real subtomograms against independent maps."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import torch

from gumnet.alignment.pairs import align_pairs
from gumnet.alignment.to_reference import align
from gumnet.geometry.fourier import frequencies
from gumnet.geometry.so3 import angular_distance_degrees, random_rotations
from gumnet.geometry.warp import warp
from gumnet.geometry.wedge import missing_wedge
from gumnet.io.read import read_particles
from gumnet.particles import Poses


def read(path: Path) -> torch.Tensor:
    # These headers say no voxel size; none is needed here.
    return torch.from_numpy(mrcfile.read(path).astype(np.float32))


def test_a_real_ribosome_takes_the_same_pose_from_every_start(shared_data: Path, generator: torch.Generator) -> None:
    folder = shared_data / "real-subtomogram"
    reference = read(folder / "EMD-3228_binned5_normalization.mrc")
    subtomogram = read(folder / "IS002_291013_005_subtomo000029_binned5.mrc")
    full = read(folder / "mask_wedge_binned5.mrc")
    box = reference.shape[-1]
    # The mask is on the centred full grid, cut to a sphere, and is our wedge of 60 degrees within it.
    weights = torch.fft.ifftshift(full)[:, :, : box // 2 + 1]
    inside = frequencies(box).norm(dim=-1) < 0.45
    assert torch.equal(weights[inside], missing_wedge(box, 60.0)[inside])

    starts = Poses.of(
        random_rotations(5, generator=generator),
        (torch.rand(5, 3, generator=generator, dtype=torch.float64) * 2 - 1) * 4,
    )
    moved = warp(reference[None], starts.rotations.float(), starts.shifts.float(), oversampling=2)
    found = align_pairs(moved, subtomogram.expand(5, -1, -1, -1), weights_b=weights)
    # x_particle = found(x_moved), x_reference = start(x_moved).
    on_reference = found.compose(starts.inverse())
    apart = angular_distance_degrees(on_reference.rotations[:, None], on_reference.rotations[None])
    assert apart.max() < 3
    assert (on_reference.shifts - on_reference.shifts.mean(dim=0)).norm(dim=-1).max() < 0.5
    assert found.scores.min() > 0.05


def test_real_tilt_particles_find_the_rotations_of_their_file(shared_data: Path) -> None:
    folder = shared_data / "real-tilt-particles"
    particles = read_particles(folder / "warptools_test_4-tomos_10-ptcls_box-32_angpix-12_optimisation_set.star")
    # The supplied map is of the other hand: mirrored along z, about the centre voxel.
    other_hand = read(folder / "warptools_test_box-32_angpix-12_reconstruct.mrc")
    reference = torch.roll(other_hand.flip(0), 1, dims=0)
    aligned = align(particles, reference)
    apart = angular_distance_degrees(aligned.poses.rotations, particles.poses.rotations)
    # Measured: 24 of 40. By chance, 15 degrees are met once in 300 times.
    assert int((apart < 15).sum()) >= 20
    matched = apart < 15
    assert (aligned.poses.shifts - particles.poses.shifts)[matched].norm(dim=-1).median() < 1
