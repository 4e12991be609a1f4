"""Every format, written and read again: the same poses to 1e-4 degrees and 1e-4 voxels, and nothing lost silently."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from gumnet.errors import InputError
from gumnet.geometry.so3 import angular_distance_degrees
from gumnet.io.convert import TARGETS, Target, convert, write_table
from gumnet.io.pose_table import PoseTable
from gumnet.io.star import read_star, write_star
from gumnet.io.tables import read_pose_table

SUFFIX: dict[str, str] = {"dynamo": ".tbl", "em": ".em", "eman2": ".lst", "acryo": ".csv"}
REAL = (
    "metadata/relion3.0/relion_3.0.star",
    "metadata/relion4.0/relion_4.0.star",
    "metadata/relion5/R5_tutorial_run_data.star",
    "metadata/dynamo/crop.tbl",
    "real-subtomogram/motl_ribosome_b4_trim_shift_t126.em",
    "real-tilt-particles/warptools_test_4-tomos_10-ptcls_box-32_angpix-12_optimisation_set.star",
)


def assert_same_poses(table: PoseTable, expected: PoseTable) -> None:
    """Compare orientations in the tomogram and places in it, in voxels of the expected table."""
    assert angular_distance_degrees(table.rotations, expected.rotations).max() < 1e-4
    scale = 1.0
    if table.voxel_size_angstrom is not None and expected.voxel_size_angstrom is not None:
        scale = table.voxel_size_angstrom / expected.voxel_size_angstrom
    difference = table.from_corner().positions * scale - expected.from_corner().positions
    assert difference.abs().max() < 1e-4
    assert table.tomograms == expected.tomograms


def out_path(folder: Path, target: Target) -> Path:
    return folder / f"out_{target}{SUFFIX.get(target, '.star')}"


@pytest.fixture(scope="module")
def real_tables(shared_data: Path) -> dict[str, PoseTable]:
    return {name: read_pose_table(shared_data / name) for name in REAL}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", REAL)
def test_real_tables_keep_their_poses_in_every_format(
    real_tables: dict[str, PoseTable], tmp_path: Path, name: str, target: Target
) -> None:
    source = real_tables[name]
    size = source.voxel_size_angstrom or 10.0
    source = replace(source, voxel_size_angstrom=size)
    if target not in ("relion5", "dynamo", "stopgap"):
        source = first_rows(source, 400)  # these three get all rows
    out = out_path(tmp_path, target)
    write_table(out, source, target, overwrite=False)
    needs_size = target in ("stopgap", "em")
    tomograms = source.tomograms_path
    back = read_pose_table(out, voxel_size_angstrom=size if needs_size else None, tomograms=tomograms)
    assert_same_poses(back, source)
    for labels in ("classes", "half_sets", "numbers"):
        if labels == "half_sets" and target in ("dynamo", "em"):
            continue  # no column for them
        if target == "m" and labels != "half_sets":
            continue
        if labels == "classes" and not bool(source.classes.any()) and target in ("stopgap", "em"):
            continue  # none is written as 1
        assert torch.equal(getattr(back, labels), getattr(source, labels)), labels


def first_rows(table: PoseTable, n: int) -> PoseTable:
    fields = {name: getattr(table, name)[:n] for name in LABELLED if getattr(table, name) is not None}
    return replace(table, **fields, extra=table.extra.iloc[:n])


LABELLED = (
    "rotations", "coordinates", "shifts", "tomograms", "numbers", "half_sets", "classes", "objects", "scores",
    "tilt_ranges",
)  # fmt: skip

angle = st.one_of(st.floats(-180, 180), st.sampled_from([0.0, 90.0, 180.0, -180.0, 1e-7, 1e-5, 179.9999999]))
place = st.floats(-50, 8000)


@st.composite
def tables(draw: st.DrawFn) -> PoseTable:
    n = draw(st.integers(1, 4))
    angles = draw(st.lists(st.tuples(angle, angle, angle), min_size=n, max_size=n))
    places = draw(st.lists(st.tuples(place, place, place), min_size=n, max_size=n))
    shift = draw(st.tuples(*[st.floats(-30, 30)] * 3))
    names = draw(st.lists(st.sampled_from(["TS_007", "TS_12", "run/a_b.mrc", "3", "a b"]), min_size=n, max_size=n))
    numbers = draw(st.lists(st.integers(1, 10**6), min_size=n, max_size=n, unique=True))
    classes = draw(st.lists(st.sampled_from([1, 2, 9, -1]), min_size=n, max_size=n))
    return PoseTable(
        path=Path("drawn"),
        program="RELION",
        rotations=torch.tensor(Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()),
        coordinates=torch.tensor(places, dtype=torch.float64),
        shifts=torch.tensor([shift] * n, dtype=torch.float64),
        tomograms=tuple(names),
        numbers=torch.tensor(numbers),
        half_sets=torch.tensor([1 + i % 2 for i in range(n)]),
        classes=torch.tensor(classes),
        objects=torch.tensor(draw(st.lists(st.integers(0, 99), min_size=n, max_size=n))),
        scores=torch.tensor([0.25 * (i + 1) for i in range(n)], dtype=torch.float64),
        tilt_ranges=torch.tensor([[-60.0, 54.0]] * n, dtype=torch.float64),
        voxel_size_angstrom=draw(st.floats(0.5, 40)),
        tomogram_sizes=dict.fromkeys(names, (4000.0, 3001.0, 999.0)),
        extra=pd.DataFrame({"someColumn": ["text"] * n, "rlnLogLikeliContribution": [1.5] * n}),
    )


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables())
@pytest.mark.parametrize("target", TARGETS)
def test_any_table_comes_back_the_same(tmp_path: Path, target: Target, table: PoseTable) -> None:
    out = out_path(tmp_path, target)
    written = write_table(out, table, target, overwrite=True)
    size = table.voxel_size_angstrom if target in ("stopgap", "em", "m", "acryo") else None
    back = read_pose_table(out, voxel_size_angstrom=size)
    if back.centred:
        back = replace(back, tomogram_sizes=table.tomogram_sizes)
    assert_same_poses(back, table)
    held = {"numbers", "half_sets", "classes", "objects", "scores", "tilt_ranges", "extra"}
    lacking: dict[str, set[str]] = {
        "dynamo": {"half_sets", "extra"},
        "em": {"half_sets", "tilt_ranges", "extra"},
        "stopgap": {"tilt_ranges", "extra"} | ({"half_sets"} if len(table) == 1 else set()),
        "m": {"numbers", "classes", "objects", "scores", "tilt_ranges"},
        "acryo": {"tilt_ranges"},
    }
    for name in held - lacking.get(target, set()):
        if name == "extra":
            for column in table.extra:
                assert list(back.extra[column]) == list(table.extra[column])
            assert not set(table.extra) & set(written.left_out)
        else:
            torch.testing.assert_close(getattr(back, name), getattr(table, name), atol=1e-6, rtol=1e-8)
    if "extra" in lacking.get(target, set()):
        assert set(table.extra) <= set(written.left_out)


def test_angles_are_those_of_scipy(tmp_path: Path) -> None:
    """Write by hand one particle for each program, and read R and the place as formats.md of the field states them."""
    a, b, c = 33.0, 71.0, -125.0
    dynamo = tmp_path / "a.tbl"
    row = np.zeros(35)
    row[[0, 19, 21]] = 7, 3, 2
    row[3:9] = 0.5, -1.5, 2.0, a, b, c
    row[23:26] = 101, 202, 303
    np.savetxt(dynamo, row[None], fmt="%g")
    fields = [
        "motl_idx", "tomo_num", "object", "subtomo_num", "halfset", "orig_x", "orig_y", "orig_z", "score", "x_shift",
        "y_shift", "z_shift", "phi", "psi", "the", "class",
    ]  # fmt: skip
    stopgap = tmp_path / "a.star"
    values = [1, 3, 0, 7, "A", 100, 201, 302, 0.1, 0.5, -1.5, 2.0, a, c, b, 2]
    write_star(stopgap, {"stopgap_motivelist": pd.DataFrame([values], columns=fields)})
    relion = tmp_path / "b.star"
    names = ["rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ", "rlnOriginX", "rlnOriginY", "rlnOriginZ"]
    names += ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
    write_star(relion, {"": pd.DataFrame([[100, 201, 302, -0.5, 1.5, -2, a, b, c]], columns=names)})
    euler = Rotation.from_euler
    expected = {
        dynamo: euler("zxz", [a, b, c], degrees=True).inv(),
        stopgap: euler("zxz", [a, b, c], degrees=True),
        relion: euler("ZYZ", [a, b, c], degrees=True).inv(),
    }
    for path, rotation in expected.items():
        table = read_pose_table(path)
        np.testing.assert_allclose(table.rotations[0], rotation.as_matrix(), atol=1e-12)
        np.testing.assert_allclose(table.positions[0], [100.5, 199.5, 304.0], atol=1e-12)
    assert read_pose_table(dynamo).tomograms == read_pose_table(stopgap).tomograms == ("3",)


def test_a_turned_box_is_turned_in_the_tomogram(tmp_path: Path) -> None:
    """RELION 4: A_sub @ A_particle, and coordinate - A_sub @ origin / pixel."""
    sub, own, origin = [20.0, 40.0, -60.0], [100.0, 30.0, 5.0], np.array([3.0, -6.0, 9.0])
    particles = pd.DataFrame(
        [["TS_1", 100.0, 200.0, 300.0, *sub, *own, *origin, 1]],
        columns=[
            "rlnTomoName", "rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ", "rlnTomoSubtomogramRot",
            "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi", "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi",
            "rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst", "rlnOpticsGroup",
        ],
    )  # fmt: skip
    optics = pd.DataFrame({"rlnOpticsGroup": [1], "rlnTomoTiltSeriesPixelSize": [1.5], "rlnImagePixelSize": [6.0]})
    path = tmp_path / "p.star"
    write_star(path, {"optics": optics, "particles": particles})
    a_sub = Rotation.from_euler("ZYZ", sub, degrees=True).inv()
    a_particle = Rotation.from_euler("ZYZ", own, degrees=True).inv()
    table = read_pose_table(path)
    assert table.voxel_size_angstrom == 1.5
    np.testing.assert_allclose(table.rotations[0], (a_sub * a_particle).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(table.positions[0], np.array([100, 200, 300]) - a_sub.apply(origin) / 1.5, atol=1e-9)
    convert(path, tmp_path / "q.star", to="relion4")
    frame = read_star(tmp_path / "q.star")["particles"]
    for column in particles.columns:
        if particles[column].dtype.kind == "f":
            np.testing.assert_allclose(frame[column], particles[column], atol=1e-5)


def test_relion_5_counts_from_the_centre(tmp_path: Path) -> None:
    convert_from = tmp_path / "a.tbl"
    row = np.zeros(35)
    row[[0, 19]] = 1, 4
    row[23:26] = 101, 51, 21
    np.savetxt(convert_from, row[None], fmt="%g")
    done = convert(
        convert_from, tmp_path / "p.star", to="relion5", voxel_size_angstrom=10, tomogram_size=(301, 200, 60)
    )
    frame = read_star(tmp_path / "p.star")["particles"]
    centred = frame[[f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]].to_numpy(dtype=float)[0]
    np.testing.assert_allclose(centred, [(100 - 150.5) * 10, (50 - 100) * 10, (20 - 30) * 10])
    assert done.written.left_out == {}
    with pytest.raises(InputError, match=r"the size of 4 is not known; give .*--tomograms"):
        convert(tmp_path / "p.star", tmp_path / "b.tbl")
    convert(tmp_path / "p.star", tmp_path / "b.tbl", tomogram_size=(301, 200, 60))
    np.testing.assert_allclose(np.loadtxt(tmp_path / "b.tbl")[23:26], [101, 51, 21])


@pytest.mark.parametrize("width", [26, 35, 42])
def test_all_columns_of_dynamo_come_back(tmp_path: Path, width: int) -> None:
    """Through RELION's table, which keeps what it does not know."""
    rng = np.random.default_rng(5)
    rows = rng.uniform(1, 50, (4, width)).round(3)
    rows[:, [0, 19, 20, 21]] = rows[:, [0, 19, 20, 21]].round()
    rows[:, 12] = 1
    np.savetxt(tmp_path / "a.tbl", rows, fmt="%.9g")
    convert(tmp_path / "a.tbl", tmp_path / "p.star", to="relion4", voxel_size_angstrom=8)
    convert(tmp_path / "p.star", tmp_path / "b.tbl")
    back = np.loadtxt(tmp_path / "b.tbl")
    kept = [i for i in range(width) if i != 35 or width > 36]
    np.testing.assert_allclose(back[:, kept], rows[:, kept], atol=1e-5)
    if width < 36:
        assert (back[:, 35] == 8).all()
    # A NaN in a column that is not needed is kept; programs leave some there.
    rows[1, 10] = np.nan
    np.savetxt(tmp_path / "a.tbl", rows, fmt="%.9g")
    assert np.isnan(read_pose_table(tmp_path / "a.tbl").extra["dynamoCc2"][1])


