from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gumnet.errors import InputError
from gumnet.io.mrc import write_map
from gumnet.io.read import drop_unreadable, read_particles
from gumnet.io.relion_write import write_particles


def _folder(path: Path, generator: torch.Generator, n: int = 4) -> torch.Tensor:
    """Write a folder with one file a particle, and return the volumes."""
    volumes = torch.randn(n, 6, 6, 6, generator=generator)
    path.mkdir()
    rows = [f"{i}.mrc" for i in range(n)]
    for name, volume in zip(rows, volumes, strict=True):
        write_map(path / name, volume, 4.0)
    (path / "particles.star").write_text("data_\n\nloop_\n_rlnImageName\n_rlnClassNumber\n")
    with (path / "particles.star").open("a") as file:
        file.writelines(f"{name} {i + 1}\n" for i, name in enumerate(rows))
    return volumes


def test_a_table_and_its_folder_are_the_same(tmp_path: Path, generator: torch.Generator) -> None:
    volumes = _folder(tmp_path / "a", generator)
    for path in (tmp_path / "a", str(tmp_path / "a" / "particles.star")):
        particles = read_particles(path)
        assert torch.equal(particles.read_volumes([0, 1, 2, 3]), volumes)
        assert particles.classes.tolist() == [1, 2, 3, 4]
    assert read_particles(tmp_path / "a", voxel_size_angstrom=9.0).voxel_size_angstrom == 9.0


def test_what_is_not_known_is_said_with_what_is(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1 2 3\n")
    with pytest.raises(InputError, match=r"a\.txt: unknown format \.txt; known are tables of RELION"):
        read_particles(tmp_path / "a.txt")
    with pytest.raises(InputError, match=r"none\.star: no such file"):
        read_particles(tmp_path / "none.star")
    with pytest.raises(InputError, match=r"holds no particles\.star"):
        read_particles(tmp_path)


def test_unreadable_particles_are_left_out_and_listed(tmp_path: Path, generator: torch.Generator) -> None:
    volumes = _folder(tmp_path / "a", generator)
    (tmp_path / "a" / "0.mrc").unlink()
    write_map(tmp_path / "a" / "2.mrc", torch.zeros(6, 6, 6), 4.0, overwrite=True)
    particles = read_particles(tmp_path / "a")
    with pytest.raises(InputError, match="particle 1"):
        particles.read_volumes([0])
    kept = drop_unreadable(particles, tmp_path / "bad.tsv")
    assert kept.classes.tolist() == [2, 4]
    assert torch.equal(kept.read_volumes([0, 1]), volumes[[1, 3]])
    header, *rows = (line.split("\t") for line in (tmp_path / "bad.tsv").read_text().splitlines())
    assert header == ["particle", "name", "reason"]
    assert [row[:2] for row in rows] == [["1", "0.mrc"], ["3", "2.mrc"]]
    assert "no such file" in rows[0][2]
    assert "constant" in rows[1][2]
    write_particles(tmp_path / "kept.star", kept)
    assert torch.equal(read_particles(tmp_path / "kept.star").read_volumes([0, 1]), volumes[[1, 3]])


def test_nothing_is_listed_where_all_is_well_and_none_is_an_error(tmp_path: Path, generator: torch.Generator) -> None:
    _folder(tmp_path / "a", generator)
    particles = read_particles(tmp_path / "a")
    assert drop_unreadable(particles, tmp_path / "bad.tsv") is particles
    assert not (tmp_path / "bad.tsv").exists()
    for i in range(4):
        write_map(tmp_path / "a" / f"{i}.mrc", torch.zeros(6, 6, 6), 4.0, overwrite=True)
    with pytest.raises(InputError, match=r"none of 4 particles can be read; the first: .*constant"):
        drop_unreadable(particles, tmp_path / "bad.tsv")
