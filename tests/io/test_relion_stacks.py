"""2D tilt stacks: which tables are taken for them, and what the back-projection is given."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
import torch

from gumnet.errors import InputError
from gumnet.io.relion import relion_particles
from gumnet.io.relion_write import write_particles
from gumnet.particles import MemorySource, Source

GENERAL = "data_general\n\n_rlnTomoSubTomosAre2DStacks {}\n\n"
OPTICS = "data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnImagePixelSize\n_rlnImageDimensionality\n1 3.0 {}\n2 3.0 3\n\n"
PARTICLES = (
    "data_particles\n\nloop_\n_rlnImageName\n_rlnOpticsGroup\nExtract/1_stack2d.mrcs 1\nExtract/2_stack2d.mrcs {}\n"
)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Put a recorder in the place of the back-projection, and return what it is called with."""
    calls: list[Any] = []

    def sources(frame: pd.DataFrame, optics: pd.DataFrame, tomograms: Path, folder: Path) -> tuple[Source, Source]:
        calls.extend([frame, optics, tomograms, folder])
        return MemorySource(torch.ones(2, 4, 4, 4)), MemorySource(torch.ones(2, 4, 4, 3))

    for name, function, value in [
        ("gumnet.io.tilt_stack", "tilt_stack_sources", sources),
        ("gumnet.io.tomograms", "read_tomograms", lambda path: Path(path)),
    ]:
        module = ModuleType(name)
        setattr(module, function, value)
        monkeypatch.setitem(sys.modules, name, module)
    return calls


def _project(folder: Path, general: int, dimensions: int, group: int = 1) -> Path:
    (folder / "Extract").mkdir(exist_ok=True)
    (folder / "Extract" / "1_stack2d.mrcs").touch()
    (folder / "p.star").write_text(GENERAL.format(general) + OPTICS.format(dimensions) + PARTICLES.format(group))
    (folder / "tomograms.star").write_text("data_global\n\nloop_\n_rlnTomoName\na\n")
    return folder / "p.star"


@pytest.mark.parametrize(("general", "dimensions"), [(1, 2), (1, 3), (0, 2)])
def test_either_flag_makes_tilt_stacks(tmp_path: Path, given: list[Any], general: int, dimensions: int) -> None:
    particles = relion_particles(_project(tmp_path, general, dimensions))
    assert particles.box == 4
    frame, optics, tomograms, folder = given
    assert frame["rlnImageName"].tolist() == [str(tmp_path / "Extract" / f"{i}_stack2d.mrcs") for i in (1, 2)]
    assert optics["rlnImagePixelSize"].tolist() == [3.0, 3.0]
    assert tomograms == tmp_path / "tomograms.star"
    assert folder == tmp_path


def test_a_given_voxel_size_reaches_the_back_projection(tmp_path: Path, given: list[Any]) -> None:
    particles = relion_particles(_project(tmp_path, 1, 2), voxel_size_angstrom=2.5)
    assert particles.voxel_size_angstrom == 2.5
    assert given[1]["rlnImagePixelSize"].tolist() == [2.5, 2.5]


def test_what_is_written_finds_its_tomograms_again(tmp_path: Path, given: list[Any]) -> None:
    particles = relion_particles(_project(tmp_path, 1, 2))
    target = tmp_path / "Align" / "q.star"
    write_particles(target, particles)
    for path in (target, target.with_name("q_optimisation_set.star")):
        given.clear()
        relion_particles(path)
        assert given[2] == tmp_path / "tomograms.star"
        assert given[0]["rlnImageName"].tolist()[1] == str(tmp_path / "Extract" / "2_stack2d.mrcs")


def test_unknown_tomograms_and_mixtures_are_refused(tmp_path: Path, given: list[Any]) -> None:
    path = _project(tmp_path, 0, 2, group=2)
    with pytest.raises(InputError, match="rlnImageDimensionality is 2 for some particles and 3 for others"):
        relion_particles(path)
    path = _project(tmp_path, 1, 2)
    (tmp_path / "tomograms.star").unlink()
    with pytest.raises(InputError, match=r"p\.star: .*tomograms are not known; give the optimisation set"):
        relion_particles(path)
    assert not given
