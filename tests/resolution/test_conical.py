from __future__ import annotations

import math

import pytest
import torch
from oracles.half_maps import noise, noisy_phantom

from gumnet.averaging.accumulate import accumulate
from gumnet.averaging.fsc import fsc
from gumnet.devices import seeded
from gumnet.errors import InputError
from gumnet.geometry.fourier import frequencies, shell_indices, to_fourier, to_real
from gumnet.geometry.rigid import matrix_from_relion
from gumnet.geometry.warp import warp
from gumnet.geometry.wedge import missing_wedge
from gumnet.particles import Particles, Poses
from gumnet.resolution.conical import cone_fsc, conical_fsc, direction_words, half_sphere

VOXEL = 10.0


def test_directions_are_even_over_half_of_the_sphere() -> None:
    directions = half_sphere(200)
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(200, dtype=torch.float64))
    # The mean of u u^T over the sphere is a third of the identity.
    moment = directions.T @ directions / 200
    torch.testing.assert_close(moment, torch.eye(3, dtype=torch.float64) / 3, atol=0.01, rtol=0)


@pytest.mark.parametrize("box", [15, 16])
def test_a_cone_of_90_degrees_is_the_whole_shell(box: int, generator: torch.Generator) -> None:
    first, second = noise(2, box, generator)
    curves = cone_fsc(first, second, half_sphere(3), 90.0)
    torch.testing.assert_close(curves, fsc(first, second).expand(3, -1), atol=1e-12, rtol=0)


