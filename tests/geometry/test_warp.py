import math

import pytest
import torch
from oracles import gaussians

from gumnet.geometry.fourier import frequencies, shell_sums, to_fourier
from gumnet.geometry.rigid import matrix_from_relion
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.warp import warp
from gumnet.particles import Poses


@pytest.mark.parametrize("box", [9, 10])
def test_centre_voxel_is_the_fixed_point_of_every_rotation(box, generator):
    volume = torch.zeros(1, box, box, box, dtype=torch.float64)
    volume[0, box // 2, box // 2, box // 2] = 1.0
    rotations = random_rotations(8, generator=generator)
    out = warp(volume, rotations, torch.zeros(8, 3))
    assert torch.allclose(out[:, box // 2, box // 2, box // 2], torch.ones(8, dtype=torch.float64))


def test_quarter_turns_move_voxels_exactly():
    """A particle turned by +90 degrees about z, put back, is the reference."""
    volume = torch.zeros(1, 9, 9, 9, dtype=torch.float64)
    volume[0, 4, 4, 6] = 1.0  # x = +2
    quarter = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    particle = warp(volume, quarter.mT, torch.zeros(1, 3))  # sampled at R^-1 x: the particle R x
    assert particle[0, 4, 6, 4] == pytest.approx(1.0)  # y = +2
    assert warp(particle, quarter, torch.zeros(1, 3))[0, 4, 4, 6] == pytest.approx(1.0)


@pytest.mark.parametrize("box", [31, 32])
def test_particle_is_put_on_the_reference(box, generator):
    """The one convention of the project: sampling the particle at R x + t gives the reference."""
    rotations = random_rotations(4, generator=generator)
    shifts = 3 * torch.rand(4, 3, dtype=torch.float64, generator=generator) - 1.5
    particles = torch.stack([gaussians.density(box, r, t) for r, t in zip(rotations, shifts, strict=True)])
    reference = gaussians.density(box)
    # Linear interpolation is off by at most h^2 / 8 times the second derivative, on each of three axes.
    curvature = max(gaussians.AMPLITUDES) / 1.6**2
    for oversampling in (1, 2):
        out = warp(particles, rotations, shifts, oversampling=oversampling)
        assert (out - reference).abs().max() < 3 / 8 * curvature / oversampling**2


def test_warp_by_a_pose_and_its_inverse_cancel(generator):
    pose = Poses.of(
        random_rotations(3, generator=generator), torch.rand(3, 3, dtype=torch.float64, generator=generator)
    )
    reference = gaussians.density(32)[None]
    back = pose.inverse()
    there = warp(reference, back.rotations, back.shifts, oversampling=2)
    again = warp(there, pose.rotations, pose.shifts, oversampling=2)
    assert (again - reference).abs().max() < 2 * 3 / 8 * max(gaussians.AMPLITUDES) / 1.6**2 / 2**2


@pytest.mark.parametrize("oversampling", [1, 2])
def test_interpolation_damps_as_the_closed_form_says(oversampling):
    """Linear interpolation at random offsets keeps sinc^2(f / oversampling) of a plane wave of f cycles per voxel."""
    box, f = 32, 0.25
    x = torch.arange(box, dtype=torch.float64) - box // 2
    wave = torch.cos(2 * math.pi * f * x).expand(1, box, box, box)
    offsets = (torch.arange(16, dtype=torch.float64) + 0.5) / 16
    shifts = torch.stack([offsets, 0 * offsets, 0 * offsets], dim=-1)
    out = warp(wave, torch.eye(3, dtype=torch.float64).expand(16, 3, 3), shifts, oversampling=oversampling)
    inner = slice(8, 24)
    expected = torch.cos(2 * math.pi * f * (x + offsets[:, None]))[:, None, None, inner]
    kept = (out[..., inner, inner, inner] * expected).sum() / (expected**2).expand_as(
        out[..., inner, inner, inner]
    ).sum()
    sinc = math.sin(math.pi * f / oversampling) / (math.pi * f / oversampling)
    assert float(kept) == pytest.approx(sinc**2, abs=0.01)


def test_one_volume_serves_many_poses(generator):
    volume = torch.randn(1, 8, 8, 8, generator=generator)
    rotations, shifts = random_rotations(3, generator=generator).float(), torch.zeros(3, 3)
    assert torch.allclose(warp(volume, rotations, shifts), warp(volume.expand(3, -1, -1, -1), rotations, shifts))


def test_gradients(generator):
    volume = torch.randn(2, 5, 5, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    angles = torch.tensor([[20.0, 50.0, -70.0], [100.0, 30.0, 10.0]], dtype=torch.float64, requires_grad=True)
    shifts = torch.tensor([[0.13, -0.21, 0.37], [0.44, 0.29, -0.18]], dtype=torch.float64, requires_grad=True)

    def loss(v, a, t):
        return warp(v, matrix_from_relion(a), t)

    assert torch.autograd.gradcheck(loss, (volume, angles, shifts))


def test_autocast_leaves_geometry_unchanged(generator):
    volume = torch.randn(1, 16, 16, 16, generator=generator)
    rotations, shifts = random_rotations(2, generator=generator).float(), torch.rand(2, 3, generator=generator)
    expected = warp(volume, rotations, shifts)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = warp(volume, rotations, shifts)
    assert out.dtype == torch.float32
    assert torch.equal(out, expected)


def test_rotation_theorem(generator):
    """Putting a particle on the reference turns its spectrum: F_out(k) = F_in(R k)."""
    rotation = random_rotations(1, generator=generator)[0]
    particle = gaussians.density(32, rotation)
    out = to_fourier(warp(particle[None], rotation[None], torch.zeros(1, 3), oversampling=2))
    expected = gaussians.spectrum(frequencies(32, dtype=torch.float64))
    cross = shell_sums((out[0] * expected.conj()).real, 32)
    power = torch.sqrt(shell_sums(out[0].abs() ** 2, 32) * shell_sums(expected.abs() ** 2, 32))
    assert (cross / power)[:10].min() > 0.999
