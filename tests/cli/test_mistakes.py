"""What newcomers do wrong: each of these once went on in silence, or left them without a way on."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from gumnet.cli.align_reference import _warn_of_a_map_that_may_not_fit
from gumnet.cli.main import main
from gumnet.io.mrc import read_map, write_map
from gumnet.particles import Poses


@pytest.fixture
def truth(particles: Path) -> Path:
    return next((particles / "truth_structures").glob("*.mrc"))


def align(particles: Path, tmp_path: Path, *options: str) -> int:
    return main(["align", str(particles), "--out", str(tmp_path / "out.star"), "--local", "--no-refine", *options])


def test_a_map_in_place_of_a_mask_is_refused(
    particles: Path, truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """RELION's maps are often scaled so that all values lie within a hundredth of 0, which a mask's may."""
    volume, size = read_map(truth)
    weak = tmp_path / "weak.mrc"
    write_map(weak, volume.clamp(min=0) / volume.max() / 100, size)
    assert align(particles, tmp_path, "--reference", str(truth), "--mask", str(weak)) == 2
    assert "its highest value is 0.01, that of a mask 1; give a mask, not a map" in capsys.readouterr().err


def test_a_map_of_another_box_is_refused_with_the_command_that_fits_it(
    particles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.mrc"
    write_map(other, torch.rand(24, 24, 24), 8.0)
    assert align(particles, tmp_path, "--reference", str(other)) == 2
    text = capsys.readouterr().err
    assert "its box is 24 voxels of 8 Angstrom, that of the particles 20 of 16" in text
    assert f"relion_image_handler --i {other} --o new.mrc --rescale_angpix 16 --new_box 20" in text


def test_a_reference_without_a_voxel_size_is_pointed_out(
    particles: Path, truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare.mrc"
    content = bytearray(truth.read_bytes())
    content[40:52] = bytes(12)  # the cell in Angstrom
    bare.write_bytes(content)
    assert align(particles, tmp_path, "--reference", str(bare)) == 0
    assert f"{bare}: its header has no voxel size; that of the particles is taken, 16" in capsys.readouterr().err


@pytest.mark.parametrize(("confidences", "warned"), [([0.1] * 20, True), ([0.1] * 19 + [0.95], False), (None, False)])
def test_poses_of_which_hardly_one_is_sure_may_mean_a_map_of_the_wrong_hand(
    confidences: list[float] | None, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    poses = Poses.of(torch.eye(3).expand(20, 3, 3), torch.zeros(20, 3), torch.full((20,), math.pi))
    if confidences is not None:
        from dataclasses import replace

        poses = replace(poses, confidences=torch.tensor(confidences))
    _warn_of_a_map_that_may_not_fit(poses)
    assert ("hand" in capsys.readouterr().err) is warned


def test_more_classes_than_particles_are_refused_at_once(
    particles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["average", str(particles), "--out", str(tmp_path / "out"), "--classes", "2"]) == 2
    assert "2 classes of 3 particles are not possible" in capsys.readouterr().err


def test_a_folder_of_volumes_and_a_volume_are_no_table(
    particles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job").mkdir()
    for name in ("run_data.star", "run_optimisation_set.star"):
        (tmp_path / "job" / name).write_text("data_\n")
    assert main(["average", str(tmp_path / "job"), "--out", str(tmp_path / "out")]) == 2
    assert "for example run_optimisation_set.star, run_data.star" in capsys.readouterr().err
    assert main(["average", str(particles / "volumes.mrcs"), "--out", str(tmp_path / "out")]) == 2
    assert "these are volumes, and no table of particles" in capsys.readouterr().err


def test_info_says_that_other_commands_refuse_images_outside(
    particles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert align(particles, tmp_path, "--reference", str(next((particles / "truth_structures").glob("*.mrc")))) == 0
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["info", "out.star"]) == 0
    text = capsys.readouterr().out
    assert "images: all 3 there" in text
    assert "outside the project folder" in text
    assert "--allow-outside" in text


def test_a_converted_table_without_images_says_what_is_left_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "p.star"
    table.write_text("data_\n\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n1 2 3\n")
    assert main(["convert", str(table), str(tmp_path / "p.tbl"), "--tilt-range", "-60", "60"]) == 0
    back = tmp_path / "back.star"
    assert main(["convert", str(tmp_path / "p.tbl"), str(back), "--to", "relion5", "--voxel-size", "10"]) == 0
    assert "The table names no images: extract the particles" in capsys.readouterr().out
    assert main(["average", str(back), "--out", str(tmp_path / "out")]) == 2
    assert "names no images (column rlnImageName); extract the particles" in capsys.readouterr().err