def test_what_the_target_needs_is_asked_for_and_what_it_cannot_hold_is_named(shared_data: Path, tmp_path: Path) -> None:
    table = shared_data / "metadata/dynamo/crop.tbl"
    with pytest.raises(InputError, match=r"voxel size is not known, .*--voxel-size"):
        convert(table, tmp_path / "p.star", to="relion4")
    convert(table, tmp_path / "p.star", to="relion3.0")
    with pytest.raises(InputError, match="exists already"):
        convert(table, tmp_path / "p.star", to="relion3.0")
    with pytest.raises(InputError, match=r"a table of dynamo ends in \.tbl"):
        convert(table, tmp_path / "q.star", to="dynamo")
    with pytest.raises(InputError, match=r"no format has files that end in \.txt"):
        convert(table, tmp_path / "q.txt")
    assert not list(tmp_path.glob("q*"))
    relion = shared_data / "metadata/relion4.0/relion_4.0.star"
    left_out = convert(relion, tmp_path / "q.tbl").written.left_out
    assert {"rlnImageName", "rlnNormCorrection", "half sets", "rlnVoltage"} <= set(left_out)
    assert (
        "2D tilt stacks"
        in convert(shared_data / REAL[-1], tmp_path / "r.star", to="relion4").written.left_out["rlnImageName"]
    )
    assert "rlnImageDimensionality" not in read_star(tmp_path / "r.star")["optics"]


