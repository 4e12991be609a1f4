"""The scripts for the paper's real data, on made-up files of the names and layout of EMPIAR-10045."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles.tomograms import tomogram, write_tomogram

import gumnet
from gumnet.cli.main import main
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.warp import warp
from gumnet.geometry.wedge import missing_wedge
from gumnet.io.mrc import write_map
from gumnet.simulation.phantom import phantom

PAGE = (Path(__file__).parents[1] / "docs" / "reproduce.md").read_text(encoding="utf-8")
PICKS, COMPARE = re.findall(r'^```python title="EMPIAR-10045"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
TILTS = {"05": (-60.0, 57.0), "11": (-58.0, 29.0)}


def test_picks_of_all_tomograms_are_extracted_with_the_tilts_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], generator: torch.Generator
) -> None:
    monkeypatch.chdir(tmp_path)
    places = torch.tensor([[20.0, 18, 16], [44, 30, 17]], dtype=torch.float64)
    for number, (low, high) in TILTS.items():
        stem = Path("Tomograms") / number / f"IS002_291013_0{number}"
        stem.parent.mkdir(parents=True)
        density = tomogram((34, 48, 64), places, random_rotations(2, generator=generator).double())
        noise = 0.01 * torch.randn(density.shape, generator=generator, dtype=torch.float64)
        write_tomogram(stem.with_suffix(".mrc"), noise - density, 2.28)
        stem.with_suffix(".tlt").write_text("\n".join(f"{tilt:.2f}" for tilt in np.linspace(low, high, 30)))
        stem.with_suffix(".coords").write_text("".join(f"{x:g}\t{y:g}\t{z:g}\n" for x, y, z in places.tolist()))
    exec(PICKS, {})
    assert capsys.readouterr().out == "4 picks in 2 tomograms\n"

    (line,) = re.findall(r"^gumnet extract picks.csv .*\n.*$", PAGE, re.MULTILINE)
    for number in ("06", "07", "08", "09", "10"):
        line = line.replace(f" Tomograms/{number}", "")
    words = shlex.split(line.replace("\\\n", " ").replace("--box 32 --bin 6", "--box 12 --bin 2"))
    assert main(words[1:]) == 0
    particles = gumnet.read_particles("ribosomes")
    assert particles.voxel_size_angstrom == pytest.approx(2 * 2.183)
    for row, (low, high) in enumerate(each for each in TILTS.values() for _ in places):
        assert torch.equal(particles.read_weights([row])[0], missing_wedge(12, high, low))
    capsys.readouterr()
    assert main(["info", "ribosomes"]) == 0
    assert "particles by tilts: 2 of -60 to 57, 2 of -58 to 29" in capsys.readouterr().out
    centre = particles.read_volumes(range(4))[:, 4:9, 4:9, 4:9].mean(dim=(1, 2, 3))
    assert bool((centre > 1).all()), "protein is bright, above the background's deviation of 1"


def test_an_average_that_lies_anyhow_is_put_on_the_structure_and_its_mirror_image_is_worse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], generator: torch.Generator
) -> None:
    monkeypatch.chdir(tmp_path)
    structure = phantom(1, 24, 10.0)
    shift = torch.tensor([[1.0, -1.5, 0.5]], dtype=torch.float64)
    rotation = random_rotations(1, generator=generator).double()
    lies = warp(structure[None].double(), rotation, shift, oversampling=2)[0]
    noisy = lies + 0.2 * lies.std() * torch.randn(lies.shape, generator=generator, dtype=torch.float64)
    Path("by-search").mkdir()
    write_map(Path("reference.mrc"), structure, 10.0)
    write_map(Path("by-search/map.mrc"), noisy, 10.0)
    exec(COMPARE, {})
    right, mirrored = (float(value) for value in re.findall(r": ([\d.]+) Å", capsys.readouterr().out))
    assert right < 25
    assert mirrored > 1.2 * right
