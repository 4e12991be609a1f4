"""Scores at given poses by matrix products, against each pair by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import gumnet
from gumnet.alignment.aligner import AlignerOptions
from gumnet.alignment.score import default_mask, whiten
from gumnet.clustering.blocks import all_scores
from gumnet.clustering.hierarchy import square_of
from gumnet.clustering.posed import PosedScores
from gumnet.geometry.fourier import frequencies, friedel_multiplicity, shell_indices, to_fourier
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.warp import warp
from gumnet.geometry.wedge import rotate_weights
from gumnet.particles import Particles, Poses
from tests.oracles.gaussians import density

BOX = 16
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def particles() -> Particles:
    config = gumnet.SimulationConfig(snr=1.0, box=BOX, voxel_size_angstrom=20.0, max_shift=1, phantoms=2, seed=4)
    made = gumnet.simulate(particles=6, config=config)
    return made.particles.with_poses(made.truth)


def one_pair(particles: Particles, i: int, j: int, scores: PosedScores) -> float:
    """Return the score of a pair over the whole half transform, Friedel partners counted, as the formula has it."""
    shells = shell_indices(BOX)
    g = torch.zeros(BOX // 2 + 1).index_copy(0, torch.arange(1, 8), scores.weights[1:8])
    g = torch.where(shells <= 7, g[shells.clamp(max=8)], 0.0) * friedel_multiplicity(BOX)
    sides = []
    for row in (i, j):
        c = particles.read_weights([row]).sqrt()
        pose = particles.poses[[row]].to(dtype=torch.float32)
        volume = warp(whiten(particles.read_volumes([row]), c), pose.rotations, pose.shifts, oversampling=2)
        sides.append((to_fourier(volume * default_mask(BOX))[0], rotate_weights(c, pose.rotations)[0]))
    (a, c_a), (b, c_b) = sides
    numerator = (g * (a * b.conj()).real * c_a * c_b).sum()
    below = (g * a.abs() ** 2 * c_b**2).sum() * (g * b.abs() ** 2 * c_a**2).sum()
    return float(numerator / below.sqrt())


def test_products_are_the_scores_of_the_pairs(particles: Particles) -> None:
    scores = PosedScores.of(particles, AlignerOptions(), CPU)
    square = square_of(all_scores(scores))
    for i, j in ((0, 1), (2, 5), (3, 4)):
        # Planes of kx = 0 hold each pair of partners twice, and the formula of the test counts both, as it should.
        assert square[i, j] == pytest.approx(one_pair(particles, i, j, scores), abs=2e-4)
        assert square[i, j] == pytest.approx(one_pair(particles, j, i, scores), abs=2e-4)


@pytest.mark.parametrize("tile", [1, 2, 4])
def test_tiles_change_nothing(particles: Particles, tile: int) -> None:
    whole = all_scores(PosedScores.of(particles, AlignerOptions(), CPU))
    tiled = all_scores(PosedScores.of(particles, AlignerOptions(), CPU, tile=tile))
    assert tiled == pytest.approx(whole, abs=1e-6)


def test_one_density_in_other_poses_is_the_same_and_its_mirror_image_is_not(generator: torch.Generator) -> None:
    poses = Poses.of(random_rotations(4, generator=generator), torch.tensor([[0, 1, -1.0]] * 4).double())
    volumes = torch.stack([density(24, r, t).float() for r, t in zip(poses.rotations, poses.shifts, strict=True)])
    # The particle of the mirror image of the reference: the rotation acts after the mirror.
    volumes[3] = warp(density(24).flip(2).roll(1, 2)[None], poses.rotations[3:].mT, torch.zeros(1, 3))[0].float()
    poses = replace(poses, shifts=poses.shifts * torch.tensor([1, 1, 1, 0.0]).double()[:, None])
    made = Particles.from_tensors(volumes, voxel_size_angstrom=10.0, poses=poses)
    square = square_of(all_scores(PosedScores.of(made, AlignerOptions(), CPU)))
    # Clean shells count alike, also the highest, where next to nothing is left but what interpolation makes.
    assert min(square[0, 1], square[0, 2], square[1, 2]) > 0.9
    assert max(square[3, :3]) < 0.5


def test_shells_beyond_the_band_do_not_count(particles: Particles) -> None:
    high = torch.randn(len(particles), BOX, BOX, BOX // 2 + 1, dtype=torch.complex64, generator=torch.Generator())
    high = high * (frequencies(BOX).norm(dim=-1) * BOX > 6)
    noise = torch.fft.fftshift(torch.fft.irfftn(high, s=(BOX,) * 3, dim=(-3, -2, -1)), dim=(-3, -2, -1))
    spoilt = Particles.from_tensors(
        particles.read_volumes(range(6)) + noise,
        voxel_size_angstrom=20.0,
        weights=particles.read_weights(range(6)),
        poses=Poses.identity(6),
    )
    clean = replace(spoilt, volumes=particles.volumes)
    options = AlignerOptions(max_frequency=2 / BOX)
    one, other = (PosedScores.of(p, options, CPU) for p in (clean, spoilt))
    # The mask mixes neighbouring shells a little, and noise changes what a shell weighs.
    same = replace(other, weights=one.weights)
    assert all_scores(same) == pytest.approx(all_scores(one), abs=0.1)
    everything = PosedScores.of(spoilt, AlignerOptions(), CPU)
    assert abs(all_scores(replace(everything, weights=torch.ones(9))) - all_scores(one)).max() > 0.1
