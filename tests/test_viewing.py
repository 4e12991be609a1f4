"""Scripts for other viewers give them what lies in the data: napari is played by a stand-in that keeps what it gets."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from oracles.averages import full_average
from oracles.gaussians import CENTRES
from oracles.tomograms import tomogram, write_tomogram

from gumnet.geometry.rigid import relion_from_matrix
from gumnet.geometry.so3 import random_rotations
from gumnet.io.star import write_star
from gumnet.report.average_files import write_average

PAGE = (Path(__file__).parents[1] / "docs" / "viewing.md").read_text(encoding="utf-8")
VOXEL_ANGSTROM = 8.0
PLACES = torch.tensor([[20.0, 14, 12], [44, 30, 15], [25, 40, 20]], dtype=torch.float64)


class Viewer:
    """Keeps layers by name, as napari would show them."""

    shown: ClassVar[dict[str, Any]] = {}

    def __init__(self, ndisplay: int = 2) -> None:
        Viewer.shown = {}

    def _add(self, data: Any, *, name: str, **settings: Any) -> SimpleNamespace:
        Viewer.shown[name] = SimpleNamespace(data=data, **settings)
        return Viewer.shown[name]

    add_image = add_points = add_vectors = _add


@pytest.fixture
def rotations(generator: torch.Generator) -> torch.Tensor:
    return random_rotations(3, generator=generator).double()


@pytest.fixture
def project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rotations: torch.Tensor, generator: torch.Generator
) -> Path:
    """A folder with a tomogram of known particles, their table, and maps; napari is the stand-in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "napari", SimpleNamespace(Viewer=Viewer, run=lambda: None))
    Path("tomograms").mkdir()
    write_tomogram(Path("tomograms/TS_01.mrc"), tomogram((32, 56, 64), PLACES, rotations), VOXEL_ANGSTROM)
    Path("average").mkdir()
    write_average(Path("average"), full_average(generator))
    angles, origins = relion_from_matrix(rotations), torch.tensor([[8.0, 0, 0]] * 3)
    coordinates = PLACES + origins / VOXEL_ANGSTROM  # the particle is at coordinate - origin
    table = pd.DataFrame(
        {
            **{f"rlnCoordinate{axis}": coordinates[:, i].numpy() for i, axis in enumerate("XYZ")},
            **{f"rlnOrigin{axis}Angst": origins[:, i].numpy() for i, axis in enumerate("XYZ")},
            **{f"rlnAngle{name}": angles[:, i].numpy() for i, name in enumerate(("Rot", "Tilt", "Psi"))},
            "rlnMicrographName": ["TS_01"] * 3,
            "gumnetScore": [0.1, 0.2, 0.3],
            "gumnetConfidence": [0.2, 0.9, 0.6],
            "rlnOpticsGroup": [1] * 3,
        }
    )
    optics = pd.DataFrame({"rlnOpticsGroup": [1], "rlnOpticsGroupName": ["a"], "rlnImagePixelSize": [VOXEL_ANGSTROM]})
    write_star(Path("average/particles.star"), {"optics": optics, "particles": table}, overwrite=True)
    return tmp_path


def scripts(title: str) -> list[str]:
    """Return the Python of the page with a title."""
    return re.findall(rf'^```python title="{title}"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)


def test_napari_gets_maps_in_angstrom_and_shows_the_map_alone(project: Path) -> None:
    exec(scripts("napari")[0], {})
    assert list(Viewer.shown) == ["half1", "half2", "map"]
    assert [layer.visible for layer in Viewer.shown.values()] == [False, False, True]
    for layer in Viewer.shown.values():
        assert layer.scale == [10.0] * 3
        assert np.mean(layer.data > layer.iso_threshold) == pytest.approx(0.03, abs=0.002)


def test_napari_gets_points_on_the_particles_and_vectors_along_their_axes(
    project: Path, rotations: torch.Tensor
) -> None:
    exec(scripts("napari")[1], {})
    image, points, vectors = (Viewer.shown[name] for name in ("TS_01", "particles", "z axis"))
    assert image.scale == points.scale == vectors.scale == [VOXEL_ANGSTROM] * 3
    for place, rotation in zip(points.data, rotations, strict=True):
        # Each of its blobs lies where rotation and place say, in the image's own indices.
        for blob in torch.tensor(CENTRES, dtype=torch.float64):
            voxel = np.rint(place + (rotation @ blob).flip(0).numpy()).astype(int)
            assert image.data[tuple(voxel)] > 0.3 * image.data.max()
    assert np.allclose(vectors.data[:, 0], points.data)
    assert np.allclose(vectors.data[:, 1], rotations[:, :, 2].flip(1))
    assert points.features["confidence"].tolist() == pytest.approx([0.2, 0.9, 0.6])


def test_chimerax_gets_markers_on_the_particles(project: Path) -> None:
    exec(scripts("needs data")[0], {})
    markers = ET.parse("TS_01.cmm").getroot()
    places = [[float(marker.attrib[axis]) for axis in "xyz"] for marker in markers]
    assert np.allclose(places, PLACES.numpy() * VOXEL_ANGSTROM, atol=1e-3)
