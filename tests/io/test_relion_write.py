from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gumnet.errors import InputError
from gumnet.geometry.rigid import matrix_from_relion
from gumnet.geometry.so3 import angular_distance_degrees, random_rotations
from gumnet.io.mrc import write_map, write_volume_stack
from gumnet.io.relion import relion_particles, relion_poses
from gumnet.io.relion_poses import tomogram_rotations
from gumnet.io.relion_write import write_particles
from gumnet.io.star import read_star
from gumnet.particles import MemorySource, Particles, Poses

OPTICS_4 = pd.DataFrame({"rlnOpticsGroup": [1], "rlnImagePixelSize": [4.0], "rlnVoltage": [200.0]})


def _from_table(frame: pd.DataFrame, optics: pd.DataFrame | None, poses: Poses | None = None) -> Particles:
    """Return particles whose table names images that are nowhere: writing does not need them."""
    n = len(frame)
    return Particles(
        volumes=MemorySource(torch.zeros(n, 8, 8, 8)),
        poses=Poses.identity(n) if poses is None else poses,
        voxel_size_angstrom=4.0,
        table=frame,
        optics=optics,
    )


def _random_poses(n: int, generator: torch.Generator) -> Poses:
    shifts = torch.randn(n, 3, generator=generator, dtype=torch.float64) * 3
    return Poses.of(random_rotations(n, generator=generator), shifts)


def _images(n: int) -> pd.DataFrame:
    return pd.DataFrame({"rlnImageName": [f"/data/{i}.mrc" for i in range(n)]})


def _assert_same(poses: Poses, expected: Poses) -> None:
    assert angular_distance_degrees(poses.rotations, expected.rotations).max() < 1e-4
    torch.testing.assert_close(poses.shifts, expected.shifts, atol=1e-4, rtol=0)


