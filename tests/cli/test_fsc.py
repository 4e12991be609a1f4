"""``gumnet fsc``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gumnet.cli.main import main
from gumnet.geometry.fourier import frequencies, to_fourier, to_real
from gumnet.io.mrc import read_map, write_map

BOX, VOXEL = 24, 10.0


@pytest.fixture
def maps(tmp_path: Path, generator: torch.Generator) -> tuple[Path, Path]:
    """Return two maps that agree up to shell 6 and are independent beyond, so that resolution is about 240 / 6."""
    first, second = torch.randn(2, BOX, BOX, BOX, generator=generator)
    low = frequencies(BOX).norm(dim=-1) < 6.5 / BOX
    second = to_real(torch.where(low, to_fourier(first), to_fourier(second)), BOX)
    paths = tmp_path / "one.mrc", tmp_path / "two.mrc"
    write_map(paths[0], first, VOXEL)
    write_map(paths[1], second, VOXEL)
    return paths


def test_json_holds_the_curve_and_the_resolution(maps: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fsc", str(maps[0]), str(maps[1]), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    values = [shell["fsc"] for shell in result["shells"]]
    assert len(values) == BOX // 2 + 1
    assert values[1:7] == pytest.approx([1.0] * 6, abs=1e-4)
    assert max(map(abs, values[7:12])) < 0.12
    assert 240 / 7 < result["resolution_angstrom"] < 240 / 6
    assert result["shells"][6]["resolution_angstrom"] == 40.0
    assert result["threshold"] == 0.143


def test_maps_that_do_not_agree_have_no_resolution(
    tmp_path: Path, generator: torch.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(tmp_path / name) for name in ("one.mrc", "minus.mrc")]
    volume = torch.randn(BOX, BOX, BOX, generator=generator)
    for path, sign in zip(paths, (1, -1), strict=True):
        write_map(path, sign * volume, VOXEL)
    assert main(["fsc", *paths, "--json"]) == 0

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON (RFC 8259)")

    assert json.loads(capsys.readouterr().out, parse_constant=refuse)["resolution_angstrom"] is None
    assert main(["fsc", *paths]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "resolution at FSC 0.143: none, the curve starts below"


def test_truth_asks_for_half_of_the_power(maps: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fsc", str(maps[0]), str(maps[1]), "--truth"]) == 0
    assert "FSC 0.5" in capsys.readouterr().out


def test_text_and_json_agree(maps: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fsc", str(maps[0]), str(maps[1]), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert main(["fsc", str(maps[0]), str(maps[1])]) == 0
    text = capsys.readouterr().out
    assert f"{result['resolution_angstrom']:.1f} Angstrom" in text.splitlines()[-1]
    assert float(text.splitlines()[3].split()[2]) == pytest.approx(result["shells"][3]["fsc"], abs=6e-4)


def test_a_mask_multiplies_both_maps(
    maps: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = torch.zeros(BOX, BOX, BOX)
    mask[6:18, 6:18, 6:18] = 1
    write_map(tmp_path / "mask.mrc", mask, VOXEL)
    for path in maps:
        write_map(tmp_path / f"masked_{path.name}", read_map(path)[0] * mask, VOXEL)
    curves = []
    for arguments in (
        [str(maps[0]), str(maps[1]), "--mask", str(tmp_path / "mask.mrc")],
        [str(tmp_path / "masked_one.mrc"), str(tmp_path / "masked_two.mrc")],
    ):
        assert main(["fsc", *arguments, "--json"]) == 0
        curves.append([shell["fsc"] for shell in json.loads(capsys.readouterr().out)["shells"]])
    assert curves[0] == pytest.approx(curves[1], abs=1e-5)


def test_wrong_input_names_the_file_and_the_cure(
    maps: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small, coarse, missing = tmp_path / "small.mrc", tmp_path / "coarse.mrc", tmp_path / "missing.mrc"
    write_map(small, torch.randn(16, 16, 16), VOXEL)
    write_map(coarse, torch.randn(BOX, BOX, BOX), 12.0)
    for second, option, words in (
        (small, [], "16"),
        (coarse, [], "--voxel-size"),
        (missing, [], "missing.mrc"),
        (maps[1], ["--mask", str(small)], "mask"),
    ):
        assert main(["fsc", str(maps[0]), str(second), *option]) == 2
        line = capsys.readouterr().err
        assert line.startswith("gumnet: error: ")
        assert line.count("\n") == 1
        assert words in line
        assert "; " in line, "a cure follows the problem"


def test_a_map_without_a_voxel_size_has_that_of_the_other(
    maps: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare.mrc"
    content = bytearray(maps[1].read_bytes())
    content[40:52] = bytes(12)  # the cell in Angstrom
    bare.write_bytes(content)
    said = {}
    for second in (maps[1], bare):
        assert main(["fsc", str(maps[0]), str(second)]) == 0
        said[second] = capsys.readouterr()
    assert said[bare].out == said[maps[1]].out
    assert said[bare].err.startswith(f"{bare}: its header has no voxel size; that of {maps[0]} is taken, 10 Angstrom")
    assert main(["fsc", str(bare), str(maps[0])]) == 2, "the first one is what counts"


def test_a_folder_stands_for_its_half_maps(
    maps: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "average").mkdir()
    halves = [
        str(path.rename(tmp_path / "average" / name))
        for path, name in zip(maps, ("half1.mrc", "half2.mrc"), strict=True)
    ]
    said = []
    for call in ([str(tmp_path / "average")], halves):
        assert main(["fsc", *call]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    for sharpened in ("of_folder", "of_files"):
        call = [str(tmp_path / "average")] if sharpened == "of_folder" else halves
        assert main(["sharpen", *call, "--b-factor", "-300", "--out", str(tmp_path / f"{sharpened}.mrc")]) == 0
    assert (tmp_path / "of_folder.mrc").read_bytes() == (tmp_path / "of_files.mrc").read_bytes()
    capsys.readouterr()
    assert main(["fsc", str(tmp_path / "average"), halves[0]]) == 2
    assert "leave out MAP2" in capsys.readouterr().err
    assert main(["fsc", halves[0]]) == 2
    assert "MAP2 is missing" in capsys.readouterr().err


def test_a_b_factor_that_damps_is_pointed_out(
    maps: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for factor, warned in (("300", True), ("-300", False)):
        out = tmp_path / f"{factor}.mrc"
        assert main(["sharpen", str(maps[0]), str(maps[1]), "--b-factor", factor, "--out", str(out)]) == 0
        assert ("-300 sharpens" in capsys.readouterr().err) is warned


def test_maps_of_opposite_hands_are_pointed_out(
    tmp_path: Path, generator: torch.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(tmp_path / name) for name in ("one.mrc", "mirrored.mrc")]
    volume = torch.randn(BOX, BOX, BOX, generator=generator)
    write_map(Path(paths[0]), volume, VOXEL)
    write_map(Path(paths[1]), volume.flip(0).roll(1, 0), VOXEL)
    assert main(["fsc", *paths]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("Turned round along z, the second map agrees to 20.0")
    assert main(["fsc", *paths, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["opposite_hands"]["axis"] == "z"
