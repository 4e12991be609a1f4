"""Particles are cut out of tomograms of Gaussians at known places that are no whole voxels, in known orientations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from oracles.gaussians import density
from oracles.tomograms import tomogram, write_tomogram
from scipy.spatial.transform import Rotation

from gumnet.averaging.accumulate import accumulate
from gumnet.errors import InputError
from gumnet.extraction.extract import PADDED, ExtractConfig, extract
from gumnet.geometry.so3 import angular_distance_degrees, random_rotations
from gumnet.geometry.wedge import missing_wedge
from gumnet.io.picks import Picks, read_picks
from gumnet.io.read import read_particles
from gumnet.io.relion_write import write_particles
from gumnet.io.star import write_star
from gumnet.io.tomogram_volume import Tomogram, open_tomogram

VOXEL = 8.0
SHAPE = (40, 44, 76)
PLACES = torch.tensor([[17.3, 19.8, 20.45], [52.75, 24.1, 17.6]], dtype=torch.float64)
ROTATIONS = random_rotations(2, generator=torch.Generator().manual_seed(4))
AS_IT_IS = {"normalise": False}


def picks_at(places: torch.Tensor, rotations: torch.Tensor | None = None) -> Picks:
    n = len(places)
    turned = torch.eye(3, dtype=torch.float64).expand(n, 3, 3) if rotations is None else rotations
    return Picks(Path("picks"), places, turned, torch.zeros(n, 3, dtype=torch.float64), (None,) * n)


@pytest.fixture(scope="module")
def tomo(tmp_path_factory: pytest.TempPathFactory) -> Tomogram:
    return open_tomogram(
        write_tomogram(tmp_path_factory.mktemp("tomo") / "TS_01.mrc", tomogram(SHAPE, PLACES, ROTATIONS), VOXEL)
    )


@pytest.mark.parametrize("box", [24, 25])
def test_what_is_cut_is_the_particle_at_its_pose(tomo: Tomogram, box: int) -> None:
    made = extract(picks_at(PLACES, ROTATIONS), [tomo, tomo], ExtractConfig(box, **AS_IT_IS))
    assert not made.left_out
    volumes, poses = made.particles.read_volumes([0, 1]), made.particles.poses
    assert poses.shifts.abs().max() <= 0.5
    for i in range(2):
        expected = density(box, poses.rotations[i], poses.shifts[i])
        torch.testing.assert_close(volumes[i].double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("box", "binning"), [(24, 2), (25, 2), (24, 3), (25, 3)])
def test_binning_keeps_centre_and_pose(tmp_path: Path, box: int, binning: int) -> None:
    side = binning * (box + 10)
    place = torch.tensor([[side / 2 + 0.3, side / 2 - 1.4, side / 2 + 0.75]], dtype=torch.float64)
    values = tomogram((side, side, side), place, ROTATIONS[:1], scale=binning)
    fine = open_tomogram(write_tomogram(tmp_path / "fine.mrc", values, VOXEL / binning))
    made = extract(picks_at(place, ROTATIONS[:1]), [fine], ExtractConfig(box, binning=binning, **AS_IT_IS)).particles
    assert made.voxel_size_angstrom == pytest.approx(VOXEL)
    expected = density(box, made.poses.rotations[0], made.poses.shifts[0])
    torch.testing.assert_close(made.read_volumes([0])[0].double(), expected, atol=2e-3, rtol=0)


def test_binning_lets_nothing_in_from_the_other_side(tmp_path: Path) -> None:
    box, binning = 16, 2
    values = torch.zeros(80, 80, 80, dtype=torch.float64)
    # Bright up to the edge of the box, and on from there: a crop without margin would ring at the other edge.
    values[:, :, 40 + box :] = 1.0
    sharp = open_tomogram(write_tomogram(tmp_path / "step.mrc", values, 4.0))
    config = ExtractConfig(box, binning=binning, **AS_IT_IS)
    made = extract(picks_at(torch.full((1, 3), 40.0, dtype=torch.float64)), [sharp], config)
    assert made.particles.read_volumes([0])[0, :, :, :4].abs().max() < 0.05


def test_the_average_at_the_extracted_poses_is_the_particle(tomo: Tomogram) -> None:
    made = extract(picks_at(PLACES, ROTATIONS), [tomo, tomo], ExtractConfig(24, **AS_IT_IS)).particles
    found = accumulate(made).result()
    torch.testing.assert_close(found.double(), density(24), atol=0.06, rtol=0)


def test_background_is_normalised_and_contrast_inverted(tomo: Tomogram) -> None:
    picks = picks_at(PLACES[:1])
    points = torch.stack(torch.meshgrid(*[torch.arange(24) - 12] * 3, indexing="ij"))
    outside = points.square().sum(0) > 9**2
    plain = extract(picks, [tomo], ExtractConfig(24)).particles.read_volumes([0])[0]
    assert float(plain[outside].mean()) == pytest.approx(0, abs=1e-5)
    assert float(plain[outside].std()) == pytest.approx(1, abs=1e-5)
    dark = extract(picks, [tomo], ExtractConfig(24, invert=True)).particles.read_volumes([0])[0]
    torch.testing.assert_close(dark, -plain, atol=1e-4, rtol=1e-4)
    smaller = extract(picks, [tomo], ExtractConfig(24, background_diameter_angstrom=10 * VOXEL)).particles
    outside = points.square().sum(0) > 5**2
    assert float(smaller.read_volumes([0])[0][outside].std()) == pytest.approx(1, abs=1e-5)


def test_background_of_filaments_is_outside_a_cylinder(tomo: Tomogram) -> None:
    # z of the pose along x of the tomogram.
    along_x = torch.tensor([[[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]], dtype=torch.float64)
    made = extract(picks_at(PLACES[:1], along_x), [tomo], ExtractConfig(24, along_z=True)).particles
    z, y, _ = torch.meshgrid(*[torch.arange(24) - 12] * 3, indexing="ij")
    outside = y**2 + z**2 > 9**2
    assert float(made.read_volumes([0])[0][outside].std()) == pytest.approx(1, abs=1e-5)


def test_boxes_at_the_edge_are_left_out_with_a_reason(tomo: Tomogram) -> None:
    # The first reaches two voxels over the low edge of x, the last lies beyond the tomogram.
    places = torch.tensor([[10.0, 20, 20], [30, 20, 20], [64, 20, 20], [90, 20, 20]], dtype=torch.float64)
    made = extract(picks_at(places), [tomo] * 4, ExtractConfig(24))
    assert len(made.particles) == 2
    assert made.particles.table["rlnCoordinateX"].tolist() == [30, 64]
    assert [row for row, _, _ in made.left_out] == [1, 4]
    assert made.left_out[0][2] == "8.3% of the box about voxel 10, 20, 20 is outside its tomogram of 76 x 44 x 40"
    assert made.left_out[1][2] == "voxel 90, 20, 20 is outside its tomogram of 76 x 44 x 40"
    assert made.padded == 0
    with pytest.raises(InputError, match="none of 1 boxes can be cut; the first: voxel 90"):
        extract(picks_at(places[3:]), [tomo], ExtractConfig(24))


@pytest.mark.parametrize("binning", [1, 2])
def test_boxes_at_the_edge_are_filled_with_the_mean_and_marked(tmp_path: Path, binning: int) -> None:
    noise = torch.randn(70, 70, 70, generator=torch.Generator().manual_seed(1)).double() + 100.0
    noisy = open_tomogram(write_tomogram(tmp_path / "noise.mrc", noise, VOXEL))
    places = torch.tensor([[10.0 * binning, 35, 35], [35, 35, 35]], dtype=torch.float64)
    made = extract(picks_at(places), [noisy] * 2, ExtractConfig(24, binning=binning, edge="pad"))
    assert made.padded == 1
    assert made.particles.table[PADDED].tolist() == pytest.approx([2 / 24, 0])
    volume = made.particles.read_volumes([0])[0]
    # Left of the first voxel of the tomogram: the level of the mean, 0 once normalised. What is binned rings a little.
    assert float(volume[:, :, 0].std()) < (1e-6 if binning == 1 else 0.25)
    assert abs(float(volume[:, :, 0].mean())) < 0.05
    real = volume[:, :, 2:]
    points = torch.stack(torch.meshgrid(*[torch.arange(24) - 12] * 3, indexing="ij"))
    outside = (points.square().sum(0) > 9**2)[:, :, 2:]
    assert float(real[outside].std()) == pytest.approx(1, abs=1e-4), "filled voxels are no background"


def test_a_tilt_range_becomes_weights(tomo: Tomogram) -> None:
    made = extract(picks_at(PLACES), [tomo] * 2, ExtractConfig(24, tilt_range_degrees=(-50.0, 60.0))).particles
    weights = made.read_weights([1])
    assert weights is not None
    assert torch.equal(weights[0], missing_wedge(24, 60.0, -50.0))
    assert extract(picks_at(PLACES), [tomo] * 2, ExtractConfig(24)).particles.weights is None


def test_a_dead_or_broken_region_is_named(tmp_path: Path) -> None:
    values = torch.randn(40, 40, 40, generator=torch.Generator().manual_seed(1)).double()
    values[:20] = 3.0
    values[30, 20, 20] = torch.nan
    broken = open_tomogram(write_tomogram(tmp_path / "broken.mrc", values, VOXEL))
    places = torch.tensor([[20.0, 20, 9], [20, 20, 30]], dtype=torch.float64)
    particles = extract(picks_at(places), [broken] * 2, ExtractConfig(16)).particles
    with pytest.raises(InputError, match=r"broken.mrc: particle broken/1: the background is constant"):
        particles.read_volumes([0])
    with pytest.raises(InputError, match="particle broken/2: the tomogram holds NaN"):
        particles.read_volumes([1])


def test_tomograms_of_several_voxel_sizes_are_refused(tomo: Tomogram) -> None:
    other = open_tomogram(tomo.path, voxel_size_angstrom=9.0)
    with pytest.raises(InputError, match="voxel sizes from 8 to 9 Angstrom"):
        extract(picks_at(PLACES), [tomo, other], ExtractConfig(24))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"box": 4}, "box of 4"),
        ({"box": 24, "binning": 0}, "binning by 0"),
        ({"box": 24, "background_diameter_angstrom": 400.0}, "no background outside a diameter of 400"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tomo: Tomogram, settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        extract(picks_at(PLACES), [tomo] * 2, ExtractConfig(**settings))


def test_what_is_known_of_poses_goes_along(tmp_path: Path, tomo: Tomogram) -> None:
    write_star(tmp_path / "picks.star", table_3_1())
    made = extract(read_picks(tmp_path / "picks.star"), [tomo] * 2, ExtractConfig(24)).particles
    write_particles(tmp_path / "particles.star", made.select([1, 0]))
    back = read_particles(tmp_path)
    assert back.poses.scores.tolist() == [0.5, 0.25]
    assert back.poses.confidences is not None
    assert back.poses.confidences.tolist() == [1.0, 0.75]
    assert back.poses.spreads_degrees is None


def relion_angles(rotations: torch.Tensor) -> np.ndarray:
    return Rotation.from_matrix(rotations.numpy()).inv().as_euler("ZYZ", degrees=True)


def columns(names: tuple[str, ...], values: np.ndarray) -> dict[str, np.ndarray]:
    return {name: values[:, i] for i, name in enumerate(names)}


def xyz(pattern: str) -> tuple[str, ...]:
    return tuple(pattern.format(axis) for axis in "XYZ")


ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
OPTICS = {"rlnOpticsGroup": [1], "rlnVoltage": [300.0], "rlnSphericalAberration": [2.7], "rlnAmplitudeContrast": [0.1]}


def table_3_1() -> dict[str, object]:
    """Coordinates in voxels of the tomogram; part of the place in the origin."""
    origins = np.array([[3.0, -12.0, 20.0], [0.0, 4.0, 1.0]])
    frame = pd.DataFrame(
        {
            "rlnMicrographName": "TS_01.mrc",
            **columns(xyz("rlnCoordinate{}"), PLACES.numpy() + origins / VOXEL),
            **columns(ANGLES, relion_angles(ROTATIONS)),
            **columns(xyz("rlnOrigin{}Angst"), origins),
            "rlnOpticsGroup": 1,
            "gumnetScore": [0.25, 0.5],
            "gumnetConfidence": [0.75, 1.0],
        }
    )
    return {"optics": pd.DataFrame(OPTICS), "particles": frame}


def table_4() -> dict[str, object]:
    """Coordinates in pixels of the tilt series; boxes that were turned, and origins in the turned box."""
    box = random_rotations(2, generator=torch.Generator().manual_seed(9))
    origins = np.array([[5.0, 0.0, -9.0], [1.0, 2.0, 3.0]])
    in_tomogram = (box @ torch.from_numpy(origins)[..., None])[..., 0].numpy()
    frame = pd.DataFrame(
        {
            "rlnTomoName": "TS_01",
            **columns(xyz("rlnCoordinate{}"), (PLACES.numpy() * VOXEL + in_tomogram) / 2.0),
            **columns(("rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi"), relion_angles(box)),
            **columns(ANGLES, relion_angles(box.mT @ ROTATIONS)),
            **columns(xyz("rlnOrigin{}Angst"), origins),
            "rlnOpticsGroup": 1,
            "rlnImageName": ["a_data.mrc", "b_data.mrc"],
            "rlnCtfImage": ["a_weights.mrc", "b_weights.mrc"],
        }
    )
    optics = pd.DataFrame({**OPTICS, "rlnTomoTiltSeriesPixelSize": [2.0], "rlnCtfDataAreCtfPremultiplied": [1]})
    optics = optics.assign(rlnTomoSubtomogramBinning=1.0, rlnImagePixelSize=2.0, rlnImageSize=96)
    return {"optics": optics, "particles": frame}


def table_5() -> dict[str, object]:
    """Coordinates in Angstrom from the centre, which is half the size of the tomogram; 2D stacks before."""
    frame = pd.DataFrame(
        {
            "rlnTomoName": "TS_01",
            **columns(xyz("rlnCenteredCoordinate{}Angst"), (PLACES.numpy() - np.array(SHAPE[::-1]) / 2) * VOXEL),
            **columns(ANGLES, relion_angles(ROTATIONS)),
            "rlnTomoVisibleFrames": "[1,1]",
            "rlnImageName": ["a_stack2d.mrcs", "b_stack2d.mrcs"],
            "rlnOpticsGroup": 1,
        }
    )
    optics = pd.DataFrame({**OPTICS, "rlnTomoTiltSeriesPixelSize": [2.0], "rlnImageDimensionality": [2]})
    return {"general": {"rlnTomoSubTomosAre2DStacks": 1}, "optics": optics, "particles": frame}


def table_warp() -> dict[str, object]:
    """Coordinates in pixels of the particle images."""
    frame = pd.DataFrame(
        {
            "rlnTomoName": "TS_01.tomostar",
            **columns(xyz("rlnCoordinate{}"), PLACES.numpy() * VOXEL / 5.0),
            **columns(ANGLES, relion_angles(ROTATIONS)),
            "rlnImageName": ["a.mrcs", "b.mrcs"],
            "rlnOpticsGroup": 1,
        }
    )
    optics = pd.DataFrame({**OPTICS, "rlnImagePixelSize": [5.0], "rlnTomoTiltSeriesPixelSize": [1.0]})
    return {"optics": optics, "particles": frame}


@pytest.mark.parametrize("table", [table_3_1, table_4, table_5, table_warp])
def test_tables_of_every_version_name_the_same_places(tmp_path: Path, tomo: Tomogram, table) -> None:
    write_star(tmp_path / "picks.star", table())
    picks = read_picks(tmp_path / "picks.star")
    made = extract(picks, [tomo] * 2, ExtractConfig(24, **AS_IT_IS)).particles
    assert angular_distance_degrees(made.poses.rotations, ROTATIONS).max() < 1e-5
    torch.testing.assert_close(made.poses.shifts, PLACES - PLACES.round(), atol=1e-6, rtol=0)
    (tmp_path / "out").mkdir()
    write_particles(tmp_path / "out/particles.star", made)
    back = read_particles(tmp_path / "out")
    assert torch.equal(back.read_volumes([0, 1]), made.read_volumes([0, 1]))
    assert angular_distance_degrees(back.poses.rotations, ROTATIONS).max() < 1e-5
    torch.testing.assert_close(back.poses.shifts, made.poses.shifts, atol=1e-6, rtol=0)
    assert (back.voxel_size_angstrom, back.box) == (VOXEL, 24)
    # What was written names the same places again, in the unit and from the origin of the table it came from.
    again = extract(read_picks(tmp_path / "out/particles.star"), [tomo] * 2, ExtractConfig(24, **AS_IT_IS)).particles
    torch.testing.assert_close(again.read_volumes([0, 1]), made.read_volumes([0, 1]))
    torch.testing.assert_close(again.poses.shifts, made.poses.shifts, atol=1e-6, rtol=0)
    binned = extract(picks, [tomo] * 2, ExtractConfig(10, binning=2, edge="pad", **AS_IT_IS)).particles
    write_particles(tmp_path / "out/binned.star", binned)
    third = extract(read_picks(tmp_path / "out/binned.star"), [tomo] * 2, ExtractConfig(24, **AS_IT_IS)).particles
    torch.testing.assert_close(third.poses.shifts, made.poses.shifts, atol=1e-6, rtol=0)
