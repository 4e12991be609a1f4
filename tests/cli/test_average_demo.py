"""``gumnet average`` and ``gumnet demo`` on small data: every file is there, and files, page and terminal agree."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from gumnet.averaging.fsc import fsc
from gumnet.averaging.mask import soft_sphere
from gumnet.cli.main import main
from gumnet.devices import seeded
from gumnet.io.mrc import read_map, write_map
from gumnet.io.read import read_particles
from gumnet.io.star import read_star
from gumnet.resolution.phase_randomisation import phase_randomisation
from gumnet.simulation.folder import read_truth

FILES = {"map.mrc", "half1.mrc", "half2.mrc", "fsc.star", "particles.star", "view.cxc"}
OUTPUTS = FILES | {"report.html", "figures"}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "particles"
    small = ["--box", "16", "--voxel-size", "20", "--max-shift", "1", "--snr", "10", "--phantoms", "1"]
    assert main(["simulate", "--out", str(folder), "--particles", "10", *small]) == 0
    return folder


@pytest.fixture(scope="module")
def averaged(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the average at the true poses."""
    out = tmp_path_factory.mktemp("averaged") / "out"
    assert main(["average", str(simulated / "truth.star"), "--out", str(out), "--iterations", "0"]) == 0
    return out


def test_average_writes_all_of_its_files(averaged: Path) -> None:
    assert {path.name for path in averaged.iterdir()} == OUTPUTS
    assert [path.name for path in averaged.parent.iterdir()] == ["out"], "nothing is left beside it"
    assert read_map(averaged / "map.mrc")[1] == 20.0
    assert sorted(read_particles(averaged / "particles.star").half_sets.tolist()) == [1] * 5 + [2] * 5


def test_fsc_file_is_the_correlation_of_the_half_maps(averaged: Path) -> None:
    table = read_star(averaged / "fsc.star")["fsc"]
    halves = [read_map(averaged / name)[0] for name in ("half1.mrc", "half2.mrc")]
    expected = fsc(halves[0], halves[1])
    assert table["rlnFourierShellCorrelation"].tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    assert table["rlnSpectralIndex"].tolist() == list(range(9))
    assert table["rlnAngstromResolution"][4] == pytest.approx(16 * 20 / 4)
    assert table["rlnResolution"][4] == pytest.approx(4 / (16 * 20))
    assert expected[1:4].min() > 0.9, "true poses, hardly any noise"


def test_average_at_the_true_poses_looks_like_the_structure(averaged: Path, simulated: Path) -> None:
    made = read_map(averaged / "map.mrc")[0]
    truth = read_map(simulated / "truth_structures" / "structure_1.mrc")[0]
    assert fsc(made, truth)[1:5].min() > 0.8


def test_report_says_what_the_files_say(averaged: Path) -> None:
    html = (averaged / "report.html").read_text(encoding="utf-8")
    assert len(html) < 2_000_000
    shown = re.findall(r'<th scope="row">(\d+)</th><td>([\d.]+)</td><td>(-?[\d.]+)</td>', html)
    values = read_star(averaged / "fsc.star")["fsc"]["rlnFourierShellCorrelation"]
    assert [int(shell) for shell, _, _ in shown] == list(range(1, 9))
    for shell, _, value in shown:
        assert float(value) == pytest.approx(values[int(shell)], abs=6e-4)
    assert "gumnet average" in html


