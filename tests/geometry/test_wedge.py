import math

import pytest
import torch
from oracles import gaussians

from gumnet.errors import InputError
from gumnet.geometry.fourier import frequencies, to_fourier, to_real
from gumnet.geometry.rigid import matrix_from_euler
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.warp import warp
from gumnet.geometry.wedge import full_from_half, missing_wedge, rotate_weights, wedge_angles_degrees


@pytest.mark.parametrize("box", [31, 32])
def test_symmetric_range_is_the_rule_of_the_conventions(box):
    k = frequencies(box, dtype=torch.float64)
    expected = k[..., 2].abs() <= math.tan(math.radians(60)) * k[..., 0].abs() + 1e-9
    assert torch.equal(missing_wedge(box, 60.0) > 0, expected)


def test_fraction_observed_is_the_fraction_of_angles():
    """In the disc around the tilt axis, +-60 of +-90 degrees leaves two thirds."""
    weights = missing_wedge(64, 60.0)
    k = frequencies(64)
    disc = (torch.sqrt(k[..., 0] ** 2 + k[..., 2] ** 2) < 0.5) & (k[..., 0] > 0)
    assert float(weights[disc].mean()) == pytest.approx(2 / 3, abs=0.02)


def test_full_tilt_range_observes_everything():
    assert torch.equal(missing_wedge(16, 90.0), torch.ones(16, 16, 9))


def test_asymmetric_range_observes_positive_tilts():
    """A tilt by theta observes kz = tan(theta) kx."""
    weights = missing_wedge(32, 60.0, -20.0)
    assert weights[8, 0, 8] == 1  # kz = kx: 45 degrees
    assert weights[-8, 0, 8] == 0  # -45 degrees
    low, high = wedge_angles_degrees(weights)
    assert low == pytest.approx(-20, abs=2.5)
    assert high == pytest.approx(60, abs=2.5)


@pytest.mark.parametrize("limits", [(60.0, 70.0), (100.0, None), (0.0, 0.0)])
def test_impossible_tilt_range_is_refused(limits):
    with pytest.raises(InputError, match="tilt range"):
        missing_wedge(16, *limits)


@pytest.mark.parametrize("box", [7, 8])
def test_full_layout_is_the_fftshift_of_the_full_transform(box, generator):
    volume = torch.randn(box, box, box, dtype=torch.float64, generator=generator)
    power = to_fourier(volume).abs()
    full = full_from_half(power)
    reference = torch.fft.fftshift(torch.fft.fftn(volume).abs())
    assert full.shape == (2 * (box // 2) + 1,) * 3
    assert torch.allclose(full[:box, :box, :box], reference)
    assert torch.allclose(full, full.flip((0, 1, 2)))


@pytest.mark.parametrize("box", [15, 16])
def test_identity_leaves_weights_as_they_are(box):
    weights = missing_wedge(box, 55.0)[None]
    assert torch.allclose(rotate_weights(weights, torch.eye(3)[None]), weights, atol=1e-6)


def test_turned_wedge_is_the_wedge_of_the_turned_particle():
    """Turning by 30 degrees about the tilt axis moves a range of -60 ... 60 to -30 ... 90 or to -90 ... 30."""
    turn = matrix_from_euler("y", torch.tensor([30.0])).reshape(1, 3, 3)
    turned = rotate_weights(missing_wedge(64, 60.0)[None], turn)[0]
    k = frequencies(64)
    inside = (k.norm(dim=-1) < 0.45) & (k[..., 0] > 0)
    tilt = torch.rad2deg(torch.atan2(k[..., 2], k[..., 0]))
    # R_y(30) takes the direction (cos a, 0, sin a) to tilt a - 30, which is observed where |a - 30| < 60.
    away = ((tilt - 90).abs() > 4) & ((tilt + 30).abs() > 4) & inside & (k.norm(dim=-1) > 0.1)
    expected = (tilt > -30).float()
    assert ((turned > 0.5).float() == expected)[away].float().mean() > 0.995


def test_weights_turn_with_the_particle_they_belong_to(generator):
    """Filtering a particle and putting it on the reference equals filtering the reference with the turned weights."""
    rotation = random_rotations(1, generator=generator)
    k = frequencies(32, dtype=torch.float64)
    smooth = 0.5 + 0.5 * torch.tanh(20 * (k[..., 0].abs() - 0.7 * k[..., 2].abs()))
    particle = gaussians.density(32, rotation[0])
    filtered = to_real(to_fourier(particle) * smooth, 32)
    first = warp(filtered[None], rotation, torch.zeros(1, 3), oversampling=2)[0]
    turned = rotate_weights(smooth[None], rotation)[0]
    second = to_real(to_fourier(gaussians.density(32)) * turned, 32)
    inner = slice(6, 26)
    difference = (first - second)[inner, inner, inner].norm() / second[inner, inner, inner].norm()
    assert difference < 0.06


def test_gradient_with_respect_to_weights_and_rotation(generator):
    weights = torch.rand(1, 5, 5, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    angles = torch.tensor([[20.0, 50.0, -70.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w, a: rotate_weights(w, matrix_from_euler("ZYZ", a)), (weights, angles))
