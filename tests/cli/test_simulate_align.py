"""``gumnet simulate``, ``align`` and ``info`` on small data, end to end through the files."""

from __future__ import annotations

import inspect
import json
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gumnet.alignment.to_reference import AlignConfig
from gumnet.averaging.mask import soft_sphere
from gumnet.cli.main import main
from gumnet.cli.simulate import simulate
from gumnet.evaluation.metrics import pair_errors
from gumnet.geometry.so3 import rotation_from_vector
from gumnet.io.mrc import read_map, write_map
from gumnet.io.read import read_particles
from gumnet.io.relion_write import write_particles
from gumnet.io.star import read_star
from gumnet.particles import Particles, Poses
from gumnet.simulation.config import SimulationConfig
from gumnet.simulation.folder import read_truth
from tests.cli.conftest import SMALL


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    text = capsys.readouterr().err
    assert text.startswith("gumnet: error: ")
    assert text.count("\n") == 1
    return text


def test_defaults_of_the_command_are_those_of_the_library() -> None:
    renamed = {
        "voxel_size": "voxel_size_angstrom",
        "tilt_max": "tilt_max_degrees",
        "tilt_step": "tilt_step_degrees",
        "defocus": "defocus_um",
        "voltage": "voltage_kv",
        "spherical_aberration": "spherical_aberration_mm",
        "envelope": "envelope_of_nyquist",
    }
    inverted = {"sub_voxel_shifts": "whole_voxel_shifts", "no_ctf": "ctf"}
    config, seen = SimulationConfig(), {"seed"}
    for name, parameter in inspect.signature(simulate).parameters.items():
        field = renamed.get(name) or inverted.get(name) or name
        if not hasattr(config, field):
            continue
        seen.add(field)
        default = not parameter.default if name in inverted else parameter.default
        assert default == getattr(config, field), name
    assert seen == {entry.name for entry in fields(config)}, "every setting has an option"


def test_simulated_folder_holds_what_was_asked_for(pairs: Path) -> None:
    for name in ("particles.star", "volumes.mrcs", "truth.star", "pairs.csv"):
        assert (pairs / name).is_file(), name
    read = read_particles(pairs)
    assert (len(read), read.box, read.voxel_size_angstrom) == (4, 20, 16.0)
    assert torch.equal(read.poses.rotations, torch.eye(3, dtype=torch.float64).expand(4, 3, 3)), "no truth in here"


def test_seed_decides_the_bytes(particles: Path, tmp_path: Path) -> None:
    structure = str(particles / "truth_structures" / "structure_1.mrc")
    volumes = []
    for name, seed in (("one", "5"), ("same", "5"), ("other", "6")):
        out = tmp_path / name
        assert main(["simulate", structure, "--out", str(out), "--particles", "2", *SMALL, "--seed", seed]) == 0
        volumes.append((out / "volumes.mrcs").read_bytes()[1024:])
    assert volumes[0] == volumes[1] != volumes[2]


