"""Phantoms: from a seed, asymmetric, different from one another, of the size of real complexes."""

from __future__ import annotations

import pytest
import torch

from gumnet.errors import InputError
from gumnet.geometry.fourier import resize
from gumnet.geometry.so3 import super_fibonacci
from gumnet.geometry.warp import voxel_coordinates, warp
from gumnet.simulation.phantom import phantom, phantoms, self_correlation


@pytest.fixture(scope="module")
def three() -> torch.Tensor:
    return phantoms(3, 32, 12.0)


def test_same_seed_same_bytes(three: torch.Tensor) -> None:
    assert torch.equal(phantom(1, 32, 12.0), three[1])


def test_no_pose_beyond_30_degrees_looks_alike(three: torch.Tensor) -> None:
    # Real complexes of this size (spliceosome, ribosome, Pol II) measure 0.73 to 0.80 here.
    grid = super_fibonacci(400, dtype=torch.float32)
    assert max(self_correlation(v, rotations=grid) for v in three) < 0.79


def test_a_ball_is_like_itself_in_every_pose() -> None:
    ball = torch.exp(-(voxel_coordinates(16) ** 2).sum(-1) / 18)
    assert self_correlation(ball) > 0.98


def test_different_seeds_differ_in_every_pose(three: torch.Tensor) -> None:
    grid = super_fibonacci(400, dtype=torch.float32)
    a = three[0].flatten() - three[0].mean()
    turned = warp(three[1:2], grid, torch.zeros(len(grid), 3)).flatten(1)
    turned = turned - turned.mean(dim=1, keepdim=True)
    assert float(((turned @ a) / (turned.norm(dim=1) * a.norm())).max()) < 0.75


def test_fills_the_box_like_a_real_complex(three: torch.Tensor) -> None:
    r2 = (voxel_coordinates(32) ** 2).sum(-1)
    for volume in three:
        assert float(volume.min()) >= 0
        assert float(volume.max()) == 1
        radius = float(((volume * r2).sum() / volume.sum()).sqrt())
        assert 7.0 < radius < 9.0  # 7.6 to 8.8 for the four real complexes
        assert 1000 < int((volume > 0.2).sum()) < 4000  # 1090 to 3930
        assert float(volume[[0, -1]].max()) < 0.01


def test_centre_of_mass_is_the_centre_voxel(three: torch.Tensor) -> None:
    points = voxel_coordinates(32)
    mean = (three[..., None] * points).sum((1, 2, 3)) / three.sum((1, 2, 3))[:, None]
    assert mean.abs().max() < 0.05


def test_same_structure_at_every_box(three: torch.Tensor) -> None:
    fine = resize(phantom(0, 48, 8.0), 32)
    assert float(torch.corrcoef(torch.stack([fine.flatten(), three[0].flatten()]))[0, 1]) > 0.99


def test_bad_calls_say_so() -> None:
    with pytest.raises(InputError, match="too small"):
        phantom(0, 4, 12.0)
    with pytest.raises(InputError, match="voxel size"):
        phantom(0, 32, 0.0)
