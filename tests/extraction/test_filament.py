"""Filaments: a circle for the curve, a helix of Gaussians for the frames, a real microtubule for the whole."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles.tomograms import write_tomogram
from PIL import Image, ImageSequence
from scipy.spatial.transform import Rotation
from torch import Tensor

import gumnet
from gumnet.averaging.accumulate import accumulate
from gumnet.errors import InputError
from gumnet.extraction.extract import ExtractConfig, extract
from gumnet.extraction.filament import PRIORS, TRACK, FilamentConfig, along_filaments, frames, resample
from gumnet.geometry.fourier import friedel_multiplicity, to_fourier
from gumnet.geometry.warp import voxel_coordinates
from gumnet.io.picks import Picks, read_picks
from gumnet.io.relion_pose_table import TUBE
from gumnet.io.tomogram_volume import Tomogram, open_tomogram
from gumnet.particles import Particles, Poses

VOXEL = 10.0


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def points_on(places: Tensor, tubes: tuple[str, ...] | None = None) -> Picks:
    n = len(places)
    eye = torch.eye(3, dtype=torch.float64).expand(n, 3, 3)
    return Picks(Path("points.csv"), places, eye, torch.zeros_like(places), (None,) * n, filaments=tubes)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Tomogram:
    path = tmp_path_factory.mktemp("tomo") / "empty.mrc"
    return open_tomogram(write_tomogram(path, torch.rand(30, 30, 30), VOXEL))


def test_a_line_is_cut_at_even_steps() -> None:
    places, directions, along = resample(torch.stack([vector(0, 0, 0), vector(3, 4, 0)]), 1.25)
    assert along.tolist() == pytest.approx([0, 1.25, 2.5, 3.75, 5.0])
    torch.testing.assert_close(places, along[:, None] * vector(0.6, 0.8, 0))
    torch.testing.assert_close(directions, vector(0.6, 0.8, 0).expand(5, 3))


def test_points_on_a_circle_give_a_circle() -> None:
    # A natural spline is straight at its ends, so what is compared is the middle.
    angles = torch.linspace(0, math.pi, 25, dtype=torch.float64)
    circle = 50 * torch.stack([angles.cos(), angles.sin(), torch.zeros(25, dtype=torch.float64)], dim=-1)
    places, directions, along = resample(circle, 4.0)
    assert float(along[-1]) == pytest.approx(50 * math.pi, abs=4.0)
    torch.testing.assert_close(
        (places[1:] - places[:-1]).norm(dim=-1), torch.full((len(along) - 1,), 4.0).double(), atol=5e-3, rtol=0
    )
    middle = slice(8, -8)
    torch.testing.assert_close(places[middle].norm(dim=-1), torch.full_like(along[middle], 50.0), atol=1e-3, rtol=0)
    tangents = torch.stack([-places[:, 1], places[:, 0], torch.zeros_like(along)], dim=-1) / 50
    torch.testing.assert_close(directions[middle], tangents[middle], atol=1e-3, rtol=0)


def test_frames_have_z_along_the_filament_and_no_turn_from_bends() -> None:
    # Along a circle in the plane, the shortest way keeps the normal of the plane where it is in every frame.
    angles = torch.linspace(0, 5.0, 60, dtype=torch.float64)
    tangents = torch.stack([-angles.sin(), angles.cos(), torch.zeros(60, dtype=torch.float64)], dim=-1)
    turned = frames(tangents)
    torch.testing.assert_close(turned[:, :, 2], tangents)
    torch.testing.assert_close(turned.mT @ vector(0, 0, 1), (turned[0].mT @ vector(0, 0, 1)).expand(60, 3))
    assert torch.allclose(torch.linalg.det(turned), torch.ones(60, dtype=torch.float64))


@pytest.mark.parametrize("direction", [(0.0, 0, 1), (0, 0, -1), (1, 0, 0), (-0.36, 0.48, 0.8)])
def test_the_twist_is_right_handed_about_the_direction(direction: tuple[float, ...]) -> None:
    along = vector(*direction)
    turned = frames(along.expand(3, 3), 25.0)
    torch.testing.assert_close(turned[:, :, 2], along.expand(3, 3))
    step = torch.from_numpy(Rotation.from_rotvec(25 * along.numpy(), degrees=True).as_matrix())
    torch.testing.assert_close(turned[1:], step @ turned[:-1])


def helix(path: Path, start: Tensor, direction: Tensor, rise: float, twist: float, radius: float) -> Tomogram:
    """Write Gaussians on a right-handed helix, by vectors across the axis; none of the code under test is used."""
    u = torch.nn.functional.normalize(torch.linalg.cross(direction, vector(0.3, -0.2, 0.9)), dim=-1)
    v = torch.linalg.cross(direction, u)
    z, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (48, 50, 120)), indexing="ij")
    points, values = torch.stack([x, y, z], dim=-1), torch.zeros(48, 50, 120, dtype=torch.float64)
    for k in range(-6, 40):
        turn = math.radians(twist * k)
        place = start + k * rise * direction + radius * (math.cos(turn) * u + math.sin(turn) * v)
        if bool(((place > -4) & (place < vector(124, 54, 52))).all()):
            values += torch.exp(-(points - place).square().sum(-1) / (2 * 1.5**2))
    return open_tomogram(write_tomogram(path, values, VOXEL))


def test_segments_of_a_helix_all_look_the_same(tmp_path: Path) -> None:
    start, direction = vector(14.2, 20.1, 22.3), torch.nn.functional.normalize(vector(1, 0.11, 0.06), dim=-1)
    tomo = helix(tmp_path / "helix.mrc", start, direction, rise=5.3, twist=40.0, radius=5.0)
    picks = points_on(torch.stack([start, start + 85.0 * direction]))

    def top_of_average(twist: float) -> float:
        segments = along_filaments(picks, [tomo, tomo], FilamentConfig(5.3 * VOXEL, twist))
        made = extract(segments, [tomo] * len(segments), ExtractConfig(20, normalise=False)).particles
        assert len(made) >= 14
        average = accumulate(made).result().double()
        points = voxel_coordinates(20, dtype=torch.float64)
        return float(average[(points[..., :2].norm(dim=-1) > 3.5) & (points[..., 2].abs() < 2)].max())

    assert top_of_average(40.0) > 0.9
    assert top_of_average(-40.0) < 0.6
    assert top_of_average(0.0) < 0.6


def test_tables_of_filaments_say_what_refinement_needs(empty: Tomogram) -> None:
    places = torch.stack([vector(5, 5, 5), vector(5, 5, 25), vector(9, 9, 9), vector(20, 9, 9), vector(24, 9, 9)])
    picks = points_on(places, ("a", "a", "b", "b", "b"))
    segments = along_filaments(picks, [empty] * 5, FilamentConfig(50.0, 10.0))
    table = segments.table
    assert table is not None
    assert table[TUBE].tolist() == ["a"] * 5 + ["b"] * 4
    assert table[TRACK].tolist() == pytest.approx([0, 50, 100, 150, 200, 0, 50, 100, 150])
    assert table["rlnRandomSubset"].tolist() == [1] * 5 + [2] * 4
    tilt, psi = (table[c].to_numpy() for c in PRIORS)
    assert tilt[:5] == pytest.approx(0)
    assert tilt[5:] == pytest.approx(90)
    # RELION's matrix for (rot, tilt, psi) takes the particle to the reference: the filament to z, whatever rot.
    matrix = Rotation.from_euler("ZYZ", np.stack([np.full(4, 33.0), tilt[5:], psi[5:]], axis=1), degrees=True)
    assert matrix.apply([1.0, 0, 0]) == pytest.approx(np.tile([0, 0, 1], (4, 1)), abs=1e-6)


def test_a_single_filament_is_halved_in_the_middle(empty: Tomogram) -> None:
    picks = points_on(torch.stack([vector(5, 5, 5), vector(5, 5, 25)]))
    segments = along_filaments(picks, [empty] * 2, FilamentConfig(50.0))
    assert segments.table is not None
    assert segments.table["rlnRandomSubset"].tolist() == [1, 1, 1, 2, 2]


def test_turns_at_random_come_from_the_generator(empty: Tomogram) -> None:
    picks = points_on(torch.stack([vector(5, 5, 5), vector(25, 15, 25)]))

    def turned(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        config = FilamentConfig(10.0, random_in_plane=True)
        return along_filaments(picks, [empty] * 2, config, generator=generator).rotations

    assert torch.equal(turned(1), turned(1))
    assert not torch.allclose(turned(1), turned(2))
    torch.testing.assert_close(turned(1)[:, :, 2], turned(2)[:, :, 2])
    relative = turned(1)[0].mT @ turned(1)
    assert torch.atan2(relative[:, 1, 0], relative[:, 0, 0]).std() > 1


@pytest.mark.parametrize(("tubes", "name"), [(("a", "a", "b"), "filament b"), (("a", "b", "b"), "filament a")])
def test_a_filament_of_one_point_is_named(empty: Tomogram, tubes: tuple[str, ...], name: str) -> None:
    picks = points_on(torch.stack([vector(5, 5, 5), vector(5, 5, 25), vector(7, 7, 7)]), tubes)
    with pytest.raises(InputError, match=f"points.csv: {name}: a filament needs two points"):
        along_filaments(picks, [empty] * 3, FilamentConfig(50.0))


@pytest.mark.parametrize("step", [0.0, -1.0, math.nan])
def test_impossible_steps_are_refused(step: float) -> None:
    with pytest.raises(InputError, match="is not possible"):
        FilamentConfig(step)


BOX = 32


def layer_line(halves: Tensor, line: int) -> float:
    """Return the correlation of two half maps (2, N, N, N) of a tube along z on a layer line, its wall only."""
    points = voxel_coordinates(BOX, dtype=torch.float64)
    radius = points[..., :2].norm(dim=-1)
    spectra = to_fourier(halves.double() * ((radius > 5) & (radius < 15)))
    across = torch.hypot(torch.fft.fftfreq(BOX)[:, None], torch.fft.rfftfreq(BOX)[None])
    first, second = spectra[:, [line, -line]]
    weight = (across < 0.25) * friedel_multiplicity(BOX)
    power = ((first.abs() ** 2 * weight).sum() * (second.abs() ** 2 * weight).sum()).sqrt()
    return float(((first * second.conj()).real * weight).sum() / power)


def protofilaments(average: Tensor) -> int:
    """Return the order from 5 on of the strongest angular harmonic of a tube's wall, seen along z."""
    points = voxel_coordinates(BOX, dtype=torch.float64)[0]
    radius, angle = points[..., :2].norm(dim=-1), torch.atan2(points[..., 1], points[..., 0])
    wall = (radius > 8) & (radius < 13.5)
    seen = average.double().mean(dim=0)[wall]
    orders = torch.arange(5, 20)
    waves = torch.polar(torch.ones(1, dtype=torch.float64), orders[:, None] * angle[wall])
    return int(orders[((seen - seen.mean()) * waves).sum(-1).abs().argmax()])


