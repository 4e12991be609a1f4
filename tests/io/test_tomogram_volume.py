from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from oracles.tomograms import write_tomogram

from gumnet.errors import InputError
from gumnet.io.tomogram_volume import is_zarr, open_tomogram

VALUES = np.arange(6 * 7 * 8, dtype=np.float32).reshape(6, 7, 8)
WINDOW = VALUES[1:4, 2:6, 3:8]


def pyramid(path: Path, attributes: dict[str, object], version: int) -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=version)
    group.create_array("0", data=VALUES, chunks=(4, 4, 4))
    group.create_array("1", data=VALUES[::2, ::2, ::2].copy(), chunks=(4, 4, 4))
    group.attrs.update(attributes)
    return path


def multiscales(unit: str | None, scale: float, axes: str = "zyx") -> list[dict[str, object]]:
    transform = [[{"type": "scale", "scale": [scale * 2**level] * len(axes)}] for level in (0, 1)]
    return [
        {
            "axes": [{"name": name, "type": "space", **({"unit": unit} if unit else {})} for name in axes],
            "datasets": [{"path": str(i), "coordinateTransformations": t} for i, t in enumerate(transform)],
        }
    ]


def test_windows_of_an_mrc_are_read_where_they_are(tmp_path: Path) -> None:
    tomo = open_tomogram(write_tomogram(tmp_path / "t.mrc", torch.from_numpy(VALUES), 7.5))
    assert (tomo.shape, tomo.voxel_size_angstrom) == ((6, 7, 8), 7.5)
    assert np.array_equal(tomo.read((1, 2, 3), (4, 6, 8)), WINDOW)
    assert tomo.read((0, 0, 0), (1, 1, 1)).flags.writeable
    assert open_tomogram(tmp_path / "t.mrc", voxel_size_angstrom=3.0).voxel_size_angstrom == 3.0


def test_a_tomogram_without_voxel_size_or_of_one_image_is_refused(tmp_path: Path) -> None:
    write_tomogram(tmp_path / "t.mrc", torch.from_numpy(VALUES), 1.0)
    with pytest.raises(InputError, match="does not say its voxel size; give it in Angstrom with --voxel-size"):
        open_tomogram(tmp_path / "t.mrc")
    write_tomogram(tmp_path / "image.mrc", torch.from_numpy(VALUES[:1]), 4.0)
    with pytest.raises(InputError, match="one image"):
        open_tomogram(tmp_path / "image.mrc")


@pytest.mark.parametrize("version", [2, 3])
def test_windows_of_a_zarr_array(tmp_path: Path, version: int) -> None:
    zarr.create_array(tmp_path / "t.zarr", data=VALUES[None], chunks=(1, 4, 4, 4), zarr_format=version)
    assert is_zarr(tmp_path / "t.zarr")
    tomo = open_tomogram(tmp_path / "t.zarr", voxel_size_angstrom=4.0)
    assert (tomo.shape, tomo.voxel_size_angstrom) == ((6, 7, 8), 4.0)
    assert np.array_equal(tomo.read((1, 2, 3), (4, 6, 8)), WINDOW)
    with pytest.raises(InputError, match="does not say its voxel size"):
        open_tomogram(tmp_path / "t.zarr")


@pytest.mark.parametrize(("unit", "scale"), [("angstrom", 10.0), ("nanometer", 1.0), ("micrometer", 1e-3)])
@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr_levels_and_units(tmp_path: Path, version: int, unit: str, scale: float) -> None:
    images = {"multiscales": multiscales(unit, scale)}
    path = pyramid(tmp_path / "t.zarr", images if version == 2 else {"ome": images}, version)
    fine, coarse = open_tomogram(path), open_tomogram(path, level=1)
    assert (fine.shape, coarse.shape) == ((6, 7, 8), (3, 4, 4))
    assert fine.voxel_size_angstrom == pytest.approx(10.0)
    assert coarse.voxel_size_angstrom == pytest.approx(20.0)
    assert np.array_equal(fine.read((1, 2, 3), (4, 6, 8)), WINDOW)
    assert np.array_equal(coarse.read((0, 0, 0), (3, 4, 4)), VALUES[::2, ::2, ::2])
    assert open_tomogram(path / "1", voxel_size_angstrom=20.0).shape == (3, 4, 4)
    with pytest.raises(InputError, match="no level 2, it holds 2; give --level 0 to 1"):
        open_tomogram(path, level=2)


def test_ome_zarr_without_a_unit_does_not_say_its_size(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "t.zarr", {"multiscales": multiscales(None, 10.0)}, 2)
    with pytest.raises(InputError, match="does not say its voxel size"):
        open_tomogram(path)
    assert open_tomogram(path, voxel_size_angstrom=5.0).voxel_size_angstrom == 5.0


def test_what_is_no_tomogram_is_refused(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "t.zarr", {}, 2)
    with pytest.raises(InputError, match="no multiscales"):
        open_tomogram(path)
    path = pyramid(tmp_path / "x.zarr", {"multiscales": multiscales("angstrom", 1.0, "xyz")}, 2)
    with pytest.raises(InputError, match="last axes are x, y, z"):
        open_tomogram(path)
    path = pyramid(tmp_path / "odd.zarr", {"multiscales": [{"datasets": 3}]}, 2)
    with pytest.raises(InputError, match="multiscales cannot be understood"):
        open_tomogram(path)
    zarr.create_array(tmp_path / "many.zarr", data=np.zeros((2, 4, 4, 4), np.float32))
    with pytest.raises(InputError, match="2 x 4 x 4 x 4, one volume is wanted"):
        open_tomogram(tmp_path / "many.zarr", voxel_size_angstrom=1.0)
    (tmp_path / "broken.zarr").mkdir()
    (tmp_path / "broken.zarr/zarr.json").write_text("{")
    with pytest.raises(InputError, match="the Zarr store cannot be read"):
        open_tomogram(tmp_path / "broken.zarr")
