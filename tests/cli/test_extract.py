from __future__ import annotations

import json
from pathlib import Path

import mrcfile
import pytest
import torch
from oracles.gaussians import density
from oracles.tomograms import tomogram, write_tomogram

from gumnet.cli.main import main
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.wedge import missing_wedge
from gumnet.io.read import read_particles

PLACES = torch.tensor([[14.3, 16.8, 15.45], [40.75, 15.1, 16.6]], dtype=torch.float64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tomograms")
    turned = random_rotations(2, generator=torch.Generator().manual_seed(4))
    write_tomogram(made / "TS_1.mrc", -tomogram((32, 32, 56), PLACES, turned), 10.0)
    write_tomogram(made / "TS_2.mrc", -tomogram((32, 32, 56), PLACES[:1], turned[:1]), 10.0)
    angles = [" ".join(f"{a:.6f}" for a in row) for row in _angles(turned)]
    rows = [(PLACES[0], "TS_1", angles[0]), (PLACES[1], "TS_1", angles[1]), (PLACES[0], "TS_2", angles[0])]
    lines = [f"{x:.4f} {y:.4f} {z:.4f} {name} {a}" for (x, y, z), name, a in rows]
    lines.append("2 16 16 TS_2 0 0 0")
    (made / "picks.txt").write_text("\n".join(["x y z tomogram rot tilt psi", *lines]) + "\n")
    return made


def _angles(rotations: torch.Tensor) -> list[list[float]]:
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(rotations.numpy()).inv().as_euler("ZYZ", degrees=True).tolist()


def call(folder: Path, out: Path, *more: str) -> int:
    tomograms = ["--tomograms", str(folder / "TS_1.mrc"), str(folder / "TS_2.mrc")]
    return main(["extract", str(folder / "picks.txt"), *tomograms, "--box", "24", "--out", str(out), *more])


def test_extracted_particles_are_what_the_other_commands_read(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert call(folder, out, "--invert", "--no-normalise", "--tilt-max", "60") == 0
    said = capsys.readouterr().out
    assert said.startswith("3 particles of box 24 at 10 A; 1 at the edge left out, listed in ")
    assert sorted(path.name for path in out.iterdir()) == [
        "left_out.txt",
        "particles.star",
        "volumes.mrcs",
        "weights.mrc",
    ]
    header, row = (out / "left_out.txt").read_text().splitlines()
    assert header.split("\t") == ["row", "name", "reason"]
    assert row.startswith("4\tTS_2/2\t41.7% of the box about voxel 2, 16, 16 is outside")
    particles = read_particles(out)
    assert particles.names == ("TS_1/1", "TS_1/2", "TS_2/1")
    for i in range(3):
        expected = density(24, particles.poses.rotations[i], particles.poses.shifts[i])
        torch.testing.assert_close(particles.read_volumes([i])[0].double(), expected, atol=1e-5, rtol=0)
    weights = particles.read_weights([0])
    assert weights is not None
    assert torch.equal(weights[0], missing_wedge(24, 60.0))
    assert main(["info", str(out)]) == 0
    assert "all 3 there" in capsys.readouterr().out
    # These have no missing wedge.
    assert call(folder, tmp_path / "whole", "--invert") == 0
    average = ["average", str(tmp_path / "whole"), "--out", str(tmp_path / "average"), "--iterations", "0"]
    assert main(average) == 0
    found = torch.from_numpy(mrcfile.read(tmp_path / "average/map.mrc").copy()).double()
    assert float(torch.corrcoef(torch.stack([found.flatten(), density(24).flatten()]))[0, 1]) > 0.97


def test_padding_is_said_and_marked(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(folder, tmp_path / "out", "--edge", "pad") == 0
    assert "4 particles of box 24 at 10 A; 1 filled at the edge, marked in gumnetPadded" in capsys.readouterr().out
    table = read_particles(tmp_path / "out").table
    assert table is not None
    assert table["gumnetPadded"].tolist() == pytest.approx([0, 0, 0, 10 / 24])


def test_particles_that_cannot_be_read_are_left_out_on_demand(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = torch.rand(32, 32, 56, generator=torch.Generator().manual_seed(1))
    values[:, :, 40:] = torch.nan
    write_tomogram(tmp_path / "TS.mrc", values, 10.0)
    (tmp_path / "p.csv").write_text("16,16,16\n40,16,16\n")
    arguments = ["extract", str(tmp_path / "p.csv"), "--tomograms", str(tmp_path / "TS.mrc"), "--box", "16"]
    arguments += ["--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "particle TS/2: the tomogram holds NaN" in capsys.readouterr().err
    assert not (tmp_path / "out").exists(), "whole or not at all"
    assert main([*arguments, "--skip-bad"]) == 0
    assert "1 that cannot be read left out" in capsys.readouterr().out
    assert "TS/2" in (tmp_path / "out/bad_particles.txt").read_text()
    assert len(read_particles(tmp_path / "out")) == 1


def test_filaments(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "points.csv").write_text("x,y,z\n12,16,16\n43,16,16\n")
    arguments = ["extract", str(tmp_path / "points.csv"), "--tomograms", str(folder / "TS_1.mrc"), "--box", "16"]
    arguments += ["--filament-step", "50"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.startswith("7 particles of box 16 at 10 A: ")
    particles = read_particles(tmp_path / "out")
    torch.testing.assert_close(particles.poses.rotations[:, :, 2], torch.eye(3, dtype=torch.float64)[:1].expand(7, 3))
    assert particles.half_sets.tolist() == [1, 1, 1, 1, 2, 2, 2]
    for i, seed in enumerate(("3", "3", "4")):
        assert main([*arguments, "--random-in-plane", "--seed", seed, "--out", str(tmp_path / f"r{i}")]) == 0
    first, same, other = ((tmp_path / f"r{i}/particles.star").read_text() for i in range(3))
    assert first == same
    assert first != other


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--bin", "0"], "binning by 0"),
        (["--tilt-min", "-50"], "give --tilt-max as well"),
        (["--tilt-max", "100"], "tilt range from -100.0 to 100.0 degrees is not possible"),
        (["--filament-twist", "3"], "add --filament-step"),
        (["--filament-step", "50", "--filament-twist", "3", "--random-in-plane"], "give one of them"),
        (["--first-voxel", "1000"], "none of 4 boxes can be cut"),
        (["--voxel-size", "-2"], "voxel size of -2.0 Angstrom is not possible"),
    ],
)
def test_wrong_calls_say_what_to_do(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert call(folder, tmp_path / "out", *more) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_dynamo_table_goes_round_and_comes_back(tmp_path: Path, folder: Path) -> None:
    shift, place = torch.tensor([0.25, -0.75, 1.5]), torch.tensor([16.0, 17, 15])
    row = torch.zeros(26)
    row[0], row[3:6], row[6:9], row[9] = 12, shift, torch.tensor([10.0, 20, 30]), 0.5
    row[[12, 13, 14]] = torch.tensor([1.0, -60, 60])
    row[[19, 20, 21]], row[23:26] = torch.tensor([1.0, 3, 2]), place
    (tmp_path / "crop.tbl").write_text(" ".join(f"{value:g}" for value in row.tolist()) + "\n")
    arguments = ["--tomograms", str(folder / "TS_1.mrc"), "--box", "16", "--out", str(tmp_path / "out")]
    assert main(["extract", str(tmp_path / "crop.tbl"), *arguments]) == 0
    assert main(["convert", str(tmp_path / "out/particles.star"), str(tmp_path / "back.tbl")]) == 0
    back = torch.tensor([float(value) for value in (tmp_path / "back.tbl").read_text().split()])
    same = [0, *range(6, 10), *range(12, 15), *range(19, 22)]
    torch.testing.assert_close(back[same], row[same], atol=1e-4, rtol=0)
    torch.testing.assert_close(back[3:6] + back[23:26], shift + place)


def test_options_that_would_do_nothing_are_refused(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(folder, tmp_path / "out", "--tilt-range", "-60", "60") == 2
    assert "tilt-range" in capsys.readouterr().err


def test_a_script_reads_what_was_cut_and_what_was_not(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(folder, tmp_path / "out", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == {
        "particles": 3,
        "box": 24,
        "voxel_size_angstrom": 10.0,
        "at_the_edge": 1,
        "unreadable": 0,
        "padded": 0,
        "folder": str(tmp_path / "out"),
    }


def test_progress_is_shown_on_a_terminal_while_boxes_are_cut(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(folder, tmp_path / "quiet") == 0
    assert capsys.readouterr().err == "", "quiet where it is not a terminal"
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert call(folder, tmp_path / "shown") == 0
    said = capsys.readouterr().err
    assert "writing volumes" in said
    assert "3/3" in said