def test_tomograms_are_numbers_where_they_must_be_and_names_again(shared_data: Path, tmp_path: Path) -> None:
    convert(shared_data / "metadata/relion5/R5_tutorial_run_data.star", tmp_path / "a.tbl")
    table = np.loadtxt(tmp_path / "a.tbl")
    assert set(table[:, 19]) == {1, 3, 43, 45, 54}
    assert (tmp_path / "a.doc").read_text().splitlines()[:2] == ["1 TS_01", "3 TS_03"]
    assert set(read_pose_table(tmp_path / "a.tbl").tomograms) == {"TS_01", "TS_03", "TS_43", "TS_45", "TS_54"}
    (tmp_path / "a.doc").write_text("TS_01\n")
    with pytest.raises(InputError, match="line 1 is not a number and the name"):
        read_pose_table(tmp_path / "a.tbl")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tbl", "1 2 3\n", "the table has 3 columns"),
        ("a.tbl", " ".join(["1"] * 35) + "\n" + " ".join(["1"] * 34) + "\n", "cannot be read"),
        ("a.tbl", " ".join(["1"] * 34 + ["x"]) + "\n", "cannot be read"),
        ("a.tbl", " ".join(["nan"] * 35) + "\n", "column 1 is NaN or infinite in row 1"),
        ("a.tbl", " ".join(["1.5"] * 35) + "\n", r"column 20 \(tomo\) is 1.5 in row 1"),
        ("a.tbl", "\n", "the table is empty"),
        ("a.em", "text", "not an EM file"),
        ("a.lst", "#LSX\n1\n", "line 2 is not a number, a file"),
        ("a.json", "[1]", "does not hold particles"),
        ("a.hdf", "text", "not an HDF5 file"),
        ("a.star", "data_stopgap_motivelist\n\nloop_\n_motl_idx\n1\n", "columns tomo_num, object"),
        ("a.txt", "1", "unknown format .txt"),
    ],
)
def test_a_broken_table_is_one_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_pose_table(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_broken_real_file(shared_data: Path) -> None:
    with pytest.raises(InputError):
        read_pose_table(shared_data / "metadata/broken/test_data7.star")


def test_acryo_reads_its_molecules(tmp_path: Path, shared_data: Path) -> None:
    acryo = pytest.importorskip("acryo")
    source = shared_data / "metadata/relion4.0/relion_4.0.star"
    table = convert(source, tmp_path / "m.csv").table
    molecules = acryo.Molecules.from_csv(tmp_path / "m.csv")
    assert table.voxel_size_angstrom is not None
    np.testing.assert_allclose(molecules.pos[:, ::-1], table.positions * table.voxel_size_angstrom / 10, atol=1e-4)
    for column, axis in enumerate("xyz"):
        np.testing.assert_allclose(getattr(molecules, axis)[:, ::-1], table.rotations[:, :, column], atol=1e-6)


@pytest.mark.parametrize(
    ("target", "columns", "problem"),
    [
        ("eman2", {"rlnImageName": ["x@a.mrcs"]}, "the image x@a.mrcs has no valid number"),
        ("em", {"emGeom1": ["x"]}, "column emGeom1 holds text"),
    ],
)
def test_columns_that_a_format_cannot_take_are_said(
    tmp_path: Path, target: Target, columns: dict[str, list[str]], problem: str
) -> None:
    frame = pd.DataFrame({"rlnAngleRot": [0.0], "rlnAngleTilt": [0.0], "rlnAnglePsi": [0.0], **columns})
    write_star(tmp_path / "p.star", {"": frame})
    with pytest.raises(InputError, match=problem):
        convert(tmp_path / "p.star", out_path(tmp_path, target), to=target)


def test_a_score_of_acryo_that_is_no_number_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("z,y,x,zvec,yvec,xvec,gumnet_score\n1,2,3,0,0,0,good\n")
    with pytest.raises(InputError, match="column gumnet_score holds what is no number"):
        read_pose_table(tmp_path / "a.csv")


@pytest.mark.parametrize("middle", ["m", "acryo"])
def test_lengths_do_not_become_voxels_of_an_unknown_size(tmp_path: Path, shared_data: Path, middle: Target) -> None:
    """M and acryo hold lengths: what counts voxels, and does not say which, would be wrong by their size."""
    source = convert(shared_data / "metadata/relion4.0/relion_4.0.star", out_path(tmp_path, middle), to=middle).table
    size = source.voxel_size_angstrom
    assert size is not None
    targets: tuple[Target, ...] = ("dynamo", "stopgap", "em")
    for target in targets:
        out = out_path(tmp_path, target)
        with pytest.raises(InputError, match=r"coordinates are in (Angstrom|nanometres), and .*--voxel-size"):
            convert(out_path(tmp_path, middle), out, to=target)
        assert not out.exists()
        convert(out_path(tmp_path, middle), out, to=target, voxel_size_angstrom=size)
        assert_same_poses(read_pose_table(out, voxel_size_angstrom=size), source)
        convert(out_path(tmp_path, middle), out, to=target, out_voxel_size_angstrom=2 * size, overwrite=True)
        assert_same_poses(read_pose_table(out, voxel_size_angstrom=2 * size), source)
    done = convert(out_path(tmp_path, middle), tmp_path / "back.star", to="relion3")
    assert any("voxels of 1 Angstrom" in note for note in done.written.notes)
    assert_same_poses(read_pose_table(tmp_path / "back.star"), source)