def test_equals_the_sum_over_the_cone_in_the_full_transform(generator: torch.Generator) -> None:
    box, half_angle = 16, 29.0
    first, second = noise(2, box, generator)
    direction = torch.nn.functional.normalize(torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64))
    curve = cone_fsc(first, second, direction, half_angle)[0]
    a, b = (torch.fft.fftn(torch.fft.ifftshift(v)) for v in (first, second))
    k = torch.fft.fftfreq(box, dtype=torch.float64) * box
    kz, ky, kx = torch.meshgrid(k, k, k, indexing="ij")
    radius = torch.stack([kx, ky, kz]).norm(dim=0)
    cosine = (kx * direction[0, 0] + ky * direction[0, 1] + kz * direction[0, 2]).abs() / radius
    # From shell 4 on a cone of 29 degrees holds 20 coefficients without being widened.
    for shell in range(4, box // 2):
        inside = (radius.round() == shell) & (cosine >= math.cos(math.radians(half_angle)))
        x, y = a[inside], b[inside]
        expected = float((x * y.conj()).sum().real / (x.norm() * y.norm()))
        assert float(curve[shell]) == pytest.approx(expected, abs=1e-9)


def test_signal_that_depends_on_direction_gives_its_curve_in_each_cone(generator: torch.Generator) -> None:
    box, half_angle = 40, 25.0
    k = frequencies(box, dtype=torch.float64)
    cosine = torch.nn.functional.normalize(k, dim=-1)[..., 2].abs()
    # Signal over noise: falls with frequency, and faster the nearer to z.
    ratio = 4 * torch.exp(-k.norm(dim=-1) * (2 + 14 * cosine**2))
    directions = half_sphere(12)
    curves = []
    for _ in range(6):
        signal = to_real(to_fourier(noise(1, box, generator)[0]) * ratio.sqrt(), box)
        first, second = signal + noise(2, box, generator)
        curves.append(cone_fsc(first, second, directions, half_angle))
    within = (torch.nn.functional.normalize(k, dim=-1) @ directions.T).abs() >= math.cos(math.radians(half_angle))
    for shell in (8, 12, 16):
        at = shell_indices(box) == shell
        inside = within[at].double()
        expected = (inside * (ratio[at])[:, None]).sum(0) / (inside * (1 + ratio[at])[:, None]).sum(0)
        torch.testing.assert_close(torch.stack(curves).mean(0)[:, shell], expected, atol=0.12, rtol=0)
        assert float((torch.stack(curves).mean(0)[:, shell] - expected).mean().abs()) < 0.03


def test_maps_alike_in_all_directions_are_not_called_anisotropic() -> None:
    for seed in range(6):
        generator = seeded(seed)
        _, halves = noisy_phantom(24, 0.5, generator)
        found = conical_fsc(halves, voxel_size_angstrom=VOXEL, generator=generator, directions=20)
        assert not found.is_anisotropic
        assert "same resolution in all directions" in found.words()


def test_noise_has_no_resolution_in_any_direction(generator: torch.Generator) -> None:
    found = conical_fsc(noise(2, 24, generator), voxel_size_angstrom=VOXEL, generator=generator, directions=20)
    assert bool(torch.isinf(found.resolutions_angstrom).all())
    assert found.words() == "Directional FSC: no resolution in any direction."


def test_a_missing_wedge_shows_along_the_beam(generator: torch.Generator) -> None:
    box = 32
    _, halves = noisy_phantom(box, 0.2, generator)
    halves = to_real(to_fourier(halves) * missing_wedge(box, 60.0), box)
    found = conical_fsc(halves, voxel_size_angstrom=VOXEL, generator=generator)
    assert found.is_anisotropic
    assert found.ratio > 1.5
    assert direction_words(found.axes[1]) == "z"
    assert found.words().startswith("Resolution along z is")
    assert "missing wedge" in found.words()
    # Each direction says it too: those near z are worse than those in the plane.
    near = found.directions[:, 2] > 0.95
    flat = found.directions[:, 2] < 0.5
    assert float(found.resolutions_angstrom[near].median()) > float(found.resolutions_angstrom[flat].median())


def preferred(largest_tilt: float, generator: torch.Generator) -> torch.Tensor:
    """Return half maps of particles tilted by no more than an angle from the beam, at their true poses."""
    box, n = 24, 60
    angles = torch.rand(n, 3, generator=generator, dtype=torch.float64)
    cosine = 1 - angles[:, 1] * (1 - math.cos(math.radians(largest_tilt)))
    tilt = torch.rad2deg(torch.acos(cosine))
    rotations = matrix_from_relion(torch.stack([360 * angles[:, 0], tilt, 360 * angles[:, 2]], dim=1))
    structure, _ = noisy_phantom(box, 0.0, generator)
    poses = Poses.of(rotations, torch.zeros(n, 3, dtype=torch.float64))
    inverse = poses.inverse()
    wedge = missing_wedge(box, 60.0).double()
    volumes = warp(structure.expand(n, -1, -1, -1), inverse.rotations, inverse.shifts) + 0.5 * noise(n, box, generator)
    volumes = to_real(to_fourier(volumes) * wedge, box)
    particles = Particles.from_tensors(volumes, voxel_size_angstrom=VOXEL, weights=wedge).with_poses(poses)
    halves = [accumulate(particles.select(list(range(start, n, 2)))).result() for start in (0, 1)]
    return torch.stack(halves)


def test_preferred_orientation_is_shown_and_said(generator: torch.Generator) -> None:
    # The beam is along z of the particle for all of them, within 20 degrees: its wedge falls on the same place.
    found = conical_fsc(preferred(20.0, generator), voxel_size_angstrom=VOXEL, generator=generator)
    assert found.is_anisotropic
    assert "along z is" in found.words() or "No resolution along z" in found.words()
    assert "preferred orientation" in found.words()
    even = conical_fsc(preferred(180.0, generator), voxel_size_angstrom=VOXEL, generator=generator)
    assert not even.is_anisotropic


def test_directions_in_words() -> None:
    assert direction_words(torch.tensor([0.1, -0.99, 0.0])) == "y"
    assert direction_words(torch.tensor([0.6, 0.6, 0.53])) == "(0.60, 0.60, 0.53)"


def test_wrong_input_is_named(generator: torch.Generator) -> None:
    halves = noise(2, 8, generator)
    with pytest.raises(InputError, match="half angle"):
        conical_fsc(halves, voxel_size_angstrom=VOXEL, generator=generator, half_angle_degrees=0)
    with pytest.raises(InputError, match="directions"):
        conical_fsc(halves, voxel_size_angstrom=VOXEL, generator=generator, directions=0)
