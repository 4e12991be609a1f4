"""The folder of a simulation: what is read back is what was made, and the truth is in its own files."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from gumnet.cli.main import main
from gumnet.errors import InputError
from gumnet.io.mrc import read_map
from gumnet.io.read import read_particles
from gumnet.io.star import read_star
from gumnet.simulation import Simulation, SimulationConfig, phantoms, read_pairs, read_truth, simulate, write_simulation

CONFIG = SimulationConfig(box=16, max_shift=2.0, whole_voxel_shifts=False, voxel_size_angstrom=8.0)


@pytest.fixture(scope="module")
def made() -> Simulation:
    return simulate(phantoms(2, 16), pairs=3, config=CONFIG)


@pytest.fixture(scope="module")
def folder(made: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("simulated") / "out"
    write_simulation(path, made)
    return path


def test_particles_come_back(made: Simulation, folder: Path) -> None:
    particles = read_particles(folder)
    assert len(particles) == 6
    assert particles.voxel_size_angstrom == 8.0
    torch.testing.assert_close(particles.read_volumes(range(6)), made.particles.read_volumes(range(6)))
    weights, expected = particles.read_weights(range(6)), made.particles.read_weights(range(6))
    assert weights is not None
    assert expected is not None
    torch.testing.assert_close(weights, expected)


def test_ctf_files_hold_what_relion_squares(tmp_path: Path) -> None:
    """The file is the root of the weights, with flag 1: RELION 3.1 and gumnet get the weights by squaring it."""
    config = SimulationConfig(box=16, max_shift=2.0, ctf_in_weights=True, voxel_size_angstrom=8.0)
    simulated = simulate(phantoms(1, 16), particles=2, config=config)
    write_simulation(tmp_path / "out", simulated)
    expected = simulated.particles.read_weights([0, 1])
    weights = read_particles(tmp_path / "out").read_weights([0, 1])
    assert weights is not None
    assert expected is not None
    assert ((expected > 0.01) & (expected < 0.99)).sum() > 100  # not a binary wedge
    torch.testing.assert_close(weights, expected, atol=0, rtol=5e-7)
    with mrcfile.open(tmp_path / "out" / "weights_1.mrc") as file:
        ctf = torch.from_numpy(np.array(file.data))
    torch.testing.assert_close(ctf.double().square(), expected[0].double(), atol=0, rtol=2e-7)
    assert read_star(tmp_path / "out" / "particles.star")["optics"]["rlnCtfDataAreCtfPremultiplied"].tolist() == [1]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], (300.0, 2.7, 0.07)),
        (
            ["--voltage", "200", "--spherical-aberration", "1.4", "--amplitude-contrast", "0.2"],
            (200.0, 1.4, 0.2),
        ),
    ],
)
def test_tables_tell_the_simulated_microscope(
    tmp_path: Path, arguments: list[str], expected: tuple[float, float, float]
) -> None:
    small = ["--particles", "1", "--box", "16", "--max-shift", "2", "--phantoms", "1"]
    assert main(["simulate", "--out", str(tmp_path / "out"), *small, *arguments]) == 0
    for name in ("particles.star", "truth.star"):
        optics = read_star(tmp_path / "out" / name)["optics"]
        columns = ["rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"]
        assert tuple(optics[columns].iloc[0]) == pytest.approx(expected, rel=1e-6)


def test_truth_comes_back(made: Simulation, folder: Path) -> None:
    poses, classes = read_truth(folder)
    torch.testing.assert_close(poses.rotations, made.truth.rotations, atol=1e-7, rtol=0)
    torch.testing.assert_close(poses.shifts, made.truth.shifts, atol=1e-6, rtol=0)
    assert torch.equal(classes, made.truth_classes)
    structure, size = read_map(folder / "truth_structures" / "structure_2.mrc")
    assert size == 8.0
    torch.testing.assert_close(structure, made.structures[1])


def test_pairs_come_back(made: Simulation, folder: Path) -> None:
    assert made.pairs is not None
    assert torch.equal(read_pairs(folder / "pairs.csv", 6), made.pairs)
    assert torch.equal(read_pairs(folder, 6), made.pairs)
    assert (folder / "pairs.csv").read_text().splitlines()[:2] == ["a,b", "1,2"]


def test_particle_table_holds_no_truth(folder: Path) -> None:
    particles = read_particles(folder)
    assert torch.equal(particles.poses.rotations, torch.eye(3, dtype=torch.float64).expand(6, 3, 3))
    assert not particles.poses.shifts.any()
    assert not particles.classes.any()
    text = (folder / "particles.star").read_text()
    assert "rlnClassNumber" not in text
    assert str(folder) not in text  # it can be moved


def test_same_simulation_same_bytes(made: Simulation, folder: Path, tmp_path: Path) -> None:
    write_simulation(tmp_path / "again", made)
    for name in ("particles.star", "truth.star", "pairs.csv", "volumes.mrcs", "weights_1.mrc"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_existing_folder_is_refused_or_replaced(made: Simulation, tmp_path: Path) -> None:
    write_simulation(tmp_path / "out", made)
    with pytest.raises(InputError, match="--overwrite"):
        write_simulation(tmp_path / "out", made)
    particles = simulate(made.structures, particles=2, config=CONFIG)
    write_simulation(tmp_path / "out", particles, overwrite=True)
    assert len(read_particles(tmp_path / "out")) == 2
    assert not (tmp_path / "out" / "pairs.csv").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "column 'a' is missing, found none"),
        ("a,c\n1,2\n", "column 'b' is missing, found a, c"),
        ("a,b\n", "no pairs"),
        ("a,b\n1,x\n", "line 2: b is 'x'"),
        ("a,b\n1\n", "line 2: b is None"),
        ("a,b\n1,2\n0,3\n", "line 3: a is 0, but there are 6"),
        ("a,b\n7,2\n", "line 2: a is 7, but there are 6"),
    ],
)
def test_bad_pairs_are_one_line(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=problem) as caught:
        read_pairs(path, 6)
    assert str(caught.value).startswith(str(path))


def test_missing_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_pairs(tmp_path / "none.csv", 6)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InputError, match="not a CSV"):
        read_pairs(tmp_path / "binary.csv", 6)
    with pytest.raises(InputError, match="truth is not known"):
        read_truth(tmp_path)
