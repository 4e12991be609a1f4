"""RELION's own formulas, written out, are the oracle for signs and directions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from gumnet.errors import InputError
from gumnet.geometry.warp import voxel_coordinates, warp
from gumnet.io.mrc import write_map, write_volume_stack
from gumnet.io.relion import relion_particles, relion_poses
from gumnet.io.relion_poses import tomogram_rotations

PIXEL = 2.5
OPTICS = "data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnImagePixelSize #2\n_rlnImageDimensionality #3\n1 2.5 3\n\n"


def relion_matrix(rot: float, tilt: float, psi: float) -> np.ndarray:
    """Return the matrix of RELION's ``Euler_angles2matrix``, element by element."""
    (ca, cb, cg), (sa, sb, sg) = (f(np.deg2rad([rot, tilt, psi])) for f in (np.cos, np.sin))
    return np.array(
        [
            [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
            [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
            [sb * ca, sb * sa, cb],
        ]
    )


def blob(box: int, position: np.ndarray) -> torch.Tensor:
    """Return a Gaussian of sigma 1.5 voxels at ``position`` (x, y, z), in voxels from the centre."""
    distance = voxel_coordinates(box, dtype=torch.float64) - torch.from_numpy(position)
    return torch.exp(-distance.square().sum(-1) / (2 * 1.5**2)).float()


def centre_of_mass(volume: torch.Tensor) -> np.ndarray:
    points = voxel_coordinates(volume.shape[-1], dtype=torch.float64)
    mass = volume.double()[..., None]
    return ((points * mass).sum((0, 1, 2)) / mass.sum()).numpy()


def star(path: Path, columns: dict[str, list[object]], head: str = OPTICS, block: str = "particles") -> Path:
    lines = [head + f"data_{block}", "", "loop_", *(f"_{c} #{i + 1}" for i, c in enumerate(columns))]
    lines += [" ".join(str(v) for v in row) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


def stack(folder: Path, n: int = 3, box: int = 8) -> torch.Tensor:
    volumes = torch.randn(n, box, box, box, generator=torch.Generator().manual_seed(n))
    write_volume_stack(folder / "volumes.mrcs", volumes, PIXEL)
    return volumes


NAMES = [f"{i}@volumes.mrcs" for i in (1, 2, 3)]


def test_origin_is_the_shift_that_centres_the_particle(tmp_path: Path) -> None:
    """RELION moves the image by the origin, and then finds the reference turned by its matrix."""
    reference = np.array([3.0, -2.0, 1.0])
    angles, origin = (25.0, 70.0, -130.0), np.array([2.2, -1.4, 3.1])
    in_image = relion_matrix(*angles) @ reference - origin
    write_map(tmp_path / "p.mrc", blob(24, in_image), PIXEL)
    columns = dict(zip(["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"], ([a] for a in angles), strict=True))
    columns["rlnImageName"] = ["p.mrc"]
    for names, values, head, block in [
        ("rlnOrigin{}Angst", origin * PIXEL, OPTICS, "particles"),
        ("rlnOrigin{}Angstrom", origin * PIXEL, OPTICS, "particles"),
        ("rlnOrigin{}", origin, "", ""),
    ]:
        shifts = {names.format(axis): [v] for axis, v in zip("XYZ", values, strict=True)}
        particles = relion_particles(star(tmp_path / "p.star", columns | shifts, head, block))
        pose = particles.poses
        np.testing.assert_allclose(pose.rotations[0].numpy() @ reference + pose.shifts[0].numpy(), in_image, atol=1e-6)
        volume = particles.read_volumes([0])
        np.testing.assert_allclose(centre_of_mass(volume[0]), in_image, atol=1e-3)
        aligned = warp(volume, pose.rotations, pose.shifts, oversampling=2)
        np.testing.assert_allclose(centre_of_mass(aligned[0]), reference, atol=1e-3)


def test_pseudo_subtomograms_have_their_own_frame(tmp_path: Path) -> None:
    """RELION 4 and 5: a point of the particle is at ``coordinate - A_sub origin / pixel + A_sub A_particle x``."""
    sub, part, origin = (40.0, 35.0, -80.0), (-15.0, 110.0, 60.0), np.array([1.5, 2.5, -4.0])
    columns: dict[str, list[object]] = {"rlnImageName": ["p.mrc"]}
    for prefix, values in (("rlnTomoSubtomogram", sub), ("rlnAngle", part)):
        columns |= {f"{prefix}{name}": [v] for name, v in zip(("Rot", "Tilt", "Psi"), values, strict=True)}
    columns |= {f"rlnOrigin{axis}Angst": [v] for axis, v in zip("XYZ", origin, strict=True)}
    poses, frame, _ = relion_poses(star(tmp_path / "p.star", columns))
    a_sub, a_part = relion_matrix(*sub), relion_matrix(*part)
    np.testing.assert_allclose(poses.rotations[0], a_part, atol=1e-12)
    np.testing.assert_allclose(tomogram_rotations(frame, tmp_path)[0], a_sub @ a_part, atol=1e-12)
    point = np.array([5.0, -7.0, 2.0])
    in_tomogram = -a_sub @ origin / PIXEL + a_sub @ a_part @ point
    in_volume = poses.rotations[0].numpy() @ point + poses.shifts[0].numpy()
    np.testing.assert_allclose(a_sub @ in_volume, in_tomogram, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "count", "pixel"),
    [
        ("relion3.0/relion_3.0", 3, 5.364),
        ("relion4.0/relion_4.0", 1746, 3.942),
        ("relion5/R5_tutorial_run_data", 9053, 1.35),
    ],
)
def test_real_tables_against_scipy(shared_data: Path, name: str, count: int, pixel: float) -> None:
    poses, frame, optics = relion_poses(shared_data / "metadata" / f"{name}.star")
    assert len(poses) == len(frame) == count
    angles = frame[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy()
    expected = Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()
    np.testing.assert_allclose(poses.rotations, expected, atol=1e-10)
    if optics is None:
        assert not poses.shifts.any()
    else:
        origins = frame[["rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst"]].to_numpy()
        np.testing.assert_allclose(poses.shifts, -origins / pixel, atol=1e-10)


def test_volumes_labels_and_names(tmp_path: Path) -> None:
    volumes = stack(tmp_path)
    columns: dict[str, list[object]] = {
        "rlnImageName": ["3@volumes.mrcs", "000001@volumes.mrcs"],
        "rlnRandomSubset": [2, 1],
        "rlnClassNumber": [4, 0],
        "rlnTomoParticleName": ["TS/1", "TS/2"],
        "somebodysColumn": ["x", "y"],
        "gumnetScore": [0.5, "nan"],
    }
    particles = relion_particles(star(tmp_path / "p.star", columns))
    assert torch.equal(particles.read_volumes([1, 0]), volumes[[0, 2]])
    assert particles.box == 8
    assert particles.weights is None
    assert particles.voxel_size_angstrom == PIXEL
    assert particles.half_sets.tolist() == [2, 1]
    assert particles.classes.tolist() == [4, 0]
    assert particles.names == ("TS/1", "TS/2")
    assert particles.poses.scores[0] == 0.5
    assert particles.poses.scores[1].isnan()
    assert particles.table is not None
    assert particles.table["somebodysColumn"].tolist() == ["x", "y"]
    torch.testing.assert_close(particles.poses.rotations, torch.eye(3, dtype=torch.float64).expand(2, 3, 3))


def test_images_are_found_from_the_project_folder_and_by_absolute_name(tmp_path: Path) -> None:
    (tmp_path / "Extract" / "job1").mkdir(parents=True)
    (tmp_path / "Refine" / "job2").mkdir(parents=True)
    volumes = stack(tmp_path / "Extract" / "job1")
    for name in ("Extract/job1/volumes.mrcs", str(tmp_path / "Extract" / "job1" / "volumes.mrcs")):
        path = star(tmp_path / "Refine" / "job2" / "p.star", {"rlnImageName": [f"2@{name}"]})
        assert torch.equal(relion_particles(path).read_volumes([0])[0], volumes[1])
    (tmp_path / "optimisation_set.star").write_text("data_\n\n_rlnTomoParticlesFile Refine/job2/p.star\n")
    assert torch.equal(relion_particles(tmp_path / "optimisation_set.star").read_volumes([0])[0], volumes[1])


def test_a_name_that_no_file_can_have_is_a_file_that_is_not_there(tmp_path: Path) -> None:
    volumes, long = stack(tmp_path), "1@" + 300 * "["
    with pytest.raises(InputError, match="no such file: rlnImageName 1@"):
        relion_particles(star(tmp_path / "p.star", {"rlnImageName": [long]}))
    particles = relion_particles(star(tmp_path / "p.star", {"rlnImageName": [long, NAMES[1]]}))
    assert torch.equal(particles.read_volumes([1])[0], volumes[1])
    with pytest.raises(InputError, match="no such file, but the table names it for"):
        particles.read_volumes([0])
    (tmp_path / "set.star").write_text(f"data_\n\n_rlnTomoParticlesFile {long}\n")
    with pytest.raises(InputError, match="no such file: rlnTomoParticlesFile"):
        relion_particles(tmp_path / "set.star")
    with pytest.raises(InputError, match="no such file"):
        relion_particles(tmp_path / long)


def test_voxel_size_comes_from_the_call_the_table_or_the_images(tmp_path: Path) -> None:
    stack(tmp_path)
    image: dict[str, list[object]] = {"rlnImageName": NAMES[:1]}
    path = star(tmp_path / "p.star", image)
    assert relion_particles(path).voxel_size_angstrom == PIXEL
    assert relion_particles(path, voxel_size_angstrom=7.0).voxel_size_angstrom == 7.0
    detector = image | {"rlnMagnification": [10000.0], "rlnDetectorPixelSize": [5.364]}
    assert relion_particles(star(path, detector, "", "")).voxel_size_angstrom == pytest.approx(5.364)
    assert relion_particles(star(path, image, "", "images")).voxel_size_angstrom == PIXEL
    binned = (
        "data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnTomoTiltSeriesPixelSize\n_rlnTomoSubtomogramBinning\n1 1.5 4\n\n"
    )
    assert relion_particles(star(path, image, binned)).voxel_size_angstrom == 6.0
    write_map(tmp_path / "unset.mrc", torch.rand(4, 4, 4, generator=torch.Generator().manual_seed(0)), 1.0)
    with pytest.raises(InputError, match=r"p\.star: .* voxel size; .*--voxel-size"):
        relion_particles(star(path, {"rlnImageName": ["unset.mrc"]}, "", ""))


def test_constructing_opens_no_more_than_the_first_images(tmp_path: Path) -> None:
    stack(tmp_path)
    names = [NAMES[0], *(f"{i}.mrc" for i in range(500))]
    particles = relion_particles(star(tmp_path / "p.star", {"rlnImageName": names}))
    assert len(particles) == 501
    with pytest.raises(InputError, match=r"/7\.mrc: no such file, but the table names it for particle 9"):
        particles.read_volumes([8])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"rlnAngleRot": [1.0]}, r"names no images \(column rlnImageName\)"),
        ({"rlnImageName": ["none.mrc"]}, "no such file: rlnImageName none.mrc of row 1"),
        ({"rlnImageName": ["x@volumes.mrcs"]}, "no valid number"),
        ({"rlnImageName": ["0@volumes.mrcs"]}, "no valid number"),
        ({"rlnImageName": NAMES[:1], "rlnAngleRot": [1.0]}, "columns rlnAngleTilt, rlnAnglePsi missing"),
        ({"rlnImageName": NAMES[:1], "rlnOriginXAngst": [1.0]}, "rlnOriginYAngst, rlnOriginZAngst missing"),
        ({"rlnImageName": NAMES[:1], "rlnRandomSubset": [3]}, "rlnRandomSubset is 3 in row 1"),
        ({"rlnImageName": NAMES[:1], "rlnClassNumber": [1.5]}, "rlnClassNumber is 1.5 in row 1"),
        ({"rlnImageName": NAMES[:1], "rlnClassNumber": ["one"]}, "rlnClassNumber holds text"),
        ({"rlnImageName": NAMES[:1], "rlnOpticsGroup": [2]}, "rlnOpticsGroup 2, which data_optics does not have"),
        ({"rlnImageName": [], "rlnAngleRot": []}, "the particle table is empty"),
        ({"rlnImageName": NAMES[:1], "rlnCtfImage": ["none.mrc"]}, "no such file: rlnCtfImage none.mrc"),
    ],
)
def test_wrong_tables_are_refused_in_one_line(tmp_path: Path, columns: dict[str, list[object]], message: str) -> None:
    stack(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        relion_particles(star(tmp_path / "p.star", columns))
    assert "p.star" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mixed_voxel_sizes_and_missing_blocks_are_refused(tmp_path: Path) -> None:
    stack(tmp_path)
    path = tmp_path / "p.star"
    two = "data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnImagePixelSize\n1 2.5\n2 5\n\n"
    rows: dict[str, list[object]] = {"rlnImageName": NAMES[:2], "rlnOpticsGroup": [1, 2]}
    with pytest.raises(InputError, match=r"voxel sizes from 2\.5 to 5 Angstrom"):
        relion_particles(star(path, rows, two))
    assert relion_particles(star(path, rows | {"rlnOpticsGroup": [2, 2]}, two)).voxel_size_angstrom == 5.0
    with pytest.raises(InputError, match=r"no particle table, only data_optics, data_micrographs"):
        relion_particles(star(path, rows, OPTICS, "micrographs"))
    origins: dict[str, list[object]] = {f"rlnOrigin{axis}Angst": [1.0] for axis in "XYZ"}
    with pytest.raises(InputError, match="rlnOriginXAngst is in Angstrom and the voxel size is not known"):
        relion_poses(star(path, origins | {f"rlnAngle{a}": [1.0] for a in ("Rot", "Tilt", "Psi")}, "", ""))
    (tmp_path / "o.star").write_text("data_\n\n_rlnTomoParticlesFile none.star\n")
    with pytest.raises(InputError, match=r"o\.star: no such file: rlnTomoParticlesFile none\.star"):
        relion_particles(tmp_path / "o.star")
