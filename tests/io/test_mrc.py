"""Files are built here byte for byte after MRC2014, and what was written is looked at byte for byte."""

from __future__ import annotations

import struct
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from gumnet.errors import InputError
from gumnet.io.mrc import MrcSource, read_image_stack, read_map, write_map, write_volume_stack

_MODES = {"int8": 0, "int16": 1, "float32": 2, "complex64": 4, "uint16": 6, "float16": 12}


def _volumes(generator: torch.Generator, n: int, box: int = 6) -> torch.Tensor:
    return torch.randn(n, box, box, box, generator=generator)


def _mrc(
    path: Path,
    data: np.ndarray,
    voxel: float | tuple[float, float, float] = 4.0,
    *,
    order: str = "<",
    mz: int | None = None,
    ispg: int = 1,
    extended: bytes = b"",
    stamped: bool = True,
) -> Path:
    nz, ny, nx = data.shape
    sampling = (nx, ny, mz or nz)
    cell = np.multiply(sampling, voxel)
    mode = _MODES[data.dtype.name]
    words = (nx, ny, nz, mode, 0, 0, 0, *sampling, *cell, 90, 90, 90, 1, 2, 3, 0, -1, -2, ispg, len(extended))
    head = struct.pack(f"{order}10i6f3i3f2i", *words).ljust(208, b"\0")
    if stamped:
        head += b"MAP " + (b"\x44\x44\0\0" if order == "<" else b"\x11\x11\0\0")
    path.write_bytes(head.ljust(1024, b"\0") + extended + data.astype(data.dtype.newbyteorder(order)).tobytes())
    return path


def _check_written(path: Path, volumes: torch.Tensor, *, mz: int, ispg: int, voxel: float) -> None:
    """Check all that MRC2014 wants of a file with ``volumes`` (sections, rows, columns)."""
    raw, (nz, ny, nx) = path.read_bytes(), volumes.shape
    assert struct.unpack("<10i", raw[:40]) == (nx, ny, nz, 2, 0, 0, 0, nx, ny, mz)
    np.testing.assert_allclose(struct.unpack("<6f", raw[40:64]), [nx * voxel, ny * voxel, mz * voxel, 90, 90, 90])
    assert struct.unpack("<3i", raw[64:76]) == (1, 2, 3)
    statistics = (volumes.min(), volumes.max(), volumes.mean(), volumes.std(correction=0))
    np.testing.assert_allclose(struct.unpack("<3f", raw[76:88]) + struct.unpack("<f", raw[216:220]), statistics, 1e-4)
    assert struct.unpack("<2i", raw[88:96]) == (ispg, 0)
    assert raw[208:216] == b"MAP \x44\x44\0\0"
    assert raw[220:1024].rstrip(b"\0") == b"\1\0\0\0gumnet"
    np.testing.assert_array_equal(np.frombuffer(raw[1024:], "<f4").reshape(nz, ny, nx), volumes.numpy())
    assert mrcfile.validate(path)


def test_a_written_map_is_valid_and_read_back(tmp_path: Path, generator: torch.Generator) -> None:
    volume = _volumes(generator, 1)[0]
    write_map(tmp_path / "a.mrc", volume, 3.42)
    _check_written(tmp_path / "a.mrc", volume, mz=6, ispg=1, voxel=3.42)
    back, size = read_map(tmp_path / "a.mrc")
    assert torch.equal(back, volume)
    assert size == pytest.approx(3.42)
    with pytest.raises(InputError, match="exists already"):
        write_map(tmp_path / "a.mrc", volume, 3.42)


def test_a_stack_written_one_by_one_is_valid_and_read_back(tmp_path: Path, generator: torch.Generator) -> None:
    volumes = _volumes(generator, 4) * torch.arange(1.0, 5)[:, None, None, None] + 3
    path = tmp_path / "a.mrcs"
    write_volume_stack(path, (v for v in volumes), 5.0)
    _check_written(path, volumes.reshape(24, 6, 6), mz=6, ispg=401, voxel=5.0)
    source = MrcSource(tuple((path, i) for i in range(4)), 6)
    assert len(source) == 4
    assert torch.equal(source.read([3, 0]), volumes[[3, 0]])
    with pytest.raises(InputError, match="stack of 4 volumes"):
        read_map(path)
    with pytest.raises(InputError, match=r"a\.mrcs: there is no volume 5, it holds 4"):
        MrcSource(((path, 4),), 6).read([0])


