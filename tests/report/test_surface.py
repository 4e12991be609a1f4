"""Surfaces against spheres, whose area, volume and normals are known; and their pictures."""

from __future__ import annotations

import base64
import math

import numpy as np
import pytest
import torch

from gumnet.geometry.warp import voxel_coordinates
from gumnet.report.render import VIEWS, shaded
from gumnet.report.surface import Mesh, packed_surfaces, surface

BOX, RADIUS = 24, 7.0


def ball(centre: tuple[float, float, float] = (0.0, 0.0, 0.0), radius: float = RADIUS) -> torch.Tensor:
    """Return a volume that falls evenly away from a point, and is 0 at a radius about it, in voxels from the centre."""
    away = voxel_coordinates(BOX, dtype=torch.float64) - torch.tensor(centre, dtype=torch.float64)
    return radius - away.norm(dim=-1)


def volume_and_euler(mesh: Mesh) -> tuple[float, int]:
    """Return the volume within a mesh in voxels, above 0 where triangles face outwards, and its Euler number."""
    a, b, c = (mesh.points[mesh.triangles[:, i]] * (BOX / 2) for i in range(3))
    edges = np.sort(mesh.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    distinct, times = np.unique(edges, axis=0, return_counts=True)
    assert set(times.tolist()) == {2}, "each edge joins two triangles: nothing is open"
    volume = float((a * np.cross(b, c)).sum()) / 6
    return volume, len(mesh.points) - len(distinct) + len(mesh.triangles)


def test_the_surface_of_a_ball_is_a_closed_sphere_that_faces_outwards() -> None:
    mesh = surface(ball((1.0, -2.0, 0.5)), 0.0)
    away = mesh.points * (BOX / 2) - np.array([1.0, -2.0, 0.5])
    length = np.linalg.norm(away, axis=1)
    assert np.abs(length - RADIUS).max() < 0.15
    volume, euler = volume_and_euler(mesh)
    assert volume == pytest.approx(4 / 3 * math.pi * RADIUS**3, rel=0.03)
    assert euler == 2
    assert (mesh.normals * away / length[:, None]).sum(axis=1).min() > 0.97


def test_what_reaches_the_face_of_the_box_is_closed_there() -> None:
    half, euler = volume_and_euler(surface(ball((-BOX / 2, 0.0, 0.0)), 0.0))
    assert euler == 2
    assert half == pytest.approx(2 / 3 * math.pi * RADIUS**3, rel=0.1)


def test_there_is_no_surface_where_nothing_is_above_the_level() -> None:
    mesh = surface(ball(), RADIUS + 1)
    assert (len(mesh.points), len(mesh.triangles)) == (0, 0)


def test_packed_meshes_hold_what_the_viewer_reads() -> None:
    mesh = surface(ball(), 0.0)
    content = base64.b64decode(mesh.packed())
    n, m = np.frombuffer(content, "<u4", 2)
    assert (n, m) == (len(mesh.points), len(mesh.triangles))
    points = np.frombuffer(content, "<i2", 3 * n, 8).reshape(-1, 3) / 16384
    n, m = int(n), int(m)
    start = 8 + -(-6 * n // 4) * 4
    normals = np.frombuffer(content, "i1", 4 * n, start).reshape(-1, 4)[:, :3] / 127
    triangles = np.frombuffer(content, "<u2", 3 * m, start + 4 * n).reshape(-1, 3)
    assert np.abs(points - mesh.points).max() < 1e-4
    assert np.abs(normals - mesh.normals).max() < 0.005
    assert np.array_equal(triangles, mesh.triangles)
    assert len(content) == start + 4 * n + 6 * m


def test_surfaces_that_are_too_much_together_are_made_coarser() -> None:
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(64, 64, 64, generator=generator)
    whole = packed_surfaces({"noise": (noise, 2.5)}, 10_000_000)["noise"]
    limit = len(whole) // 2
    assert len(packed_surfaces({"noise": (noise, 2.5)}, limit)["noise"]) <= limit


def test_a_ball_looks_like_a_disc_lit_from_the_upper_right() -> None:
    pixels = 48
    picture = shaded(ball(), 0.0, torch.eye(3), pixels=pixels)
    seen = picture[..., 3] > 0
    assert seen.mean() == pytest.approx(math.pi * RADIUS**2 / BOX**2, rel=0.06)
    row, column = np.unravel_index(np.where(seen, picture[..., 1], -1).argmax(), seen.shape)
    # The centre voxel, box // 2, lies half a voxel from the middle of the picture.
    assert row > pixels / 2 + 2
    assert column > pixels / 2 + 2


@pytest.mark.parametrize(("axis", "right", "up"), [("z", 0, 1), ("y", 0, 2), ("x", 1, 2)])
def test_pictures_show_the_axes_as_slices_do(axis: str, right: int, up: int) -> None:
    view = torch.tensor(VIEWS[axis], dtype=torch.float64)
    assert torch.linalg.det(view) == pytest.approx(1.0), "not a mirror image"
    for direction, place in ((right, 1), (up, 0)):
        centre = [0.0, 0.0, 0.0]
        centre[direction] = 6.0
        picture = shaded(ball((centre[0], centre[1], centre[2]), 3.0), 0.0, view, pixels=24)
        assert np.argwhere(picture[..., 3] > 0).mean(axis=0)[place] > 16
