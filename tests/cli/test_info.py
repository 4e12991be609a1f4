from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from gumnet.cli.main import main
from gumnet.errors import InputError
from gumnet.io.convert import TARGETS, convert
from gumnet.io.mrc import write_map, write_volume_stack
from gumnet.io.star import write_star
from gumnet.io.tomograms import read_tomograms


def test_info_says_what_is_there(particles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(particles), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["particles"] == 3
    assert facts["format"] == "RELION 3.1"
    assert facts["box"] == 20
    assert facts["voxel_size_angstrom"] == 16.0
    low, high = facts["tilt_range_degrees"]
    assert low == pytest.approx(-60, abs=4)
    assert high == pytest.approx(60, abs=4)
    assert facts["half_sets"] == {}
    assert facts["images"] == "all 3 there"
    assert main(["info", str(particles)]) == 0
    said = capsys.readouterr().out
    assert "voxel size angstrom: 16.0" in said
    assert "poses: none, all angles and shifts are 0" in said
    assert "rot angle" not in said
    assert "\n  extract: coordinates in tomograms\n" in said
    assert main(["info", str(particles / "truth.star")]) == 0
    said = capsys.readouterr().out
    assert "poses: there" in said
    assert "tilt angle degrees: " in said, "which is not a tilt of the microscope"
    assert main(["info", str(particles / "volumes.mrcs"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["volumes"], facts["voxels_xyz"], facts["voxel_size_angstrom"]) == (3, [20, 20, 20], 16.0)


def test_a_voxel_size_is_said_as_it_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_map(tmp_path / "a.mrc", torch.randn(8, 8, 8), 5.144)
    assert info_of(tmp_path / "a.mrc", capsys)["voxel_size_angstrom"] == 5.144


def test_info_of_a_table_whose_images_are_elsewhere(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(shared_data / "metadata/relion4.0/relion_4.0.star"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["format"] == "RELION 4"
    assert facts["particles"] == 1746
    assert "no such file" in facts["images"]


def out_name(target: str) -> str:
    return f"{target}.csv" if target == "acryo" else f"{target}.star"


def test_info_says_what_is_missing_for_which_command(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = info_of(shared_data / "metadata/dynamo/crop.tbl", capsys)
    assert (facts["format"], facts["particles"], facts["tomograms"]) == ("Dynamo", 4485, 25)
    assert facts["tilt_range_degrees"] == [-60, 60]
    missing = facts["missing"]
    assert isinstance(missing, dict)
    for command in ("align", "average", "cluster", "pack", "train"):
        assert "--volumes" in missing[command]
    for target in ("relion3", "relion4", "relion5", "m", "acryo"):
        with pytest.raises(InputError, match="--voxel-size"):
            convert(shared_data / "metadata/dynamo/crop.tbl", tmp_path / out_name(target), to=target)
        assert "--voxel-size" in missing[f"convert --to {target}"]
    assert "tilt stacks" in missing["tune"]
    assert main(["info", str(shared_data / "metadata/dynamo/crop.tbl")]) == 0
    said = capsys.readouterr().out
    assert "\n  align, average, cluster, pack, train: " in said
    assert "\n  convert --to relion3, relion4, relion5, m, acryo: the voxel size (--voxel-size)\n" in said
    facts = info_of(shared_data / "metadata/relion5/R5_tutorial_run_data.star", capsys)
    assert facts["format"] == "RELION 5, 2D tilt stacks"
    assert facts["x_from_corner_voxels"] == pytest.approx([66.1, 3868.7])
    assert facts["half_sets"] == {"1": 4545, "2": 4508}
    assert "tune" not in facts["missing"], "these are tilt stacks"


def test_lengths_miss_the_size_of_voxels_where_these_are_counted(
    tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(shared_data / "metadata/relion3.0/relion_3.0.star", tmp_path / "m.star", to="m")
    missing = info_of(tmp_path / "m.star", capsys)["missing"]
    assert isinstance(missing, dict)
    assert {key for key in missing if key.startswith("convert")} == {
        f"convert --to {target}" for target in ("dynamo", "stopgap", "em")
    }


def test_coordinates_from_the_centre_miss_the_sizes_of_tomograms_for_all_that_count_from_the_corner(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = ["rlnTomoName", *(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"), "rlnOpticsGroup"]
    table = tmp_path / "p.star"
    write_star(
        table,
        {
            "optics": pd.DataFrame({"rlnOpticsGroup": [1], "rlnTomoTiltSeriesPixelSize": [2.0]}),
            "particles": pd.DataFrame([["TS_1", 10.0, -20.0, 30.0, 1]], columns=columns),
        },
    )
    missing = info_of(table, capsys)["missing"]
    assert isinstance(missing, dict)
    for target in TARGETS:
        out = (
            tmp_path / f"out{ {'dynamo': '.tbl', 'em': '.em', 'eman2': '.lst', 'acryo': '.csv'}.get(target, '.star') }"
        )
        if f"convert --to {target}" in missing:
            with pytest.raises(InputError, match="--tomogram-size"):
                convert(table, out, to=target)
        else:
            convert(table, out, to=target, overwrite=True)
            assert target in ("relion5", "eman2")


def test_particles_of_which_no_missing_wedge_is_known_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_volume_stack(tmp_path / "s.mrcs", torch.randn(2, 8, 8, 8), 4.0)
    (tmp_path / "p.star").write_text("data_\n\nloop_\n_rlnImageName\n1@s.mrcs\n2@s.mrcs\n")
    weights = info_of(tmp_path / "p.star", capsys)["weights"]
    assert isinstance(weights, str)
    assert "counts as observed" in weights
    assert "--tilt-range" in weights
    capsys.readouterr()
    for limit in ("60", "90"):  # with 90 it is said that nothing is missing
        assert main(["info", str(tmp_path / "p.star"), "--tilt-range", f"-{limit}", limit, "--json"]) == 0
        assert "weights" not in json.loads(capsys.readouterr().out)
    call = ["average", str(tmp_path / "p.star"), "--iterations", "0", "--overwrite", "--out", str(tmp_path / "out")]
    assert main(call) == 0
    assert "no missing wedge is known" in capsys.readouterr().err
    assert main([*call, "--tilt-range", "-90", "90"]) == 0
    assert capsys.readouterr().err == ""


def test_info_of_what_goes_with_particles(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = info_of(shared_data / "metadata/relion5/R5_tutorial_run_tomograms.star", capsys)
    size = {"size_angstrom": [5400, 5400, 2700]}
    assert facts["tomograms"] == dict.fromkeys(("TS_01", "TS_03", "TS_43", "TS_45", "TS_54"), size)
    missing = facts["missing"]
    assert isinstance(missing, dict)
    assert "no such file: rlnTomoTiltSeriesStarFile" in missing["average"], "its tilt series are elsewhere"
    (table,) = (shared_data / "real-tilt-particles").glob("*_tomograms.star")
    facts = info_of(table, capsys)
    assert isinstance(facts["tomograms"], dict)
    assert facts["missing"] == {}
    one = facts["tomograms"]["Unt_050.tomostar"]
    assert one["size_angstrom"] == pytest.approx([7335, 10002, 2334], abs=1)
    series = read_tomograms(table)["Unt_050.tomostar"]
    assert (one["tilts"], one["pixel_size_angstrom"]) == (len(series), series.pixel_size_angstrom)
    assert one["tilt_range_degrees"] == pytest.approx([-60, 60], abs=15)
    assert main(["info", str(table)]) == 0
    assert f"Unt_050.tomostar: 7335 x 10002 x 2334 Angstrom, pixels of {series.pixel_size_angstrom:g}, " in (
        capsys.readouterr().out
    )
    folder = shared_data / "real-subtomogram"
    facts = info_of(folder / "motl_ribosome_b4_trim_shift_t126.em", capsys)
    assert (facts["format"], facts["particles"], facts["classes"]) == ("EM motive list", 50, {"1": 50})
    facts = info_of(folder / "mask48_r22.em", capsys)
    assert (facts["format"], facts["voxels_xyz"], facts["type"]) == ("EM", [48, 48, 48], "float32")


def info_of(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    capsys.readouterr()
    assert main(["info", str(path), "--json"]) == 0
    facts: dict[str, object] = json.loads(capsys.readouterr().out)
    return facts


def test_info_looks_at_every_image_and_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "p.star"
    names = [f"{i}.mrc" for i in range(7)]
    table.write_text("data_\n\nloop_\n_rlnImageName\n_rlnCtfImage\n" + "".join(f"{n} ctf{n}\n" for n in names))
    for name in names:
        write_map(tmp_path / name, torch.randn(8, 8, 8), 4.0)
        write_map(tmp_path / f"ctf{name}", torch.rand(8, 8, 8), 4.0)
    facts = info_of(table, capsys)
    assert (facts["images"], facts["ctf_images"]) == ("all 7 there", "all 7 there")
    (tmp_path / "6.mrc").unlink()
    (tmp_path / "ctf0.mrc").unlink()
    facts = info_of(table, capsys)
    assert facts["images"] == "6 of 7 there; 6.mrc: no such file"
    assert facts["ctf_images"] == "6 of 7 there; ctf0.mrc: no such file"
    write_map(tmp_path / "5.mrc", torch.randn(6, 6, 6), 4.0, overwrite=True)
    (tmp_path / "4.mrc").write_bytes((tmp_path / "4.mrc").read_bytes()[:-4])
    (tmp_path / "3.mrc").unlink()
    assert main(["info", str(table)]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("images: "))
    assert line.startswith("images: 3 of 7 there; 3.mrc: no such file; 4.mrc: the file was cut off")
    assert line.endswith("; 5.mrc: 6 x 6 x 6 voxels do not fit a box of 8; and 1 more file")


def test_info_counts_volumes_that_a_stack_does_not_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_volume_stack(tmp_path / "s.mrcs", torch.randn(3, 8, 8, 8), 4.0)
    table = tmp_path / "p.star"
    table.write_text("data_\n\nloop_\n_rlnImageName\n" + "".join(f"{i}@s.mrcs\n" for i in (1, 2, 3, 4, 5)))
    assert info_of(table, capsys)["images"] == "3 of 5 there; s.mrcs: no volume 4 in it, it holds 3"


def test_info_of_tilt_stacks_says_their_tilt_range(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = "real-tilt-particles/warptools_test_4-tomos_10-ptcls_box-32_angpix-12_optimisation_set.star"
    assert main(["info", str(shared_data / table), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["format"] == "RELION 5, 2D tilt stacks"
    assert (facts["particles"], facts["box"], facts["voxel_size_angstrom"]) == (40, 32, 12.0)
    assert facts["images"] == "all 40 there"
    low, high = facts["tilt_range_degrees"]
    assert -70 < low < -40
    assert 40 < high < 70


def test_info_says_which_particles_have_which_tilts(
    particles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "p.star"
    names = "".join(f"_{name}\n" for name in ("rlnImageName", "gumnetTiltMin", "gumnetTiltMax"))
    image = f"@{particles / 'volumes.mrcs'}"
    table.write_text(f"data_\n\nloop_\n{names}1{image} -58 29\n2{image} -60 57\n3{image} -60 57\n")
    facts = info_of(table, capsys)
    assert facts["tilt_range_degrees"] == [-60, 57]
    assert facts["particles_by_tilts"] == {"-58 to 29": 1, "-60 to 57": 2}
