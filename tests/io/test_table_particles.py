"""Tables of other programs with their volumes: analytic densities at known poses, put where each program has them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from oracles.gaussians import density
from scipy.spatial.transform import Rotation

from gumnet.errors import InputError
from gumnet.geometry.warp import warp
from gumnet.geometry.wedge import missing_wedge
from gumnet.io.em import write_em_values
from gumnet.io.mrc import write_map, write_volume_stack
from gumnet.io.read import read_particles
from gumnet.io.relion_write import write_particles
from gumnet.io.star import write_star
from gumnet.particles import Particles

BOX, N = 32, 3
ANGLES = np.array([[10.0, 40.0, -70.0], [-120.0, 95.0, 33.0], [77.0, 160.0, 5.0]])
SHIFTS = np.array([[0.5, -1.0, 2.0], [0.0, 0.0, 0.0], [-1.5, 0.25, 1.0]])
NUMBERS = (4, 12, 7)


def particles_at(rotations: Rotation) -> torch.Tensor:
    return torch.stack(
        [density(BOX, torch.tensor(r), torch.tensor(t)) for r, t in zip(rotations.as_matrix(), SHIFTS, strict=True)]
    )


def assert_on_the_reference(particles: Particles) -> None:
    """Particles put on the reference by their poses are the reference: the poses and the centre are right."""
    volumes = particles.read_volumes(range(N)).double()
    moved = warp(volumes, particles.poses.rotations, particles.poses.shifts, oversampling=2)
    reference = density(BOX)
    inner = torch.zeros(BOX, BOX, BOX, dtype=torch.bool)
    inner[6:-6, 6:-6, 6:-6] = True
    for each in moved:
        assert float((each - reference)[inner].abs().max()) < 0.06 * float(reference.max())


def dynamo_folder(folder: Path, *, tilts: tuple[float, float] = (-60, 48), ftype: int = 1) -> Path:
    volumes = particles_at(Rotation.from_euler("zxz", ANGLES, degrees=True).inv())
    rows = np.zeros((N, 35))
    rows[:, 0], rows[:, 12], rows[:, 13:15], rows[:, 19] = NUMBERS, ftype, tilts, 2
    rows[:, 3:6], rows[:, 6:9], rows[:, 23:26] = SHIFTS, ANGLES, 100
    for number, volume in zip(NUMBERS, volumes, strict=True):
        write_em_values(folder / f"particle_{number:06d}.em", volume.numpy())
    np.savetxt(folder / "crop.tbl", rows, fmt="%.9g")
    return folder / "crop.tbl"


def test_a_folder_of_dynamo(tmp_path: Path) -> None:
    table = dynamo_folder(tmp_path)
    with pytest.raises(InputError, match=r"neither the table nor the volumes say the voxel size; .*--voxel-size"):
        read_particles(table)
    particles = read_particles(table, voxel_size_angstrom=8.0)
    assert_on_the_reference(particles)
    assert particles.names == ("particle 4", "particle 12", "particle 7")
    weights = particles.read_weights([0, 2])
    assert weights is not None
    torch.testing.assert_close(weights, missing_wedge(BOX, 48, -60).expand(2, -1, -1, -1))
    # What is written of them is RELION's, and still has its wedge.
    write_particles(tmp_path / "out.star", particles)
    again = read_particles(tmp_path / "out.star")
    assert_on_the_reference(again)
    torch.testing.assert_close(again.read_weights([1]), weights[:1])
    assert again.voxel_size_angstrom == 8.0


def test_wedges_that_differ_and_full_sampling(tmp_path: Path) -> None:
    table = dynamo_folder(tmp_path)
    rows = np.loadtxt(table)
    rows[1, 13:15] = -40, 40
    rows[2, 12] = 0
    np.savetxt(table, rows)
    weights = read_particles(table, voxel_size_angstrom=8).read_weights([0, 1, 2])
    assert weights is not None
    torch.testing.assert_close(weights[1], missing_wedge(BOX, 40))
    assert bool((weights[2] == 1).all())
    assert not bool((weights[0] == 1).all())
    rows[:, 12] = 0
    np.savetxt(table, rows)
    assert read_particles(table, voxel_size_angstrom=8).weights is None
    rows[1, 12] = 4
    np.savetxt(table, rows)
    with pytest.raises(InputError, match="ftype is 4 in row 2"):
        read_particles(table, voxel_size_angstrom=8)
    weights = read_particles(table, voxel_size_angstrom=8, tilt_range=(-50, 50)).read_weights([1])
    torch.testing.assert_close(weights, missing_wedge(BOX, 50)[None])


def test_a_folder_that_lacks_volumes(tmp_path: Path) -> None:
    table = dynamo_folder(tmp_path)
    (tmp_path / "particle_000007.em").unlink()
    with pytest.raises(InputError, match=r"no volume of particle 7 \(as in particle_000007\.em\); .*--volumes"):
        read_particles(table, voxel_size_angstrom=8)
    write_map(tmp_path / "other_4.mrc", density(BOX), 8)
    write_map(tmp_path / "other_7.mrc", density(BOX), 8)
    with pytest.raises(InputError, match=r"particle 4 could be other_4\.mrc and particle_000004\.em"):
        read_particles(table, voxel_size_angstrom=8)


def test_a_folder_of_stopgap(tmp_path: Path) -> None:
    rotations = Rotation.from_euler("zxz", ANGLES, degrees=True)
    volumes = particles_at(rotations)
    (tmp_path / "subtomograms").mkdir()
    for number, volume in zip(NUMBERS, volumes, strict=True):
        write_map(tmp_path / "subtomograms" / f"subtomo_{number}.mrc", volume, 5.0)
    columns: dict[str, object] = {
        "motl_idx": [1, 2, 3], "tomo_num": [1, 1, 2], "object": 1, "subtomo_num": NUMBERS, "halfset": ["A", "B", "A"],
        "orig_x": 10, "orig_y": 20, "orig_z": 30, "score": 0, "class": 1,
        "phi": ANGLES[:, 0], "the": ANGLES[:, 1], "psi": ANGLES[:, 2],
    }  # fmt: skip
    columns |= {f"{axis}_shift": SHIFTS[:, i] for i, axis in enumerate("xyz")}
    table, wedges = tmp_path / "motl.star", tmp_path / "wedges.star"
    write_star(table, {"stopgap_motivelist": pd.DataFrame(columns)})
    tilts = {"tomo_num": [1, 1, 1, 2, 2], "tilt_angle": [-60, 0, 51, -42, 45]}
    write_star(wedges, {"stopgap_wedgelist": pd.DataFrame(tilts)})
    folder = tmp_path / "subtomograms"
    with pytest.raises(InputError, match=r"tilt ranges are not known; give STOPGAP's --wedge-list"):
        read_particles(table, volumes=folder)
    particles = read_particles(table, volumes=folder, wedge_list=wedges)
    assert_on_the_reference(particles)
    assert particles.half_sets.tolist() == [1, 2, 1]
    weights = particles.read_weights([0, 2])
    assert weights is not None
    torch.testing.assert_close(weights[0], missing_wedge(BOX, 51, -60))
    torch.testing.assert_close(weights[1], missing_wedge(BOX, 45, -42))
    write_volume_stack(tmp_path / "all.mrcs", volumes, 5.0)
    in_stack = read_particles(table, volumes=tmp_path / "all.mrcs", tilt_range=(-90, 90))
    assert_on_the_reference(in_stack)
    assert in_stack.weights is None
    write_star(wedges, {"stopgap_wedgelist": pd.DataFrame({"tomo_num": [1], "tilt_angle": [3]})}, overwrite=True)
    with pytest.raises(InputError, match="the wedge list has no tomogram 2"):
        read_particles(table, volumes=folder, wedge_list=wedges)


def eman2_stack(path: Path, volumes: torch.Tensor, matrices: np.ndarray) -> None:
    """Write volumes as EMAN2 does: a group each, its header in attributes, the pose as a compound of twelve floats."""
    names = [f"{row}{column}" for row in range(3) for column in range(4)]
    kind = np.dtype([(name, "<f4") for name in names])
    with h5py.File(path, "w") as file:
        for i, (volume, matrix) in enumerate(zip(volumes, matrices, strict=True)):
            group = file.create_group(f"MDF/images/{i}")
            group.create_dataset("image", data=volume.numpy().astype(np.float32))
            group.attrs["EMAN.apix_x"] = group.attrs["EMAN.apix_y"] = group.attrs["EMAN.apix_z"] = np.float32(6.5)
            group.attrs["EMAN.xform.align3d"] = np.array([tuple(matrix.ravel())], dtype=kind)


@pytest.mark.parametrize("suffix", [".hdf", ".lst", ".json"])
def test_eman2(tmp_path: Path, suffix: str) -> None:
    """xform.align3d: x_reference = M x_particle + tau, M of az, alt, phi about z, x, z, applied before the shift."""
    m = Rotation.from_euler("ZXZ", ANGLES, degrees=True)
    volumes = particles_at(m.inv())
    tau = -np.einsum("nij,nj->ni", m.as_matrix(), SHIFTS)
    matrices = np.concatenate([m.as_matrix(), tau[:, :, None]], axis=2)
    eman2_stack(tmp_path / "p.hdf", volumes, matrices)
    text = ["[" + ",".join(f"{v:.8g}" for v in each.ravel()) + "]" for each in matrices]
    known = [f'{{"xform.align3d":{{"__class__":"Transform","matrix":"{t}"}},"score":-0.5}}' for t in text]
    if suffix == ".lst":
        lines = [f"{i}\tp.hdf\t{each}" for i, each in enumerate(known)]
        (tmp_path / "p.lst").write_text("#LSX\n# a comment\n# 300\n" + "".join(f"{line:<299}\n" for line in lines))
    if suffix == ".json":
        entries = [f"\"('p.hdf', {i})\":{each}" for i, each in enumerate(known)]
        (tmp_path / "p.json").write_text("{" + ",".join(entries) + "}")
    particles = read_particles(tmp_path / f"p{suffix}", tilt_range=(-60, 60))
    assert_on_the_reference(particles)
    assert particles.voxel_size_angstrom == 6.5
    if suffix != ".hdf":
        assert particles.poses.scores.tolist() == [0.5] * N
    torch.testing.assert_close(particles.read_volumes([2, 0]), volumes[[2, 0]].float())


def test_em_files_of_any_byte_order_and_type(tmp_path: Path) -> None:
    values = torch.arange(-60, 65).reshape(5, 5, 5)
    for machine, order in ((6, "<"), (5, ">"), (3, ">")):
        for code, kind in ((1, "i1"), (2, "i2"), (4, "i4"), (5, "f4"), (9, "f8")):
            raw = bytearray(512)
            raw[0], raw[3] = machine, code
            raw[4:16] = np.array([5, 5, 5], f"{order}i4").tobytes()
            path = tmp_path / f"a{machine}_{code}.em"
            path.write_bytes(bytes(raw) + values.numpy().astype(f"{order}{kind}").tobytes())
            from gumnet.io.mrc import read_map

            volume, _ = read_map(path, voxel_size_angstrom=3.0)
            assert torch.equal(volume, values.float())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="the file was cut off: 1511 of 1512 bytes"):
        read_map(path)


def test_real_em_volumes(shared_data: Path) -> None:
    from gumnet.io.mrc import read_map

    folder = shared_data / "real-subtomogram"
    subtomogram = "subtomo_ribosome_mmotl_ribosome_b4_trim_shift_t126_t126_b4_s48.em"
    mask, _ = read_map(folder / "mask48_r22.em", need_voxel_size=False)
    assert mask.shape == (48, 48, 48)
    assert 0 <= float(mask.min()) < float(mask.max()) == 1
    # A sphere of radius 22 about voxel 24: x fastest, and the centre N // 2.
    axis = torch.arange(48, dtype=torch.float32) - 24
    weight = mask / mask.sum()
    for dim in range(3):
        others = [d for d in range(3) if d != dim]
        assert float((weight.sum(others) * axis).sum()) == pytest.approx(0, abs=0.02)
    volume, _ = read_map(folder / subtomogram, need_voxel_size=False)
    assert volume.shape == (48, 48, 48)
