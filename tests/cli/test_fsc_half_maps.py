"""What ``gumnet fsc`` says beyond the curve, and ``gumnet sharpen``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from oracles.half_maps import noise, noisy_phantom

from gumnet.averaging.mask import soft_sphere
from gumnet.cli.main import main
from gumnet.devices import seeded
from gumnet.geometry.fourier import to_fourier, to_real
from gumnet.geometry.wedge import missing_wedge
from gumnet.io.mrc import read_map, write_map
from gumnet.resolution.local import local_resolution
from gumnet.resolution.phase_randomisation import phase_randomisation

BOX, VOXEL = 32, 10.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with half maps, the same with a missing wedge, noise, and a mask."""
    path = tmp_path_factory.mktemp("half_maps")
    generator = seeded(5)
    _, halves = noisy_phantom(BOX, 0.2, generator)
    wedged = to_real(to_fourier(halves) * missing_wedge(BOX, 60.0), BOX)
    for name, volumes in (("half", halves), ("wedge", wedged), ("noise", noise(2, BOX, generator))):
        for number, volume in enumerate(volumes, start=1):
            write_map(path / f"{name}{number}.mrc", volume, VOXEL)
    write_map(path / "mask.mrc", soft_sphere(BOX, 11, 4), VOXEL)
    return path


def fsc_json(capsys: pytest.CaptureFixture[str], folder: Path, kind: str, *options: str) -> dict[str, Any]:
    assert main(["fsc", str(folder / f"{kind}1.mrc"), str(folder / f"{kind}2.mrc"), "--json", *options]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_a_mask_gives_the_corrected_curve_beside_the_old_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = fsc_json(capsys, folder, "half", "--mask", str(folder / "mask.mrc"), "--seed", "3")
    halves = torch.stack([read_map(folder / f"half{i}.mrc")[0] for i in (1, 2)])
    expected = phase_randomisation(
        halves, read_map(folder / "mask.mrc")[0], voxel_size_angstrom=VOXEL, generator=seeded(3)
    )
    for name, curve in (
        ("fsc", expected.masked),
        ("fsc_unmasked", expected.unmasked),
        ("fsc_randomised", expected.randomised),
        ("fsc_corrected", expected.corrected),
    ):
        assert [shell[name] for shell in result["shells"]] == pytest.approx(curve.tolist(), abs=1e-9)
    assert result["corrected_resolution_angstrom"] == pytest.approx(expected.resolution_angstrom)
    assert result["randomised_from_shell"] == expected.randomised_from_shell


def test_the_truth_needs_no_correction(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = fsc_json(capsys, folder, "half", "--mask", str(folder / "mask.mrc"), "--truth")
    assert "corrected_resolution_angstrom" not in result
    assert set(result["shells"][1]) == {"shell", "resolution_angstrom", "fsc"}


def test_everything_at_once_in_words(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, plot = tmp_path / "local.mrc", tmp_path / "fsc.svg"
    maps = [str(folder / f"half{i}.mrc") for i in (1, 2)]
    options = ["--mask", "auto", "--conical", "--local-resolution", str(out), "--plot", str(plot)]
    assert main(["fsc", *maps, *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["shell", "Angstrom", "FSC", "unmasked", "random", "corrected"]
    assert lines[-1].startswith("resolution at FSC 0.143, corrected for the mask: ")
    assert lines[-2].startswith("resolution at FSC 0.143: ")
    assert any(line.startswith("Automatic mask: low pass at") for line in lines)
    assert any("same resolution in all directions" in line for line in lines)
    volume, size = read_map(out)
    assert size == pytest.approx(VOXEL)
    halves = torch.stack([read_map(folder / f"half{i}.mrc")[0] for i in (1, 2)])
    torch.testing.assert_close(volume, local_resolution(halves, voxel_size_angstrom=VOXEL))
    assert "corrected: " in plot.read_text(encoding="utf-8")
    # Nothing is replaced unless asked for.
    assert main(["fsc", *maps, "--plot", str(plot)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["fsc", *maps, "--plot", str(plot), "--overwrite"]) == 0


def test_a_missing_wedge_is_said_in_words(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cones = fsc_json(capsys, folder, "wedge", "--conical")["conical"]
    assert cones["is_anisotropic"]
    assert "along z" in cones["words"]
    assert cones["worst_angstrom"] > cones["best_angstrom"]
    assert len(cones["directions"]) == len(cones["resolutions_angstrom"]) >= 100


def test_noise_claims_nothing_with_any_mask(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ([], ["--mask", "auto"], ["--mask", str(folder / "mask.mrc")]):
        result = fsc_json(capsys, folder, "noise", "--conical", *options)
        assert result["resolution_angstrom"] is None
        assert result.get("corrected_resolution_angstrom") is None
        assert "no resolution in any direction" in result["conical"]["words"]


def test_sharpening_is_said_and_done(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    maps, out = [str(folder / f"half{i}.mrc") for i in (1, 2)], tmp_path / "sharp.mrc"
    assert main(["sharpen", *maps, "--out", str(out), "--b-factor", "-2000", "--mask", str(folder / "mask.mrc")]) == 0
    assert "-2000 square Angstrom, as given" in capsys.readouterr().out
    mean = (read_map(maps[0])[0] + read_map(maps[1])[0]).double() / 2
    ratio = to_fourier(read_map(out)[0].double()).abs() / to_fourier(mean).abs()
    # Shells 1 to 3 agree all but perfectly, so that the weight is 1: exp(2000 / 4 (s / 320 A)^2) remains.
    for shell in (1, 2, 3):
        assert float(ratio[0, 0, shell]) == pytest.approx(2.718281828 ** (500 * (shell / 320) ** 2), rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fsc", "half1.mrc", "half2.mrc", "--plot", "curve.pdf"], ".png or .svg"),
        (["fsc", "half1.mrc", "half2.mrc", "--plot", "a.png", "--local-resolution", "a.png"], "two names"),
        (["sharpen", "half1.mrc", "half2.mrc", "--out", "out.mrc"], "either --b-factor or --guinier"),
        (["sharpen", "half1.mrc", "half2.mrc", "--out", "out.mrc", "--guinier"], "too few to fit"),
        (["sharpen", "noise1.mrc", "noise2.mrc", "--out", "out.mrc", "--b-factor", "-100"], "do not agree"),
        (["sharpen", "half1.mrc", "half2.mrc", "--out", "o.mrc", "--b-factor", "-1", "--fit-from", "9"], "--guinier"),
    ],
)
def test_wrong_calls_are_one_line_and_write_nothing(
    folder: Path,
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    assert main(arguments) == 2
    line = capsys.readouterr().err
    assert line.startswith("gumnet: error: ")
    assert line.count("\n") == 1
    assert words in line
    assert sorted(folder.iterdir()) == before


def test_what_takes_long_shows_its_progress_on_a_terminal_and_nowhere_else(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = [str(folder / "half1.mrc"), str(folder / "half2.mrc")]
    call = ["fsc", *maps, "--conical", "--local-resolution", str(tmp_path / "local.mrc"), "--overwrite"]
    assert main(call) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert main(call) == 0
    said = capsys.readouterr().err
    assert "Comparing directions" in said
    assert "24/24" in said
    assert "Local resolution" in said
