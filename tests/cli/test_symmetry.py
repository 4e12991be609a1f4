from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from oracles.symmetric import symmetric_halves

from gumnet.averaging.mask import soft_sphere
from gumnet.cli.main import main
from gumnet.devices import seeded
from gumnet.io.mrc import read_map, write_map

VOXEL = 10.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder as ``gumnet average`` leaves it, of a ring of four."""
    path = tmp_path_factory.mktemp("average")
    halves, _ = symmetric_halves("C4", 3.0, seeded(4))
    for name, volume in (("half1", halves[0]), ("half2", halves[1]), ("map", halves.mean(dim=0))):
        write_map(path / f"{name}.mrc", volume, VOXEL)
    return path


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main(["symmetry", *arguments, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_a_folder_is_its_half_maps(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    of_folder = run_json(capsys, str(folder), "--max-fold", "5")
    halves = ["--half1", str(folder / "half1.mrc"), "--half2", str(folder / "half2.mrc")]
    assert of_folder == run_json(capsys, str(folder / "map.mrc"), *halves, "--max-fold", "5")
    assert of_folder["symmetry"] == "C4"
    first, *others = of_folder["candidates"]  # type: ignore[misc]
    assert (first["group"], first["order"], first["verdict"]) == ("C4", 4, "holds")
    assert [axis["fold"] for axis in first["axes"]] == [4, 2]
    assert {"C2", "C3", "C5"} <= {other["group"] for other in others}


def test_the_map_is_written_with_its_axis_along_z(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "aligned.mrc"
    assert main(["symmetry", str(folder), "--max-fold", "4", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Symmetry C4: 4-fold along (")
    assert "group  weakest" in said
    assert f"written: {out}" in said
    aligned, size = read_map(out)
    assert size == pytest.approx(VOXEL)
    inner = (aligned * soft_sphere(aligned.shape[-1], 8, 3))[1:, 1:, 1:]
    pair = torch.stack([inner.flatten(), inner.rot90(1, (1, 2)).flatten()])
    assert float(torch.corrcoef(pair)[0, 1]) > 0.9
    # And once more nothing is left to do.
    again = run_json(capsys, str(out), "--max-fold", "4")
    assert again["rot_tilt_psi_degrees"][1] == pytest.approx(0, abs=2)  # type: ignore[index]
    # What is there is not replaced unasked.
    assert main(["symmetry", str(folder), "--out", str(out)]) == 2


def test_nothing_found_is_nothing_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_map(tmp_path / "ball.mrc", soft_sphere(24, 6, 3), VOXEL)
    out = tmp_path / "aligned.mrc"
    assert main(["symmetry", str(tmp_path / "ball.mrc"), "--out", str(out), "--mask", "auto"]) == 0
    said = capsys.readouterr().out
    assert "undetermined: featureless" in said
    assert "nothing written" in said
    assert not out.exists()


def test_what_does_not_fit_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = str(folder / "half1.mrc")
    assert main(["symmetry", half, "--half1", half]) == 2
    assert "one half map is missing" in capsys.readouterr().err
    assert main(["symmetry", str(folder), "--half1", half, "--half2", half]) == 2
    assert "brings its own half maps" in capsys.readouterr().err
    write_map(tmp_path / "small.mrc", soft_sphere(16, 4, 3), VOXEL)
    assert main(["symmetry", str(tmp_path / "small.mrc"), "--half1", half, "--half2", half]) == 2
    assert "not that of the half maps" in capsys.readouterr().err
    assert main(["symmetry", str(folder), "--mask", str(tmp_path / "small.mrc")]) == 2
    assert "its box is 16" in capsys.readouterr().err
