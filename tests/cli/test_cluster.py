"""``gumnet cluster`` on small data: files, page and terminal agree; it stops, goes on and refuses as it should."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from gumnet.cli.main import main
from gumnet.clustering import searched
from gumnet.evaluation.partition import adjusted_rand_index
from gumnet.io.mrc import read_map
from gumnet.io.read import read_particles
from gumnet.io.relion_write import write_particles
from gumnet.journal import journal_path
from gumnet.simulation.folder import read_truth

OUTPUTS = {
    "class_001.mrc",
    "class_002.mrc",
    "particles.star",
    "distances.npz",
    "dendrogram.png",
    "dendrogram.svg",
    "report.html",
}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "particles"
    small = ["--box", "16", "--voxel-size", "20", "--max-shift", "1", "--snr", "100", "--phantoms", "2", "--seed", "6"]
    assert main(["simulate", "--out", str(folder), "--particles", "8", *small]) == 0
    return folder


@pytest.fixture(scope="module")
def classes(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the classes at the true poses."""
    out = tmp_path_factory.mktemp("classes") / "out"
    assert main(["cluster", str(simulated / "truth.star"), "--method", "poses", "--out", str(out)]) == 0
    return out


def test_a_script_reads_the_classes(simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    out = tmp_path / "out"
    call = ["cluster", str(simulated / "truth.star"), "--method", "poses", "--k", "2", "--out", str(out), "--json"]
    assert main(call) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["particles"], facts["pairs"], facts["k"], facts["folder"]) == (8, 28, 2, str(out))
    sizes = torch.bincount(read_particles(out / "particles.star").classes, minlength=3)[1:].tolist()
    assert [one["particles"] for one in facts["classes"]] == sizes
    assert facts["classes"][0]["score_within"] > facts["classes"][0]["score_to_others"]


def test_cluster_writes_all_of_its_files(classes: Path, simulated: Path) -> None:
    assert {path.name for path in classes.iterdir()} == OUTPUTS
    assert [path.name for path in classes.parent.iterdir()] == ["out"], "nothing is left beside it"
    found, (_, truth) = read_particles(classes / "particles.star"), read_truth(simulated)
    assert adjusted_rand_index(found.classes, truth) == 1
    assert read_map(classes / "class_001.mrc")[1] == 20.0
    with np.load(classes / "distances.npz", allow_pickle=False) as file:
        assert file["distances"].shape == (28,)
        assert file["distances"].dtype == np.float32
        assert file["names"].tolist() == list(found.names)
        assert file["classes"].tolist() == found.classes.tolist()
        assert file["tree"].shape == (7, 4)
    assert (classes / "dendrogram.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (classes / "dendrogram.svg").read_text(encoding="utf-8")


def test_report_and_terminal_say_the_same(
    classes: Path, simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    out = str(tmp_path / "<b>new")
    arguments = ["--method", "poses", "--k", "2", "--out", out, "--distances", str(classes / "distances.npz")]
    assert main(["cluster", str(simulated / "truth.star"), *arguments]) == 0
    printed = capsys.readouterr().out
    html = (tmp_path / "<b>new" / "report.html").read_text(encoding="utf-8")
    rows = re.findall(r'<th scope="row">(\d)</th>' + r"<td>([^<]*)</td>" * 5, html)
    assert [row[0] for row in rows] == ["1", "2"]
    for row in rows:
        assert re.search(r"\s+".join(map(re.escape, row)), printed)
    assert "<b>new" not in html, "what the user names is text"
    assert "gumnet cluster" in html
    assert [path.name for path in tmp_path.iterdir()] == ["<b>new"]


def test_a_run_that_was_stopped_goes_on(
    simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    few = tmp_path / "few.star"
    write_particles(few, read_particles(simulated).select([0, 1, 2, 3]))
    call = ["cluster", str(few), "--k", "2", "--no-refine", "--max-shift", "2", "--out", str(out)]
    call.append("--allow-outside")
    monkeypatch.setattr(searched, "PAIRS_A_BLOCK", 2)
    with monkeypatch.context() as patch:
        rows = searched.SearchedScores.rows

        def stopping(self: searched.SearchedScores, first: int, *rest: object) -> torch.Tensor:
            if first >= 1:
                raise KeyboardInterrupt
            return rows(self, first, *rest)  # type: ignore[arg-type]

        patch.setattr(searched.SearchedScores, "rows", stopping)
        assert main(call) == 130
    assert journal_path(out).exists()
    assert not out.exists()
    capsys.readouterr()
    assert main(call) == 2
    assert "--resume" in capsys.readouterr().err
    for other, words in (
        (["--method", "ht"], "the run began with --method exhaustive, now it is ht"),
        (["--low-pass", "60"], "the run began with --low-pass not given, now it is 60.0"),
    ):
        assert main([*call, *other, "--resume"]) == 2
        assert words in capsys.readouterr().err
    write_particles(few, read_particles(simulated).select([1, 0, 2, 3]), overwrite=True)
    assert main([*call, "--resume"]) == 2
    assert "the particles changed since the run began" in capsys.readouterr().err
    write_particles(few, read_particles(simulated).select([0, 1, 2, 3]), overwrite=True)
    # Another linkage makes another tree of the same distances.
    assert main([*call, "--linkage", "average", "--resume"]) == 0
    assert {path.name for path in out.iterdir()} == OUTPUTS
    assert main([*call, "--resume"]) == 2
    assert "not empty" in capsys.readouterr().err
    assert {path.name for path in out.iterdir()} == OUTPUTS, "what was there is there"


def test_overwriting_leaves_no_class_of_before(classes: Path, simulated: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call = ["cluster", str(simulated / "truth.star"), "--method", "poses", "--out", str(out)]
    assert main([*call, "--k", "3"]) == 0
    (out / "class_003_mine.mrc").write_text("mine")
    assert (out / "class_003.mrc").exists()
    assert main([*call, "--k", "2", "--overwrite"]) == 0
    assert {path.name for path in out.iterdir()} == {*OUTPUTS, "class_003_mine.mrc"}


def test_cluster_refuses_what_is_wrong_and_leaves_nothing(
    simulated: Path, classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = ["--out", str(tmp_path / "new")]
    other = ["--distances", str(classes / "distances.npz"), "--resume"]
    capsys.readouterr()
    for arguments, words in (
        ([str(simulated), "--out", str(classes)], "--overwrite"),
        ([str(simulated), *new, "--k", "9"], "9 classes of 8"),
        ([str(simulated), *new, "--k", "0"], "0 classes"),
        ([str(simulated), *new, "--linkage", "median"], "median"),
        ([str(simulated), *new, "--max-shift", "8.5"], "--max-shift 8.5"),
        ([str(simulated), *new, "--low-pass", "39"], "--low-pass 39"),
        ([str(simulated), *new, *other], "leave out one"),
        ([str(simulated), *new, "--distances", str(simulated / "particles.star")], "cannot be read"),
        ([str(tmp_path / "none"), *new], "none"),
    ):
        assert main(["cluster", *arguments]) == 2, arguments
        line = capsys.readouterr().err
        assert line.startswith("gumnet: error: ")
        assert line.count("\n") == 1
        assert words in line
        assert not list(tmp_path.iterdir()), arguments


def test_a_table_without_poses_is_pointed_out(
    simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["cluster", str(simulated), "--method", "poses", "--k", "2", "--out", str(tmp_path / "out")]) == 0
    assert "holds no poses" in capsys.readouterr().err
