from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gumnet.cli.main import main
from gumnet.errors import InputError
from gumnet.io.mrc import write_map
from gumnet.io.outside import check_inside
from gumnet.io.read import read_particles


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder in which nothing lies."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    "name", ["a.mrc", "3@a.mrcs", "sub/a.mrc", "sub/../a.mrc", "{project}/job/a.mrc", "2@{project}/job/sub/a.mrc"]
)
def test_names_that_stay_in_the_project(name: str, elsewhere: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    check_inside([name.format(project=project)], project, project / "job" / "p.star")


@pytest.mark.parametrize(
    "name",
    [
        "../a.mrc",
        "1@sub/../../a.mrc",
        "/etc/a.mrc",
        "{project}/a.mrc",
        "{project}/job/../a.mrc",
        "{project}/jobs/a",
        "1@../me@home/a.mrc",
        "1@/home/me@home/a.mrc",
    ],
)
def test_names_that_lead_out_are_said_with_their_row(name: str, elsewhere: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    bad = name.format(project=project)
    with pytest.raises(InputError, match=r"row 2 names .* outside the project folder .* add --allow-outside"):
        check_inside(["a.mrc", bad], project, project / "job" / "p.star")


def test_the_current_folder_is_the_project_of_the_tables_below_it(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, name = tmp_path / "project" / "job" / "p.star", str(tmp_path / "project" / "raw" / "a.mrc")
    with pytest.raises(InputError, match="outside"):
        check_inside([name], table.parent, table)
    monkeypatch.chdir(tmp_path)
    check_inside([name], table.parent, table)


@pytest.mark.parametrize("column", ["rlnImageName", "rlnCtfImage"])
def test_commands_ask_before_they_read_elsewhere(
    column: str, elsewhere: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    images = {"rlnImageName": "a.mrc", "rlnCtfImage": "ctf.mrc"}
    for name, volume in (("a.mrc", torch.randn(8, 8, 8)), ("ctf.mrc", torch.ones(8, 8, 5))):
        write_map(project / name, volume, 4.0)
    images[column] = str((project / images[column]).rename(tmp_path / "secret.mrc"))
    table = project / "p.star"
    table.write_text("data_\n\nloop_\n" + "".join(f"_{name}\n" for name in images) + " ".join(images.values()) + "\n")
    command = ["pack", str(table), "--out", str(elsewhere / "store")]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert f"row 1 names {tmp_path / 'secret.mrc'}, which is outside the project folder {project}" in error
    assert main([*command, "--allow-outside"]) == 0
    assert len(read_particles(table)) == 1, "a program that calls the library says itself what it trusts"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.star", "data_\n\nloop_\n_rlnImageName\n_rlnAngleRot\n_rlnAngleTilt\n_rlnAnglePsi\n{} 0 0 0\n"),
        ("p.lst", "0\t{}\n"),
    ],
)
def test_options_that_say_what_a_table_does_not_open_no_way_out(
    name: str, text: str, elsewhere: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "project").mkdir()
    write_map(tmp_path / "secret.mrc", torch.randn(8, 8, 8), 4.0)
    table = tmp_path / "project" / name
    table.write_text(text.format(tmp_path / "secret.mrc"))
    command = ["pack", str(table), "--out", str(elsewhere / "store"), "--tilt-range", "-60", "60", "--voxel-size", "4"]
    assert main(command) == 2
    assert "secret.mrc, which is outside the project folder" in capsys.readouterr().err
    assert main([*command, "--allow-outside"]) == 0