angle = st.one_of(st.floats(-720, 720), st.sampled_from([0.0, 90.0, 180.0, -180.0, 1e-7, 179.9999999]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    angles=st.lists(st.tuples(angle, angle, angle), min_size=1, max_size=4),
    shift=st.tuples(*[st.floats(-200, 200)] * 3),
    voxel=st.floats(0.5, 40),
)
def test_any_pose_survives_the_file(
    tmp_path: Path, angles: list[tuple[float, ...]], shift: tuple[float, ...], voxel: float
) -> None:
    rotations = matrix_from_relion(torch.tensor(angles, dtype=torch.float64))
    poses = Poses.of(rotations, torch.tensor([shift] * len(angles), dtype=torch.float64))
    particles = Particles(MemorySource(torch.zeros(len(angles), 4, 4, 4)), poses, voxel, table=_images(len(angles)))
    write_particles(tmp_path / "p.star", particles, overwrite=True)
    back, frame, _ = relion_poses(tmp_path / "p.star")
    _assert_same(back, poses)
    assert frame["rlnAngleTilt"].between(0, 180).all()


@pytest.mark.parametrize("name", ["relion3.0/relion_3.0", "relion4.0/relion_4.0", "relion5/R5_tutorial_run_data"])
def test_real_tables_are_written_with_all_they_held(shared_data: Path, tmp_path: Path, name: str) -> None:
    poses, frame, optics = relion_poses(shared_data / "metadata" / f"{name}.star")
    frame, poses = frame.iloc[:300], poses[:300]
    voxel = 5.364 if optics is None else float(optics["rlnImagePixelSize"].iloc[0])
    classes = torch.tensor(frame.get("rlnClassNumber", pd.Series([0] * len(frame))).to_numpy())
    halves = torch.tensor(frame.get("rlnRandomSubset", pd.Series([0] * len(frame))).to_numpy())
    volumes = MemorySource(torch.zeros(len(frame), 1, 1, 1))
    particles = Particles(volumes, poses, voxel, None, halves, classes, (), frame, optics)
    write_particles(tmp_path / "p.star", particles)
    back, written, groups = relion_poses(tmp_path / "p.star")
    _assert_same(back, poses)
    assert groups is not None
    gone = {"rlnMagnification", "rlnDetectorPixelSize", "rlnPixelSize", "rlnVoltage", "rlnSphericalAberration"}
    for column in frame.columns:
        if optics is None and column in gone:
            continue
        if frame[column].dtype.kind == "f":
            wanted = frame[column] if "Angle" not in column or "Prior" in column else None
            if wanted is not None:
                np.testing.assert_allclose(written[column], wanted, rtol=1e-7, atol=1e-9)
        else:
            assert written[column].tolist() == frame[column].tolist()
    assert groups["rlnImagePixelSize"].tolist() == pytest.approx([voxel] * len(groups))
    assert groups["rlnVoltage"].iloc[0] == 300.0
    assert ("general" in read_star(tmp_path / "p.star")) == ("relion5" in name)
    if "relion5" in name:
        torch.testing.assert_close(
            tomogram_rotations(written, tmp_path), tomogram_rotations(frame, tmp_path), atol=1e-6, rtol=0
        )


def test_poses_labels_and_scores_replace_what_was_there(tmp_path: Path, generator: torch.Generator) -> None:
    frame = _images(3).assign(rlnOriginX=[1.0] * 3, rlnOriginY=2.0, rlnOriginZ=3.0, theirs=["a", "b", "c"])
    frame["rlnClassNumber"] = [7, 7, 7]
    poses = _random_poses(3, generator)
    poses = Poses(poses.rotations, poses.shifts, torch.tensor([0.1, torch.nan, 0.3], dtype=torch.float64))
    particles = _from_table(frame, OPTICS_4, poses)
    halves, classes = torch.tensor([1, 2, 1]), torch.tensor([1, 2, 3])
    particles = Particles(particles.volumes, poses, 4.0, None, halves, classes, (), frame, OPTICS_4)
    write_particles(tmp_path / "p.star", particles)
    blocks = read_star(tmp_path / "p.star")
    written = blocks["particles"]
    assert not {"rlnOriginX", "rlnOriginY", "rlnOriginZ"} & set(written.columns)
    np.testing.assert_allclose(written["rlnOriginYAngst"], -4.0 * poses.shifts[:, 1].numpy(), rtol=1e-6)
    assert written["rlnRandomSubset"].tolist() == [1, 2, 1]
    assert written["rlnClassNumber"].tolist() == [1, 2, 3]
    assert written["theirs"].tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(written["gumnetScore"], [0.1, np.nan, 0.3])
    assert blocks["optics"]["rlnVoltage"].tolist() == [200.0]
    assert frame["rlnClassNumber"].tolist() == [7, 7, 7]
    with pytest.raises(InputError, match="exists already"):
        write_particles(tmp_path / "p.star", particles)


def test_confidences_and_spreads_survive_the_file(tmp_path: Path, generator: torch.Generator) -> None:
    bare = _random_poses(3, generator)
    confidences = torch.tensor([0.97, torch.nan, 0.25], dtype=torch.float64)
    spreads = torch.tensor([2.5, torch.nan, 120.0], dtype=torch.float64)
    poses = Poses(bare.rotations, bare.shifts, torch.rand(3, generator=generator).double(), confidences, spreads)
    write_particles(tmp_path / "p.star", _from_table(_images(3), OPTICS_4, poses))
    back, frame, _ = relion_poses(tmp_path / "p.star")
    np.testing.assert_allclose(frame["gumnetConfidence"], confidences, rtol=1e-5)
    np.testing.assert_allclose(frame["gumnetAngularSpread"], spreads, rtol=1e-5)
    assert back.confidences is not None
    assert back.spreads_degrees is not None
    torch.testing.assert_close(back.confidences, confidences, equal_nan=True)
    torch.testing.assert_close(back.spreads_degrees, spreads, equal_nan=True)
    # Poses of a method that gives none take those away that the table had of others.
    write_particles(tmp_path / "q.star", _from_table(frame, OPTICS_4, bare))
    back, frame, _ = relion_poses(tmp_path / "q.star")
    assert not {"gumnetScore", "gumnetConfidence", "gumnetAngularSpread"} & set(frame.columns)
    assert back.confidences is None
    assert back.spreads_degrees is None
    assert back.scores.isnan().all()


def test_particles_in_memory_get_files(tmp_path: Path, generator: torch.Generator) -> None:
    volumes = torch.randn(3, 8, 8, 8, generator=generator)
    poses = _random_poses(3, generator)
    for shape in ((8, 8, 5), (3, 8, 8, 5)):
        weights = torch.rand(shape, generator=generator)
        folder = tmp_path / str(len(shape))
        particles = Particles.from_tensors(volumes, voxel_size_angstrom=3.0, weights=weights, poses=poses)
        write_particles(folder / "particles.star", particles.select([2, 0]))
        back = relion_particles(folder / "particles.star")
        assert torch.equal(back.read_volumes([0, 1]), volumes[[2, 0]])
        read = back.read_weights([0, 1])
        assert read is not None
        torch.testing.assert_close(read, weights.expand(3, 8, 8, 5)[[2, 0]], atol=0, rtol=5e-7)
        _assert_same(back.poses, poses[[2, 0]])
        assert back.voxel_size_angstrom == 3.0
        assert back.names == ("particle_3", "particle_1")
        suffix = "mrc" if len(shape) == 3 else "mrcs"
        assert {p.name for p in folder.iterdir()} == {"particles.star", "volumes.mrcs", f"weights.{suffix}"}
        moved = folder.rename(tmp_path / f"moved{len(shape)}")
        assert torch.equal(relion_particles(moved / "particles.star").read_volumes([1])[0], volumes[0])


@pytest.mark.parametrize("shape", [(8, 8, 5), (2, 8, 8, 5)])
def test_ctf_on_file_is_the_root_of_weights_in_memory(
    tmp_path: Path, shape: tuple[int, ...], generator: torch.Generator
) -> None:
    """RELION 3.1 squares rlnCtfImage where the data are said to be multiplied already; ones and zeros stay exact."""
    weights = torch.rand(shape, generator=generator) * 30
    weights[..., 0, :2] = torch.tensor([0.0, 1.0])
    volumes = torch.randn(2, 8, 8, 8, generator=generator)
    write_particles(tmp_path / "p.star", Particles.from_tensors(volumes, voxel_size_angstrom=3.0, weights=weights))
    assert read_star(tmp_path / "p.star")["optics"]["rlnCtfDataAreCtfPremultiplied"].tolist() == [1]
    with mrcfile.open(next(tmp_path.glob("p_weights.mrc*"))) as file:
        ctf = torch.from_numpy(np.array(file.data)).reshape(shape)
    torch.testing.assert_close(ctf.double().square(), weights.double(), atol=0, rtol=2e-7)
    read = relion_particles(tmp_path / "p.star").read_weights([0, 1])
    assert read is not None
    assert torch.equal(read[:, :, 0, :2], torch.tensor([0.0, 1.0]).expand(2, 8, 2))


def test_negative_weights_are_not_written(tmp_path: Path, generator: torch.Generator) -> None:
    volumes = torch.randn(2, 8, 8, 8, generator=generator)
    for shape in ((8, 8, 5), (2, 8, 8, 5)):
        particles = Particles.from_tensors(volumes, voxel_size_angstrom=3.0, weights=torch.full(shape, -1.0))
        with pytest.raises(InputError, match="weights are negative"):
            write_particles(tmp_path / "p.star", particles, overwrite=True)
    assert not (tmp_path / "p.star").exists()


def test_image_names_stay_valid_wherever_the_table_goes(tmp_path: Path, generator: torch.Generator) -> None:
    volumes = torch.randn(2, 8, 8, 8, generator=generator)
    (tmp_path / "Extract").mkdir()
    write_volume_stack(tmp_path / "Extract" / "v.mrcs", volumes, 4.0)
    write_map(tmp_path / "Extract" / "w.mrc", torch.rand(8, 8, 5, generator=generator), 4.0)
    rows = (
        "data_\n\nloop_\n_rlnImageName\n_rlnCtfImage\n1@Extract/v.mrcs Extract/w.mrc\n2@Extract/v.mrcs Extract/w.mrc\n"
    )
    (tmp_path / "p.star").write_text(rows)
    particles = relion_particles(tmp_path / "p.star")
    for target in (tmp_path / "q.star", tmp_path / "Refine" / "job" / "q.star"):
        write_particles(target, particles)
        again = relion_particles(target)
        assert torch.equal(again.read_volumes([1, 0]), particles.read_volumes([1, 0]))
        weights, expected = again.read_weights([0]), particles.read_weights([0])
        assert weights is not None
        assert expected is not None
        assert torch.equal(weights, expected)
    assert read_star(tmp_path / "q.star")["particles"]["rlnImageName"].tolist()[1] == "2@Extract/v.mrcs"


def test_microscopes_of_relion_3_0_become_optics_groups(tmp_path: Path) -> None:
    frame = _images(3).assign(rlnVoltage=[300.0, 200.0, 300.0], rlnSphericalAberration=2.7, rlnPixelSize=4.0)
    write_particles(tmp_path / "p.star", _from_table(frame, None))
    blocks = read_star(tmp_path / "p.star")
    assert blocks["particles"]["rlnOpticsGroup"].tolist() == [1, 2, 1]
    assert blocks["optics"]["rlnVoltage"].tolist() == [300.0, 200.0]
    assert not {"rlnVoltage", "rlnPixelSize"} & set(blocks["particles"].columns)
    assert blocks["optics"]["rlnImageSize"].tolist() == [8, 8]


def test_tilt_stacks_are_written_for_relion_5_with_their_tomograms(tmp_path: Path) -> None:
    (tmp_path / "tomograms.star").write_text("data_global\n\n_rlnTomoName a\n")
    named = OPTICS_4.assign(rlnImageDimensionality=2, rlnTomoTomogramsFile=str(tmp_path / "tomograms.star"))
    particles = _from_table(_images(2), named)
    with pytest.raises(InputError, match="RELION 5 only"):
        write_particles(tmp_path / "p.star", particles, version="3.1")
    write_particles(tmp_path / "p.star", particles)
    blocks = read_star(tmp_path / "p.star")
    assert blocks["general"]["rlnTomoSubTomosAre2DStacks"].tolist() == [1]
    assert "rlnTomoTomogramsFile" not in blocks["optics"].columns
    named_files = read_star(tmp_path / "p_optimisation_set.star")[""]
    assert named_files["rlnTomoParticlesFile"].tolist() == ["p.star"]
    assert named_files["rlnTomoTomogramsFile"].tolist() == ["tomograms.star"]