def apart(made: Particles) -> Particles:
    """Leave out of the first half what overlaps with the second: its noise is shared."""
    assert made.table is not None
    along = torch.tensor(made.table[TRACK].to_numpy(dtype=float))
    end = float(along[made.half_sets == 1].max())
    return made.select(torch.nonzero((made.half_sets == 2) | (along < end - BOX * 10.52))[:, 0])


def test_a_real_microtubule_shows_its_repeat_and_its_protofilaments(tmp_path: Path, shared_data: Path) -> None:
    with Image.open(shared_data / "real-microtubule/13pf_MT.tif") as image:
        values = torch.from_numpy(np.stack([np.array(page, np.float64) for page in ImageSequence.Iterator(image)]))
    tomo = open_tomogram(write_tomogram(tmp_path / "mt.mrc", values, 10.52))
    # Two points on its axis, picked by eye.
    (tmp_path / "axis.csv").write_text("x,y,z\n82,6,18\n21.5,199,18\n")
    axis = read_picks(tmp_path / "axis.csv")

    def segments(step: float) -> Particles:
        picks = along_filaments(axis, [tomo, tomo], FilamentConfig(step))
        return apart(extract(picks, [tomo] * len(picks), ExtractConfig(BOX, along_z=True)).particles)

    def averaged(particles: Particles) -> gumnet.Average:
        return gumnet.average(particles, gumnet.AverageConfig(iterations=0))

    # Tubulin repeats every 41 A, the eighth layer line of this box (42 A). Both halves are averages over steps of one
    # length, which lets only that length and its fractions through, noise too: it is their phases that tell. They come
    # from distant parts of the tube, up to 210 nm apart, so even 40 or 42 A fall out of step.
    made = segments(41.0)
    assert (len(made), int((made.half_sets == 1).sum())) == (37, 13)
    start = averaged(made)
    assert layer_line(start.half_maps, 8) > 0.7
    for step in (40.0, 42.0):
        assert layer_line(averaged(segments(step)).half_maps, 8) < 0.2
    assert protofilaments(start.map) == 13

    # Each half aligned locally to its own average only: the repeat stays, and the poses stay near the axis.
    config = gumnet.AlignConfig(local=True, cone_degrees=6, in_plane_degrees=6, max_shift=1.5, low_pass_angstrom=33)
    order = torch.cat([torch.nonzero(made.half_sets == half)[:, 0] for half in (1, 2)])
    halves = [made.select(torch.nonzero(made.half_sets == half)[:, 0]) for half in (1, 2)]
    aligned = [gumnet.align(part, start.half_maps[i], config).poses for i, part in enumerate(halves)]
    better = averaged(replace(made.select(order), poses=Poses.concatenate(aligned)))
    assert layer_line(better.half_maps, 8) > 0.7
    assert protofilaments(better.map) == 13
