from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gumnet.errors import InputError
from gumnet.io.mrc import MrcSource, read_map, write_map, write_volume_stack
from gumnet.io.mrc_header import read_header
from gumnet.io.volumes import convert_volumes


@pytest.mark.parametrize("suffix", [".mrc", ".map", ".em", ".hdf"])
def test_a_volume_is_the_same_in_every_format(tmp_path: Path, generator: torch.Generator, suffix: str) -> None:
    volume = torch.randn(7, 7, 7, generator=generator)
    write_map(tmp_path / "a.mrc", volume, 4.5)
    assert convert_volumes(tmp_path / "a.mrc", tmp_path / f"b{suffix}") == 1
    back, size = read_map(tmp_path / f"b{suffix}", need_voxel_size=False)
    assert torch.equal(back, volume)
    if suffix != ".em":
        assert size == pytest.approx(4.5)
    convert_volumes(tmp_path / f"b{suffix}", tmp_path / "c.mrc", voxel_size_angstrom=3)
    back, size = read_map(tmp_path / "c.mrc")
    assert torch.equal(back, volume)
    assert size == 3


def test_stacks(tmp_path: Path, generator: torch.Generator) -> None:
    volumes = torch.randn(3, 6, 6, 6, generator=generator)
    write_volume_stack(tmp_path / "a.mrcs", volumes, 2.5)
    assert convert_volumes(tmp_path / "a.mrcs", tmp_path / "b.hdf") == 3
    assert convert_volumes(tmp_path / "b.hdf", tmp_path / "c.mrcs") == 3
    for name in ("b.hdf", "c.mrcs"):
        source = MrcSource(tuple((tmp_path / name, i) for i in range(3)), 6)
        assert torch.equal(source.read([2, 0]), volumes[[2, 0]])
        assert read_header(tmp_path / name).voxel_size_angstrom == pytest.approx(2.5)
    with pytest.raises(InputError, match=r"holds 3 volumes, a \.em file holds one; write \.mrcs or \.hdf"):
        convert_volumes(tmp_path / "a.mrcs", tmp_path / "b.em")


def test_what_cannot_be_written_is_said(tmp_path: Path, generator: torch.Generator) -> None:
    write_map(tmp_path / "a.mrc", torch.randn(5, 5, 5, generator=generator), 2)
    convert_volumes(tmp_path / "a.mrc", tmp_path / "a.em")
    with pytest.raises(InputError, match=r"voxel size is not known, .*--voxel-size"):
        convert_volumes(tmp_path / "a.em", tmp_path / "b.mrc")
    with pytest.raises(InputError, match="exists already"):
        convert_volumes(tmp_path / "a.mrc", tmp_path / "a.em")
    with pytest.raises(InputError, match=r"no volumes are in files that end in \.tif"):
        convert_volumes(tmp_path / "a.mrc", tmp_path / "a.tif")