def test_a_script_reads_the_same_values_as_people(
    simulated: Path, averaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    out = tmp_path / "out"
    assert main(["average", str(simulated / "truth.star"), "--out", str(out), "--iterations", "0", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["particles"], facts["half_sets"], facts["box"]) == (10, [5, 5], 16)
    assert (facts["voxel_size_angstrom"], facts["iterations"], facts["folder"]) == (20.0, 0, str(out))
    html = (averaged / "report.html").read_text(encoding="utf-8")
    value = "2 voxels" if facts["resolution_angstrom"] is None else f"{facts['resolution_angstrom']:.1f} Å"
    assert f"<dd>{value}" in html
    assert (out / "report.html").is_file()


def test_a_mask_shows_the_correlation_with_it_and_without(simulated: Path, averaged: Path, tmp_path: Path) -> None:
    write_map(tmp_path / "mask.mrc", soft_sphere(16, radius=3, edge=5), 20.0)
    out = tmp_path / "out"
    arguments = ["--iterations", "0", "--mask", str(tmp_path / "mask.mrc")]
    assert main(["average", str(simulated / "truth.star"), "--out", str(out), *arguments]) == 0
    halves = [read_map(out / name)[0] for name in ("half1.mrc", "half2.mrc")]
    assert torch.equal(halves[0], read_map(averaged / "half1.mrc")[0]), "it does not touch the maps"
    mask = soft_sphere(16, radius=3, edge=5)
    found = phase_randomisation(torch.stack(halves), mask, voxel_size_angstrom=20.0, generator=seeded(0))
    expected = torch.minimum(found.masked, found.corrected)
    assert read_star(out / "fsc.star")["fsc"]["rlnFourierShellCorrelation"].tolist() == pytest.approx(
        expected.tolist(), abs=1e-4
    )
    html = (out / "report.html").read_text(encoding="utf-8")
    assert "half maps in mask" in html
    assert "half maps, no mask" in html
    assert "no mask" not in (averaged / "report.html").read_text(encoding="utf-8")


def test_average_refines_from_an_initial_map(simulated: Path, tmp_path: Path) -> None:
    initial = simulated / "truth_structures" / "structure_1.mrc"
    out = tmp_path / "out"
    arguments = ["--initial", str(initial), "--iterations", "1", "--no-refine", "--method", "auto"]
    assert main(["average", str(simulated), "--out", str(out), *arguments]) == 0
    found = read_particles(out / "particles.star").poses.rotations
    truth = read_truth(simulated)[0].rotations
    assert torch.linalg.matrix_norm(found - truth).median() < 0.6, "nearer than the grid is coarse"
    assert "Convergence" not in (out / "report.html").read_text(encoding="utf-8"), "one iteration has no curve"


def test_average_refuses_what_is_wrong_and_leaves_nothing(
    simulated: Path, averaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_map(tmp_path / "small.mrc", torch.randn(8, 8, 8), 20.0)
    write_map(tmp_path / "density.mrc", soft_sphere(16, radius=3, edge=5) * 2 - 0.5, 20.0)
    new = ["--out", str(tmp_path / "new")]
    capsys.readouterr()
    for arguments, words in (
        ([str(simulated), "--out", str(averaged)], "--overwrite"),
        ([str(simulated), *new, "--symmetry", "X7"], "point group"),
        ([str(simulated), *new, "--iterations", "-1"], "iterations"),
        ([str(simulated), *new, "--seed", "-1"], "--seed -1"),
        ([str(simulated), *new, "--low-pass", "39"], "--low-pass 39"),
        ([str(simulated), *new, "--max-shift", "8.5"], "--max-shift 8.5"),
        (
            [str(simulated), *new, "--mask", str(tmp_path / "density.mrc")],
            "density.mrc: its values go from -0.5 to 1.5",
        ),
        ([str(simulated), *new, "--mask", str(tmp_path / "small.mrc")], "mask"),
        ([str(simulated), *new, "--initial", str(tmp_path / "small.mrc")], "small.mrc: its box is 8"),
        ([str(tmp_path / "none"), *new], "none"),
    ):
        assert main(["average", *arguments]) == 2, arguments
        line = capsys.readouterr().err
        assert line.startswith("gumnet: error: ")
        assert line.count("\n") == 1
        assert words in line
    assert {path.name for path in tmp_path.iterdir()} == {"small.mrc", "density.mrc"}


def test_demo_runs_and_says_where_to_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    tiny = [
        "--pairs",
        "1",
        "--particles",
        "6",
        "--particle-snr",
        "10",
        "--box",
        "16",
        "--iterations",
        "2",
        "--seed",
        "3",
    ]
    assert main(["demo", "--out", str(out), *tiny]) == 0
    text = capsys.readouterr().out
    assert str(out / "report.html") in text
    assert "gumnet average particles.star" in text
    assert {path.name for path in (out / "average").iterdir()} == FILES
    assert (out / "overview.png").stat().st_size < 150_000
    html = (out / "report.html").read_text(encoding="utf-8")
    assert len(html) < 2_000_000
    assert f"gumnet demo --out {out} {' '.join(tiny)}" in html
    for value in re.findall(r"^(?:Resolution|Rotation).*?  +(.+?) *$", text, flags=re.MULTILINE):
        assert f"<dd>{value}</dd>" in html, "terminal and page agree"
    assert main(["info", str(out / "pairs_aligned.star"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["particles"] == 1
    assert main(["demo", "--out", str(out), *tiny]) == 2
    assert "--overwrite" in capsys.readouterr().err
