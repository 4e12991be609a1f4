from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

import gumnet.cli.convert
from gumnet.cli.main import main
from gumnet.io.convert import TARGETS
from gumnet.io.mrc import read_map, write_map
from gumnet.io.read import read_particles


def dynamo_table(path: Path) -> Path:
    rows = np.zeros((2, 35))
    rows[:, 0], rows[:, 19], rows[:, 23:26], rows[:, 6] = (1, 2), 7, 50, (10, 200)
    rows[:, 12:15], rows[:, 10] = (1, -60, 60), 0.5
    np.savetxt(path, rows, fmt="%g")
    return path


def test_convert_says_what_it_wrote_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, star, motl = dynamo_table(tmp_path / "a.tbl"), tmp_path / "p.star", tmp_path / "m.star"
    assert main(["convert", str(table), str(star), "--voxel-size", "10"]) == 0
    said = capsys.readouterr().out
    assert "2 particles of Dynamo written as relion3" in said
    assert "nothing was left out" in said
    assert main(["convert", str(star), str(motl), "--to", "stopgap", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["files"] == [str(motl)]
    assert facts["left_out"]["dynamoCc2"] == "STOPGAP refuses other fields"
    assert facts["left_out"]["tilt limits"].startswith("STOPGAP keeps them in a wedge list")
    assert facts["notes"]
    # And back: what Dynamo alone knows came along in RELION's table.
    assert main(["convert", str(star), str(tmp_path / "b.tbl")]) == 0
    back = np.loadtxt(tmp_path / "b.tbl")
    expected = np.loadtxt(table)
    expected[:, 6] = (10, -160)  # the same angle
    np.testing.assert_allclose(back[:, :35], expected, atol=1e-6)
    assert (back[:, 35] == 10).all()  # apix


def test_convert_asks_for_what_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, star = dynamo_table(tmp_path / "a.tbl"), tmp_path / "p.star"
    for arguments, words in (
        ([str(table), str(star), "--to", "relion5"], "--voxel-size"),
        ([str(tmp_path / "none.tbl"), str(star)], "no such file"),
        ([str(table), str(tmp_path / "p.xyz")], "give --to relion3.0, relion3"),
        ([str(table), str(star), "--to", "xyz"], "xyz"),
    ):
        assert main(["convert", *arguments]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
    assert not star.exists()
    assert main(["convert", str(table), str(star), "--voxel-size", "5", "--to", "relion4"]) == 0
    assert main(["convert", str(table), str(star), "--voxel-size", "5", "--to", "relion4"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["convert", str(table), str(star), "--voxel-size", "5", "--to", "relion4", "--overwrite"]) == 0


def test_the_formats_of_the_command_are_those_of_the_library() -> None:
    assert tuple(name for name in get_args(gumnet.cli.convert.Target) if name != "relion3.1") == TARGETS


def test_relion_3_1_may_be_called_so(tmp_path: Path) -> None:
    table = dynamo_table(tmp_path / "a.tbl")
    for name in ("relion3", "relion3.1"):
        assert main(["convert", str(table), str(tmp_path / f"{name}.star"), "--voxel-size", "5", "--to", name]) == 0
    assert (tmp_path / "relion3.1.star").read_bytes() == (tmp_path / "relion3.star").read_bytes()


def test_coordinates_in_voxels_of_another_size(tmp_path: Path) -> None:
    table = dynamo_table(tmp_path / "a.tbl")
    call = ["convert", str(table), str(tmp_path / "b.tbl"), "--voxel-size", "5", "--out-voxel-size", "10"]
    assert main(call) == 0
    # Voxel 0 stays: 50 from 1 is 49 from 0, which is 24.5 in voxels twice as large.
    np.testing.assert_allclose(np.loadtxt(tmp_path / "b.tbl")[:, 23:26], 25.5)


def test_convert_volumes(tmp_path: Path, capsys: pytest.CaptureFixture[str], generator: torch.Generator) -> None:
    volume = torch.randn(6, 6, 6, generator=generator)
    write_map(tmp_path / "a.mrc", volume, 4)
    assert main(["convert", str(tmp_path / "a.mrc"), str(tmp_path / "a.em")]) == 0
    assert "1 volume written" in capsys.readouterr().out
    assert main(["convert", str(tmp_path / "a.em"), str(tmp_path / "b.mrc"), "--voxel-size", "4"]) == 0
    assert torch.equal(read_map(tmp_path / "b.mrc")[0], volume)


def test_warp_tilt_stacks_as_relion_5_are_the_same_particles(shared_data: Path, tmp_path: Path) -> None:
    """Coordinates from the centre in Angstrom, in place of Warp's pixels, give the same subtomograms and weights."""
    (source,) = (shared_data / "real-tilt-particles").glob("*_optimisation_set.star")
    assert main(["convert", str(source), str(tmp_path / "p.star")]) == 0
    before, after = read_particles(source), read_particles(tmp_path / "p_optimisation_set.star")
    torch.testing.assert_close(after.read_volumes([3]), before.read_volumes([3]))
    torch.testing.assert_close(after.read_weights([3]), before.read_weights([3]))
    torch.testing.assert_close(after.poses.rotations, before.poses.rotations, atol=1e-7, rtol=0)


def test_average_of_a_dynamo_folder(
    tmp_path: Path, generator: torch.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    table, folder = dynamo_table(tmp_path / "a.tbl"), tmp_path / "volumes"
    folder.mkdir()
    for number in (1, 2):
        write_map(tmp_path / "v.mrc", torch.randn(16, 16, 16, generator=generator), 8, overwrite=True)
        assert main(["convert", str(tmp_path / "v.mrc"), str(folder / f"particle_{number:06d}.em")]) == 0
    call = ["average", str(table), "--volumes", str(folder), "--voxel-size", "8", "--iterations", "0"]
    assert main([*call, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "map.mrc").exists()
    facts = ["info", str(table), "--volumes", str(folder), "--voxel-size", "8", "--tilt-range", "-40", "50", "--json"]
    capsys.readouterr()
    assert main(facts) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["tilt_range_degrees"] == pytest.approx([-40, 50], abs=5)
    assert (list(said["missing"]), said["images"]) == (["tune"], "all 2 there")
    assert len(read_particles(tmp_path / "out" / "particles.star")) == 2


def test_a_voxel_size_that_is_given_replaces_that_of_a_dynamo_table(tmp_path: Path) -> None:
    rows = np.pad(np.loadtxt(dynamo_table(tmp_path / "a.tbl")), ((0, 0), (0, 1)), constant_values=10.0)
    np.savetxt(tmp_path / "apix.tbl", rows, fmt="%.9g")
    assert main(["convert", str(tmp_path / "apix.tbl"), str(tmp_path / "b.tbl"), "--voxel-size", "5"]) == 0
    assert (np.loadtxt(tmp_path / "b.tbl")[:, 35] == 5).all()
