from __future__ import annotations

from pathlib import Path

import pytest
import torch
from oracles.tomograms import write_tomogram
from scipy.spatial.transform import Rotation

from gumnet.cli.main import main
from gumnet.errors import InputError
from gumnet.io.picks import read_picks
from gumnet.io.tomogram_volume import open_tomogram


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        "1.5 2 3\n4 5 6\n",
        "# picked by hand\n1.5,2,3\n\n4,5,6\n",
        "z\ty\tx\n3\t2\t1.5\n6\t5\t4\n",
        "X; Y; Z; score\n1.5; 2; 3; 0.5\n4; 5; 6; 0.1\n",
        "1.5 2 3 TS_1\n4 5 6 TS_2\n",
    ],
)
def test_text_of_every_kind(tmp_path: Path, content: str) -> None:
    picks = read_picks(text(tmp_path / "p.txt", content))
    assert picks.coordinates.tolist() == [[1.5, 2, 3], [4, 5, 6]]
    assert picks.tomograms == (("TS_1", "TS_2") if "TS_1" in content else (None, None))
    assert torch.equal(picks.rotations, torch.eye(3, dtype=torch.float64).expand(2, 3, 3))


def test_named_columns_bring_tomograms_filaments_and_angles(tmp_path: Path) -> None:
    content = 'x,y,z,tomogram,filament,rot,tilt,psi,my note\n1,2,3,"007",4,10,20,30,good\n'
    picks = read_picks(text(tmp_path / "p.csv", content))
    assert (picks.tomograms, picks.filaments) == (("007",), ("4",))
    expected = Rotation.from_euler("ZYZ", [10, 20, 30], degrees=True).inv().as_matrix()
    assert picks.rotations[0].numpy() == pytest.approx(expected)
    assert picks.table is not None
    assert picks.table["my_note"].tolist() == ["good"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no coordinates"),
        ("x,y,z\n", "names of columns, but no coordinates"),
        ("1 2\n3 4\n", "line 1 has 2 columns without names"),
        ("5 1 2 3\n", "line 1 has 4 columns without names"),
        ("x,y\n1,2\n", "column z is missing, found x, y"),
        ("x,y,z,tomo,tomogram\n1,2,3,a,b\n", "a column is named twice"),
        ("1 2 3\n4 5\n", "line 2 has 2 columns, not 3"),
        ("x,y,z\n1,2,three\n", "line 2: 'three' is not a number"),
        ("x,y,z\n1,2,nan\n", "rlnCoordinateZ is NaN or infinite in row 1"),
        ("\0\1\2", "this is not text"),
    ],
)
def test_what_is_wrong_with_text_is_named(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_picks(text(tmp_path / "p.csv", content))


def test_units_and_first_voxel(tmp_path: Path) -> None:
    tomo = open_tomogram(write_tomogram(tmp_path / "t.mrc", torch.rand(4, 5, 6), 8.0))
    path = text(tmp_path / "p.csv", "11,21,31\n")
    assert read_picks(path).voxels(0, tomo).tolist() == [11, 21, 31]
    assert read_picks(path, first_voxel=1.0).voxels(0, tomo).tolist() == [10, 20, 30]
    finer = read_picks(path, first_voxel=1.0, coordinate_voxel_size_angstrom=2.0)
    assert finer.voxels(0, tomo).tolist() == [2.5, 5, 7.5]


def test_tables_that_say_their_unit_can_be_overruled_but_not_centred_ones(tmp_path: Path) -> None:
    tomo = open_tomogram(write_tomogram(tmp_path / "t.mrc", torch.rand(4, 5, 6), 8.0))
    head = "data_optics\nloop_\n_rlnOpticsGroup\n_rlnTomoTiltSeriesPixelSize\n1 2.0\n\ndata_particles\nloop_\n"
    star = text(
        tmp_path / "p.star",
        f"{head}_rlnTomoName\n_rlnOpticsGroup\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\nt 1 8 16 4\n",
    )
    assert read_picks(star).voxels(0, tomo).tolist() == [2, 4, 1]
    overruled = read_picks(star, coordinate_voxel_size_angstrom=4.0)
    assert overruled.voxels(0, tomo).tolist() == [4, 8, 2]
    # A table that is written still says 2.0, so coordinates are written in that.
    written = overruled.coordinate(0, torch.tensor([4.0, 8, 2]), tomo, image_voxel_size_angstrom=16.0)
    assert written.tolist() == [16, 32, 8]
    names = "".join(f"_rlnCenteredCoordinate{axis}Angst\n" for axis in "XYZ")
    star = text(tmp_path / "c.star", f"{head}_rlnTomoName\n_rlnOpticsGroup\n{names}t 1 8 16 -4\n")
    assert read_picks(star).voxels(0, tomo).tolist() == [4, 4.5, 1.5]
    with pytest.raises(InputError, match="leave out --coordinate-voxel-size and --first-voxel"):
        read_picks(star, first_voxel=1.0)


def test_a_table_of_coordinates_alone_is_enough(tmp_path: Path) -> None:
    names = "".join(f"_rlnCoordinate{axis}\n" for axis in "XYZ")
    picks = read_picks(text(tmp_path / "p.star", f"data_\nloop_\n_rlnMicrographName\n{names}tomo.mrc 1 2 3\n"))
    assert (picks.tomograms, picks.coordinates.tolist()) == (("tomo.mrc",), [[1, 2, 3]])


def test_origins_in_pixels_need_their_size(tmp_path: Path) -> None:
    columns = [*(f"_rlnCoordinate{a}" for a in "XYZ"), *(f"_rlnOrigin{a}" for a in "XYZ")]
    body = "data_\nloop_\n" + "\n".join(columns)
    with pytest.raises(InputError, match="rlnOriginX is in pixels and the table does not say their size"):
        read_picks(text(tmp_path / "p.star", f"{body}\n1 2 3 1 0 -2\n"))
    picks = read_picks(text(tmp_path / "q.star", f"{body}\n_rlnPixelSize\n1 2 3 1 0 -2 5.0\n"))
    assert picks.offsets_angstrom.tolist() == [[-5, 0, 10]]


def test_real_tables_are_read(shared_data: Path, tmp_path: Path) -> None:
    four = read_picks(shared_data / "metadata/relion4.0/relion_4.0.star")
    tomo = open_tomogram(write_tomogram(tmp_path / "t.mrc", torch.rand(4, 5, 6), 7.884))
    # 1700, 428, 944 in pixels of 1.971 A, and the origin of 1.26, 2.36, 3.78 A taken off.
    expected = [1700 / 4 - 1.260416 / 7.884, 428 / 4 - 2.364176 / 7.884, 944 / 4 - 3.783296 / 7.884]
    assert four.tomograms[0] == "TS_017"
    assert four.voxels(0, tomo).tolist() == pytest.approx(expected)
    five = read_picks(shared_data / "metadata/relion5/R5_tutorial_run_data.star")
    assert five.centred
    assert five.tomograms[0] == "TS_01"


@pytest.fixture
def crop(tmp_path: Path) -> tuple[Path, torch.Tensor]:
    """Write a Dynamo table of two particles; return it and their places in voxels from 0."""
    rows = torch.zeros(2, 26, dtype=torch.float64)
    rows[:, 0] = torch.tensor([1, 2])
    rows[:, 3:6] = torch.tensor([[0.25, -0.5, 0.0], [0.0, 0.0, 1.0]])
    rows[:, 6:9] = torch.tensor([[10.0, 20, 30], [0, 90, 0]])
    rows[:, 9], rows[:, 19], rows[:, 20] = 0.5, 7, torch.tensor([3, 4])
    rows[:, 23:26] = torch.tensor([[11.0, 21, 31], [5, 6, 7]])
    path = text(tmp_path / "crop.tbl", "\n".join(" ".join(f"{v:g}" for v in row) for row in rows.tolist()) + "\n")
    return path, torch.tensor([[10.25, 19.5, 30], [4, 5, 7]], dtype=torch.float64)


@pytest.mark.parametrize("voxel_size", [None, 8.0])
def test_dynamo_tables_name_the_same_places(tmp_path: Path, crop, voxel_size: float | None) -> None:
    tomo = open_tomogram(write_tomogram(tmp_path / "tomo_7.mrc", torch.rand(4, 5, 6), 8.0))
    picks = read_picks(crop[0], coordinate_voxel_size_angstrom=voxel_size)
    assert (picks.tomograms, picks.filaments) == (("7", "7"), ("3", "4"))
    for i in range(2):
        torch.testing.assert_close(picks.voxels(i, tomo), crop[1][i])
    expected = Rotation.from_euler("zxz", [10, 20, 30], degrees=True).inv().as_matrix()
    assert picks.rotations[0].numpy() == pytest.approx(expected)
    assert picks.scores is not None
    assert picks.scores.tolist() == [0.5, 0.5]


def test_dynamo_tables_of_another_binning(tmp_path: Path, crop) -> None:
    tomo = open_tomogram(write_tomogram(tmp_path / "tomo_7.mrc", torch.rand(4, 5, 6), 8.0))
    picks = read_picks(crop[0], coordinate_voxel_size_angstrom=2.0)
    torch.testing.assert_close(picks.voxels(0, tomo), crop[1][0] / 4)
    with pytest.raises(InputError, match="tables of Dynamo have a rule for the first voxel"):
        read_picks(crop[0], first_voxel=1.0)


def test_stopgap_lists_are_told_from_relion_s(tmp_path: Path, crop) -> None:
    assert main(["convert", str(crop[0]), str(tmp_path / "motl.star"), "--to", "stopgap"]) == 0
    tomo = open_tomogram(write_tomogram(tmp_path / "tomo_7.mrc", torch.rand(4, 5, 6), 8.0))
    picks = read_picks(tmp_path / "motl.star")
    for i in range(2):
        torch.testing.assert_close(picks.voxels(i, tomo), crop[1][i])
    torch.testing.assert_close(picks.rotations, read_picks(crop[0]).rotations, atol=1e-6, rtol=0)


def test_real_dynamo_tables_are_read(shared_data: Path) -> None:
    picks = read_picks(shared_data / "metadata/dynamo/crop.tbl")
    assert picks.coordinates[0].tolist() == pytest.approx([780.71, 253.24, 218.0])
    assert picks.table is not None
    assert len(picks.table) == len(picks)