def test_a_stack_of_one_or_no_volume_or_of_two_boxes(tmp_path: Path, generator: torch.Generator) -> None:
    volume = _volumes(generator, 1)
    write_volume_stack(tmp_path / "a.mrcs", volume, 5.0)
    _check_written(tmp_path / "a.mrcs", volume[0], mz=6, ispg=401, voxel=5.0)
    for volumes, message in [([], "no volumes to write"), ([volume[0], volume[0, :5, :5, :5]], "do not go in one")]:
        with pytest.raises(InputError, match=message):
            write_volume_stack(tmp_path / "b.mrcs", volumes, 5.0)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mrcs"]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.float32, np.uint16, np.float16])
def test_all_modes_and_both_byte_orders(tmp_path: Path, dtype: type, order: str) -> None:
    data = np.arange(64, dtype=np.float32).reshape(4, 4, 4).astype(dtype)
    for kind in ({}, {"extended": b"\xff" * 96}, {"stamped": False}):
        path = _mrc(tmp_path / f"{len(kind)}{'stamped' in kind}.mrc", data, order=order, **kind)
        volume, size = read_map(path)
        np.testing.assert_array_equal(volume.numpy(), data.astype(np.float32))
        assert size == pytest.approx(4.0)


@pytest.mark.parametrize("order", ["<", ">"])
def test_bytes_of_imod_are_unsigned_unless_it_says_signed(tmp_path: Path, order: str) -> None:
    path = _mrc(tmp_path / "a.mrc", np.array([-128, -1, 0, 1, 2, 3, 4, 127], np.int8).reshape(2, 2, 2), order=order)
    signed = read_map(path)[0]
    for flags in (0, 1):
        raw = bytearray(path.read_bytes())
        raw[152:160] = struct.pack(f"{order}2i", 1146047817, flags)
        (tmp_path / f"{flags}.mrc").write_bytes(raw)
        assert torch.equal(read_map(tmp_path / f"{flags}.mrc")[0], signed if flags else signed % 256)


def test_a_stack_is_known_by_mz_too_and_images_are_not_volumes(tmp_path: Path, generator: torch.Generator) -> None:
    volumes = _volumes(generator, 3).numpy()
    path = _mrc(tmp_path / "a.mrcs", volumes.reshape(18, 6, 6), mz=6, ispg=1)
    assert torch.equal(MrcSource(((path, 1),), 6).read([0])[0], torch.from_numpy(volumes[1]))
    images = _mrc(tmp_path / "b.mrcs", volumes.reshape(18, 6, 6), mz=1, ispg=0)
    np.testing.assert_array_equal(read_image_stack(images).numpy(), volumes.reshape(18, 6, 6))
    with pytest.raises(InputError, match="2D images, a volume is wanted"):
        read_map(images)
    with pytest.raises(InputError, match="3D subtomograms"):
        MrcSource(((images, 3),), 6).read([0])


@pytest.mark.parametrize("voxel", [0.0, 1.0, (10.0, 10.0, 1.0)])
def test_a_voxel_size_that_means_not_set_is_asked_for(
    tmp_path: Path, voxel: float | tuple[float, float, float]
) -> None:
    path = _mrc(tmp_path / "a.mrc", np.arange(64, dtype=np.float32).reshape(4, 4, 4), voxel)
    with pytest.raises(InputError, match=r"a\.mrc: the header has no usable voxel size .*--voxel-size"):
        read_map(path)
    assert read_map(path, voxel_size_angstrom=7.5)[1] == 7.5
    assert np.isnan(read_map(path, need_voxel_size=False)[1])
    with pytest.raises(InputError, match="not possible"):
        read_map(path, voxel_size_angstrom=-1.0)