def test_pairs_are_aligned_to_the_truth(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "pairs.star"
    assert main(["align", str(pairs), "--pairs", str(pairs / "pairs.csv"), "--out", str(out)]) == 0
    assert "2 poses" in capsys.readouterr().out
    truth, _ = read_truth(pairs)
    aligned = read_particles(out)
    errors = pair_errors(aligned.poses, truth[[1, 3]].compose(truth[[0, 2]].inverse()))
    assert float(errors.degrees.max()) < 3
    assert float(errors.shifts.max()) < 0.5
    assert aligned.table is not None
    names = read_star(pairs / "particles.star")["particles"]["rlnTomoParticleName"]
    assert list(aligned.table["rlnReferenceImage"]) == [names[0], names[2]]
    assert list(aligned.table["rlnTomoParticleName"]) == [names[1], names[3]]


def test_particles_are_aligned_to_a_reference(particles: Path, tmp_path: Path) -> None:
    out = tmp_path / "aligned.star"
    reference = particles / "truth_structures" / "structure_1.mrc"
    assert main(["align", str(particles), "--reference", str(reference), "--out", str(out)]) == 0
    errors = pair_errors(read_particles(out).poses, read_truth(particles)[0])
    assert float(errors.degrees.max()) < 3
    assert main(["align", str(particles), "--reference", str(reference), "--out", str(out)]) == 2
    arguments = ["--reference", str(reference), "--out", str(out), "--overwrite", "--local", "--no-refine"]
    assert main(["align", str(particles), *arguments]) == 0


@pytest.fixture(scope="module")
def reference(particles: Path) -> Path:
    return particles / "truth_structures" / "structure_1.mrc"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the configs that reach the library, which is not run: every pose is the identity, half of them sure."""
    configs: list[Any] = []

    def stand_in(particles: Particles, reference: torch.Tensor, config: Any, **_: Any) -> tuple[Particles, tuple[()]]:
        configs.append(config)
        n = len(particles)
        sure = torch.tensor([0.95, 0.9, 0.2], dtype=torch.float64)[:n]
        poses = replace(Poses.identity(n), scores=sure, confidences=sure if config.refine else None)
        return particles.with_poses(poses), ()

    monkeypatch.setattr("gumnet.alignment.to_reference.align_tolerantly", stand_in)
    return configs


def test_all_that_the_command_is_told_reaches_the_library(
    particles: Path, reference: Path, tmp_path: Path, seen: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    mask = tmp_path / "mask.mrc"
    write_map(mask, soft_sphere(20, 5.0, 2.0), 16.0)
    out = ["--out", str(tmp_path / "out.star"), "--overwrite"]
    given = ["--symmetry", "d2", "--max-shift", "3", "--low-pass", "40", "--high-pass", "150", "--mask", str(mask)]
    given += ["--local", "--cone", "30", "--in-plane", "180", "--memory", "1.5", "--device", "cpu"]
    given += ["--match-spectrum"]
    capsys.readouterr()
    assert main(["align", str(particles), "--reference", str(reference), *out, *given]) == 0
    assert "3 poses, mean score 0.683, lowest 0.200, 2 with a confidence of 0.9 or more: " in capsys.readouterr().out
    (config,) = seen
    assert torch.allclose(config.mask, soft_sphere(20, 5.0, 2.0))
    assert replace(config, mask=None) == AlignConfig(
        symmetry="d2",
        max_shift=3.0,
        low_pass_angstrom=40.0,
        high_pass_angstrom=150.0,
        local=True,
        cone_degrees=30.0,
        in_plane_degrees=180.0,
        memory_gigabytes=1.5,
        device="cpu",
        match_spectrum=True,
    )
    assert main(["align", str(particles), "--reference", str(reference), *out, "--no-refine"]) == 0
    assert "lowest 0.200: " in capsys.readouterr().out, "nothing is said of confidences where there are none"
    assert seen[1] == AlignConfig(refine=False, device="auto")


def test_a_script_reads_how_poses_came_out(
    particles: Path, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    out = tmp_path / "aligned.star"
    assert main(["align", str(particles), "--reference", str(reference), "--out", str(out), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    poses = read_particles(out).poses
    assert poses.confidences is not None
    assert facts == {
        "particles": 3,
        "mean_score": pytest.approx(float(poses.scores.mean()), abs=1e-6),
        "lowest_score": pytest.approx(float(poses.scores.min()), abs=1e-6),
        "method": "exhaustive",
        "confidence_at_least_0.9": int((poses.confidences >= 0.9).sum()),
        "file": str(out),
    }


def test_the_table_holds_how_sure_each_pose_is(particles: Path, reference: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.star"
    assert main(["align", str(particles), "--reference", str(reference), "--out", str(out)]) == 0
    poses = read_particles(out).poses
    assert poses.confidences is not None
    assert poses.spreads_degrees is not None
    assert ((poses.confidences >= 0) & (poses.confidences <= 1)).all()
    assert ((poses.spreads_degrees >= 0) & (poses.spreads_degrees <= 180)).all()


def test_a_turn_that_picking_did_not_know_is_found_about_the_direction_that_it_knew(
    particles: Path, reference: Path, tmp_path: Path
) -> None:
    picked, out = tmp_path / "picked.star", tmp_path / "out.star"
    truth = read_truth(particles)[0]
    turn = rotation_from_vector(torch.tensor([0.0, 0.0, 2.0], dtype=torch.float64))
    write_particles(picked, read_particles(particles).with_poses(Poses.of(truth.rotations @ turn, truth.shifts)))
    near = ["--local", "--cone", "15", "--in-plane", "180", "--allow-outside"]
    assert main(["align", str(picked), "--reference", str(reference), "--out", str(out), *near]) == 0
    errors = pair_errors(read_particles(out).poses, truth)
    assert float(errors.degrees.max()) < 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--symmetry", "C3"], "--symmetry does not go with --pairs: the reference of a pair is a particle"),
        (["--mask", "m.mrc"], "--mask does not go with --pairs"),
        (["--match-spectrum"], "--match-spectrum does not go with --pairs"),
        (["--high-pass", "200"], "--high-pass does not go with --pairs"),
        (["--low-pass", "200"], "--low-pass does not go with --pairs"),
        (["--local"], "--local does not go with --pairs"),
        (["--skip-bad"], "--skip-bad does not go with --pairs"),
        (["--cone", "3"], "--cone does not go with --pairs"),
    ],
)
def test_what_has_no_meaning_for_pairs_is_refused_with_the_reason(
    given: list[str], words: str, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["align", str(pairs), "--pairs", str(pairs / "pairs.csv"), "--out", str(tmp_path / "o"), *given]) == 2
    assert words in error_line(capsys)


def test_skip_bad_lists_what_it_leaves_out(particles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "bad"
    shutil.copytree(particles, folder)
    with (folder / "volumes.mrcs").open("r+b") as file:
        file.seek(1024 + 20**3 * 4)
        file.write(b"\xff" * 20**3 * 4)
    reference = str(particles / "truth_structures" / "structure_1.mrc")
    out = tmp_path / "aligned.star"
    capsys.readouterr()
    assert main(["align", str(folder), "--reference", reference, "--out", str(out)]) == 2
    assert "NaN" in error_line(capsys)
    assert not out.exists()
    assert main(["align", str(folder), "--reference", reference, "--out", str(out), "--skip-bad"]) == 0
    list_path = tmp_path / "aligned_bad_particles.txt"
    assert f"left out 1 of 3 particles that cannot be read; they are listed in {list_path}\n" in capsys.readouterr().err
    assert len(read_particles(out)) == 2
    listed = list_path.read_text().splitlines()
    assert len(listed) == 2
    assert listed[1].startswith("2\t")
    assert "NaN" in listed[1]
    assert "--skip-bad" not in listed[1], "advice that has been followed"
    arguments = ["--iterations", "0", "--skip-bad"]
    assert main(["average", str(folder), "--out", str(tmp_path / "average"), *arguments]) == 0
    assert f"listed in {tmp_path / 'average' / 'bad_particles.txt'}\n" in capsys.readouterr().err
    assert (tmp_path / "average" / "bad_particles.txt").is_file()


def test_skip_bad_says_nothing_where_none_is_bad(
    particles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--iterations", "0", "--skip-bad"]
    assert main(["average", str(particles), "--out", str(tmp_path / "average"), *arguments]) == 0
    assert "left out" not in capsys.readouterr().err
    assert not (tmp_path / "average" / "bad_particles.txt").exists()


def test_outputs_are_refused_before_the_work_and_not_after(
    particles: Path,
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("hours of work begin")

    monkeypatch.setattr("gumnet.simulation.dataset.simulate", work)
    monkeypatch.setattr("gumnet.alignment.to_reference.align", work)
    # Tilt stacks are written with an optimisation set beside their table.
    (tmp_path / "out_optimisation_set.star").write_text("data_\n\n_rlnTomoParticlesFile other.star\n")
    (stacks,) = (shared_data / "real-tilt-particles").glob("*_optimisation_set.star")
    (reference,) = (shared_data / "real-tilt-particles").glob("*_reconstruct.mrc")
    capsys.readouterr()
    for arguments, words in (
        (["simulate", "--out", str(particles), "--particles", "1", *SMALL], str(particles)),
        (
            ["align", str(stacks), "--reference", str(reference), "--out", str(tmp_path / "out.star")],
            "out_optimisation_set.star: exists already",
        ),
    ):
        assert main(arguments) == 2, arguments
        assert words in error_line(capsys)


def test_wrong_input_is_one_line_with_a_cure(
    pairs: Path, particles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = str(particles / "truth_structures" / "structure_1.mrc")
    other_box, other_size, unsized = (tmp_path / name for name in ("box.mrc", "size.mrc", "unsized.mrc"))
    write_map(other_box, torch.randn(16, 16, 16), 16.0)
    write_map(other_size, read_map(Path(reference))[0], 12.0)
    write_map(unsized, torch.randn(16, 16, 16), 1.0)
    beyond, empty = tmp_path / "beyond.mrc", tmp_path / "empty.mrc"
    write_map(beyond, 2 * soft_sphere(20, 5.0), 16.0)
    write_map(empty, torch.zeros(20, 20, 20), 16.0)
    (tmp_path / "table.xyz").write_text("1 2 3\n")
    out = ["--out", str(tmp_path / "out.star")]
    to_map = ["align", str(particles), *out, "--reference", reference]
    simulated = ["simulate", "--out", str(tmp_path / "new"), *SMALL]
    cases = [
        (["align", str(particles), *out], "--reference"),
        ([*to_map, "--pairs", "p.csv"], "--pairs"),
        ([*to_map, "--model", "m.safetensors"], "--method gumnet"),
        ([*to_map, "--method", "gumnet", "--model", "m.safetensors"], "no such file"),
        (["align", str(particles), *out, "--reference", str(tmp_path / "none.mrc")], "none.mrc"),
        (["align", str(particles), *out, "--reference", str(other_box)], "box.mrc: its box is 16"),
        (["align", str(particles), *out, "--reference", str(other_size)], "size.mrc: its voxel size is 12"),
        ([*to_map, "--max-shift", "11"], "0 to 10 voxels"),
        ([*to_map, "--low-pass", "31"], "--low-pass 31"),
        ([*to_map, "--high-pass", "30"], "--high-pass 30 leaves nothing"),
        ([*to_map, "--cone", "20"], "add --local"),
        ([*to_map, "--in-plane", "20"], "add --local"),
        ([*to_map, "--local", "--cone", "190"], "cone of 190.0 degrees"),
        ([*to_map, "--local", "--in-plane", "nan"], "range in plane of nan degrees"),
        ([*to_map, "--local", "--cone", "20", "--method", "fa"], "'fa' does not search about poses"),
        ([*to_map, "--match-spectrum"], "3 particles are too few"),
        ([*to_map, "--match-spectrum", "--method", "fa"], "method 'fa' does not match spectra"),
        ([*to_map, "--symmetry", "X1"], "no point group 'X1'"),
        ([*to_map, "--memory", "0.1"], "0.1 GB of memory"),
        ([*to_map, "--mask", str(tmp_path / "no.mrc")], "no.mrc"),
        ([*to_map, "--mask", str(other_box)], "box.mrc: its box is 16"),
        ([*to_map, "--mask", str(other_size)], "size.mrc: its voxel s"),
        ([*to_map, "--mask", str(beyond)], "beyond.mrc: its values go"),
        ([*to_map, "--mask", str(empty)], "empty.mrc: the volume is constant, 0 everywhere"),
        ([*to_map, "--seed", "-1"], "--seed -1"),
        (["align", str(tmp_path / "none.star"), *out, "--reference", reference], "none.star"),
        (["align", str(tmp_path / "table.xyz"), *out, "--reference", reference], "unknown format .xyz"),
        (["align", str(particles), *out, "--pairs", str(tmp_path / "none.csv")], "none.csv"),
        (["align", str(pairs), *out, "--pairs", str(pairs / "pairs.csv"), "--skip-bad"], "--skip-bad"),
        (simulated, "--pairs and --particles"),
        ([*simulated, "--pairs", "1", "--particles", "1"], "--pairs and --particles"),
        ([*simulated, "--pairs", "0"], "give a number of 1 or more"),
        ([*simulated, "--pairs", "1", "--tilt-max", "95"], "tilt_max_degrees"),
        ([*simulated, "--pairs", "1", "--defocus", "nan"], "defocus_um"),
        ([*simulated, "--pairs", "1", "--spherical-aberration", "inf"], "spherical_aberration_mm"),
        (["simulate", str(unsized), "--out", str(tmp_path / "new"), "--pairs", "1"], "--map-voxel-size"),
        (["simulate", "--out", str(particles), "--particles", "1", *SMALL], "--overwrite"),
        (["info", str(tmp_path)], "particles.star"),
        (["info", str(tmp_path / "none.mrc")], "none.mrc"),
        (["info", str(tmp_path / "none.xyz")], "none.xyz: no such file"),
        (["info", str(tmp_path / "table.xyz")], "unknown format .xyz; known are tables of RELION"),
    ]
    capsys.readouterr()
    for arguments, words in cases:
        assert main(arguments) == 2, arguments
        line = error_line(capsys)
        assert words in line, arguments
        assert "; " in line, "a cure follows the problem"
    assert not (tmp_path / "out.star").exists()
    assert not (tmp_path / "new").exists()
