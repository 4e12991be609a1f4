from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.transform import Rotation

from gumnet.errors import InputError
from gumnet.io.star import write_star
from gumnet.io.tomograms import read_tomograms

TILTS = (-30.0, 0.0, 45.0)


def global_table(name: str = "TS_1", **columns: object) -> pd.DataFrame:
    row: dict[str, object] = {
        "rlnTomoName": name,
        "rlnVoltage": 300.0,
        "rlnSphericalAberration": 2.7,
        "rlnAmplitudeContrast": 0.07,
        "rlnTomoTiltSeriesPixelSize": 2.0,
        "rlnTomoHand": -1.0,
        "rlnTomoSizeX": 1000,
        "rlnTomoSizeY": 1200,
        "rlnTomoSizeZ": 400,
    }
    return pd.DataFrame([row | columns])


def tilt_table(*, matrices: bool = True) -> pd.DataFrame:
    n = len(TILTS)
    table = pd.DataFrame(
        {
            "rlnDefocusU": np.linspace(20000, 21000, n),
            "rlnDefocusV": np.linspace(19000, 20000, n),
            "rlnDefocusAngle": 30.0,
            "rlnCtfScalefactor": np.cos(np.deg2rad(TILTS)),
            "rlnMicrographPreExposure": np.arange(n) * 3.0,
        }
    )
    if matrices:
        rotations = Rotation.from_euler("y", np.array(TILTS)[:, None], degrees=True).as_matrix()
        for i, axis in enumerate("XYZ"):
            table[f"rlnTomoProj{axis}"] = [f"[{r[i, 0]:.9f},{r[i, 1]:.9f},{r[i, 2]:.9f},{100 * i}]" for r in rotations]
    else:
        table["rlnTomoXTilt"], table["rlnTomoYTilt"], table["rlnTomoZRot"] = 2.0, TILTS, 85.0
        table["rlnTomoXShiftAngst"], table["rlnTomoYShiftAngst"] = 3.0, -4.0
    return table


def write(path: Path, table: pd.DataFrame, tilts: pd.DataFrame, name: str = "TS_1") -> Path:
    write_star(path, {"global": table, name: tilts})
    return path


def test_matrices_of_relion_4_are_read_by_rows(tmp_path: Path) -> None:
    series = read_tomograms(write(tmp_path / "tomograms.star", global_table(), tilt_table()))["TS_1"]
    expected = Rotation.from_euler("y", np.array(TILTS)[:, None], degrees=True).as_matrix()
    np.testing.assert_allclose(series.matrices.numpy(), expected, atol=1e-8)
    assert len(series) == 3
    assert series.voltage_kv == 300
    assert series.dose.tolist() == [0, 3, 6]
    assert series.phase_shift_degrees.tolist() == [0, 0, 0]


def test_angles_of_relion_5_turn_about_x_then_y_then_z(tmp_path: Path) -> None:
    (tmp_path / "tilt_series").mkdir()
    write_star(tmp_path / "tilt_series" / "TS_1.star", {"TS_1": tilt_table(matrices=False)})
    table = global_table(rlnTomoTiltSeriesStarFile="tilt_series/TS_1.star")
    write_star(tmp_path / "tomograms.star", {"global": table})
    series = read_tomograms(tmp_path / "tomograms.star")["TS_1"]

    def turn(axis: str, degrees: float) -> np.ndarray:
        return Rotation.from_euler(axis, degrees, degrees=True).as_matrix()

    for matrix, tilt in zip(series.matrices.numpy(), TILTS, strict=True):
        np.testing.assert_allclose(matrix, turn("z", 85) @ turn("y", tilt) @ turn("x", 2), atol=1e-12)


def test_defocus_changes_by_hand_times_depth(tmp_path: Path) -> None:
    position = torch.tensor([100.0, 50.0, 20.0], dtype=torch.float64)
    angles = np.deg2rad(TILTS)
    depth = -np.sin(angles) * 100 + np.cos(angles) * 20  # third row of R_y
    for hand in (-1.0, 1.0):
        path = write(tmp_path / f"hand{hand}.star", global_table(rlnTomoHand=hand), tilt_table())
        offsets = read_tomograms(path)["TS_1"].defocus_offsets_angstrom(position)
        np.testing.assert_allclose(offsets.numpy(), hand * depth, atol=1e-5)
    path = write(tmp_path / "slope.star", global_table(rlnTomoDefocusSlope=0.5), tilt_table())
    half = read_tomograms(path)["TS_1"].defocus_offsets_angstrom(position)
    np.testing.assert_allclose(half.numpy(), -0.5 * depth, atol=1e-5)


def test_the_hand_that_warp_writes_is_the_opposite_of_what_it_multiplied_by(tmp_path: Path) -> None:
    table = global_table("TS_1.tomostar", rlnTomoHand=-1.0)
    series = read_tomograms(write(tmp_path / "t.star", table, tilt_table(), "TS_1.tomostar"))["TS_1.tomostar"]
    assert series.from_warp
    assert series.hand == 1.0


def test_a_missing_tomogram_is_named(tmp_path: Path) -> None:
    tomograms = read_tomograms(write(tmp_path / "t.star", global_table(), tilt_table()))
    with pytest.raises(InputError, match=r"t\.star: there is no tomogram TS_9 \(rlnTomoName\)"):
        tomograms["TS_9"]


@pytest.mark.parametrize("column", ["rlnDefocusU", "rlnMicrographPreExposure", "rlnTomoProjY"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    path = write(tmp_path / "t.star", global_table(), tilt_table().drop(columns=column))
    with pytest.raises(InputError, match=f"column {column} is missing"):
        read_tomograms(path)


def test_a_block_and_a_file_that_are_not_there_are_named(tmp_path: Path) -> None:
    write_star(tmp_path / "t.star", {"global": global_table()})
    with pytest.raises(InputError, match=r"there is no block data_TS_1"):
        read_tomograms(tmp_path / "t.star")
    write_star(tmp_path / "u.star", {"global": global_table(rlnTomoTiltSeriesStarFile="a/b.star")})
    with pytest.raises(InputError, match=r"no such file: rlnTomoTiltSeriesStarFile a/b\.star of tomogram TS_1"):
        read_tomograms(tmp_path / "u.star")
    write_star(tmp_path / "v.star", {"particles": global_table()})
    with pytest.raises(InputError, match="there is no data_global"):
        read_tomograms(tmp_path / "v.star")
    write_star(tmp_path / "w.star", {"global": global_table(rlnTomoTiltSeriesStarFile=300 * "a")})
    with pytest.raises(InputError, match="no such file: rlnTomoTiltSeriesStarFile a"):
        read_tomograms(tmp_path / "w.star")


def test_a_broken_matrix_is_shown(tmp_path: Path) -> None:
    tilts = tilt_table()
    tilts.loc[1, "rlnTomoProjX"] = "[1,0]"
    with pytest.raises(InputError, match=r"rlnTomoProjX \[1,0\] is not a row of a matrix"):
        read_tomograms(write(tmp_path / "t.star", global_table(), tilts))