def _bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    good = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
    with_nan, with_inf = good.copy(), good.copy()
    with_nan[1, 2, 3], with_inf[0, 0, 0] = np.nan, np.inf
    paths = {
        "nan": (_mrc(folder / "nan.mrc", with_nan), "holds 1 values that are NaN"),
        "inf": (_mrc(folder / "inf.mrc", with_inf), "holds 1 values that are NaN or infinite"),
    }
    paths["constant"] = (_mrc(folder / "constant.mrc", np.full((4, 4, 4), 2.5, np.float32)), "constant, 2.5")
    paths["brick"] = (_mrc(folder / "brick.mrc", good[:3]), "4 x 4 x 3 voxels are not a cube")
    paths["flat"] = (_mrc(folder / "flat.mrc", good[:1], ispg=0), "2D images, a volume is wanted")
    paths["complex"] = (_mrc(folder / "complex.mrc", good.astype(np.complex64)), "mode 4")
    cut = _mrc(folder / "cut.mrc", good)
    cut.write_bytes(cut.read_bytes()[:-8])
    paths["cut"] = (cut, "cut off: 1272 of 1280 bytes")
    for name, content, message in [
        ("text", b"data_particles\n" * 100, "not an MRC file"),
        ("short", b"MAP ", "not an MRC file: 4 bytes"),
        ("gzip", b"\x1f\x8b" + bytes(2000), "compressed"),
        ("zeros", bytes(2000), "not an MRC file"),
    ]:
        (folder / f"{name}.mrc").write_bytes(content)
        paths[name] = (folder / f"{name}.mrc", message)
    return paths


def test_bad_files_are_refused_with_file_field_and_cure(tmp_path: Path) -> None:
    for name, (path, message) in _bad_files(tmp_path).items():
        with pytest.raises(InputError, match=rf"{name}\.mrc: .*{message}.*; \w+") as caught:
            read_map(path)
        assert "\n" not in str(caught.value)
    # A map or a mask is no particle that could be left out.
    write_map(tmp_path / "ones.mrc", torch.ones(8, 8, 8), 4.0)
    with pytest.raises(InputError, match=r"ones\.mrc: the volume is constant, 1 everywhere; give another file$"):
        read_map(tmp_path / "ones.mrc")
    with pytest.raises(InputError, match="no such file"):
        read_map(tmp_path / "none.mrc")
    with pytest.raises(InputError, match="is a folder"):
        read_map(tmp_path)


def test_a_source_names_file_and_particle(tmp_path: Path, generator: torch.Generator) -> None:
    volumes = _volumes(generator, 2)
    for i, volume in enumerate(volumes):
        write_map(tmp_path / f"{i}.mrc", volume, 4.0)
    write_map(tmp_path / "big.mrc", torch.randn(8, 8, 8, generator=generator), 4.0)
    write_map(tmp_path / "constant.mrc", torch.ones(6, 6, 6), 4.0)
    names = ["0.mrc", "1.mrc", "none.mrc", "big.mrc", "constant.mrc"]
    source = MrcSource(tuple((tmp_path / name, None) for name in names), 6)
    assert torch.equal(source.read([1, 0]), volumes[[1, 0]])
    for index, message in [(2, r"none\.mrc: no such file"), (3, r"big\.mrc: .* box of 8"), (4, "is constant")]:
        with pytest.raises(InputError, match=message) as caught:
            source.read([0, index])
        assert f"particle {index + 1}" in str(caught.value)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_stack_may_hold_thousands_of_volumes(tmp_path: Path, order: str) -> None:
    # 2,048 volumes of 32 voxels make 65,536 sections, more than any single map has.
    data = np.arange(70_000 * 4, dtype=np.int16).reshape(70_000, 2, 2)
    path = _mrc(tmp_path / "many.mrcs", data, order=order, mz=2, ispg=401)
    last = MrcSource(((path, 34_999),), box=2).read([0])[0]
    np.testing.assert_array_equal(last.numpy(), data[-2:])


def test_a_replaced_file_is_read_anew(tmp_path: Path, generator: torch.Generator) -> None:
    path = tmp_path / "a.mrc"
    write_map(path, _volumes(generator, 1, 6)[0], 4.0)
    assert read_map(path)[0].shape == (6, 6, 6)
    write_map(path, _volumes(generator, 1, 5)[0], 4.0, overwrite=True)
    assert read_map(path)[0].shape == (5, 5, 5)


def test_real_maps_and_tilt_stacks(shared_data: Path) -> None:
    with pytest.raises(InputError, match="--voxel-size"):
        read_map(shared_data / "complexes" / "5LQW.mrc")
    ribosome, size = read_map(shared_data / "complexes" / "4v7r_5A.mrc")
    assert ribosome.shape == (96, 96, 96)
    assert size == pytest.approx(5.0)
    stack = next((shared_data / "real-tilt-particles").rglob("*_000001.mrcs"))
    images = read_image_stack(stack)
    assert images.shape == (37, 32, 32)
    np.testing.assert_array_equal(images.flatten().numpy(), np.fromfile(stack, "<f2", offset=1024).astype(np.float32))
    with pytest.raises(InputError, match=r"a volume is wanted|not a cube"):
        read_map(stack)
