from __future__ import annotations

import json
import pickle
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from gumnet.errors import InputError
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.wedge import missing_wedge
from gumnet.io.mrc import read_map, write_map
from gumnet.io.pack import SOURCE_IMAGE, exponent_of, pack
from gumnet.io.read import read_particles
from gumnet.io.relion import CTF_IMAGE, IMAGE
from gumnet.io.store import Store, StoreVolumes
from gumnet.journal import journal_path
from gumnet.particles import MemorySource, Particles, Poses

BOX, COUNT = 8, 10
FOUR_A_SHARD = 4 * 2 * BOX**3 / 1e6


@pytest.fixture
def particles(generator: torch.Generator) -> Particles:
    """Ten particles with two kinds of weights, poses, half sets, classes and a column of their own."""
    kinds = torch.stack([missing_wedge(BOX, 60.0), torch.rand(BOX, BOX, BOX // 2 + 1, generator=generator)])
    shifts = torch.randn(COUNT, 3, generator=generator, dtype=torch.float64)
    return Particles(
        volumes=MemorySource(torch.randn(COUNT, BOX, BOX, BOX, generator=generator)),
        poses=Poses.of(random_rotations(COUNT, generator=generator), shifts),
        voxel_size_angstrom=10.0,
        weights=MemorySource(kinds[torch.arange(COUNT) % 3 % 2]),
        half_sets=torch.arange(COUNT) % 2 + 1,
        classes=torch.arange(COUNT) % 3 + 1,
        table=pd.DataFrame({"rlnAutopickFigureOfMerit": np.linspace(0, 1, COUNT)}),
    )


def test_what_is_packed_is_read_again(particles: Particles, tmp_path: Path) -> None:
    store = pack(particles, tmp_path / "s", dtype="float32", shard_megabytes=2 * FOUR_A_SHARD)
    assert [shard.count for shard in store.volumes] == [4, 4, 2]
    assert [shard.count for shard in store.weights] == [2], "each kind once"
    assert not journal_path(tmp_path / "s").exists()
    assert not list((tmp_path / "s").glob(".*")), "nothing is left lying about"
    read = read_particles(tmp_path / "s")
    assert isinstance(read.volumes, StoreVolumes)
    rows = [9, 0, 4, 4, 3]
    assert torch.equal(read.read_volumes(rows), particles.read_volumes(rows))
    weights, expected = read.read_weights(rows), particles.read_weights(rows)
    assert weights is not None
    assert expected is not None
    torch.testing.assert_close(weights, expected, rtol=3e-7, atol=0)
    torch.testing.assert_close(read.poses.rotations, particles.poses.rotations, rtol=0, atol=1e-7)
    torch.testing.assert_close(read.poses.shifts, particles.poses.shifts, rtol=0, atol=1e-7)
    assert torch.equal(read.half_sets, particles.half_sets)
    assert torch.equal(read.classes, particles.classes)
    assert read.voxel_size_angstrom == 10.0
    assert read.table is not None
    assert read.table["rlnAutopickFigureOfMerit"].to_numpy() == pytest.approx(np.linspace(0, 1, COUNT))


def test_float16_rounds_by_what_its_bits_say(particles: Particles, tmp_path: Path) -> None:
    store = pack(particles, tmp_path / "s", shard_megabytes=FOUR_A_SHARD)
    assert [shard.count for shard in store.volumes] == [4, 4, 2]
    found, true = read_particles(tmp_path / "s").read_volumes(range(COUNT)), particles.read_volumes(range(COUNT))
    error = (found - true).abs()
    assert (error <= torch.maximum(true.abs() / 2048, true.abs().amax() * 5e-7)).all()
    measured = float((found - true).square().mean().sqrt() / true.square().mean().sqrt())
    assert store.rounding == pytest.approx(measured, rel=1e-3)
    # Uniform rounding of 11-bit significands: between u / sqrt(12) and u / sqrt(3) times 1/1024.
    assert 2**-11 / 12**0.5 < store.rounding < 2**-10 / 12**0.5


def test_nothing_overflows_or_vanishes_in_float16(particles: Particles, tmp_path: Path) -> None:
    scales = torch.logspace(-38, 37, COUNT)
    volumes = particles.read_volumes(range(COUNT)) * scales[:, None, None, None]
    pack(replace(particles, volumes=MemorySource(volumes)), tmp_path / "s", shard_megabytes=FOUR_A_SHARD)
    found = read_particles(tmp_path / "s").read_volumes(range(COUNT))
    error = (found - volumes).abs().flatten(1).amax(dim=1) / volumes.abs().flatten(1).amax(dim=1)
    assert (error < 1 / 2048).all()
    assert exponent_of(1.0) == exponent_of(30000.0) == exponent_of(0.1) == 0
    for largest in (1e-30, 0.01, 4e4, 3e38):
        assert 4096 <= largest * 2.0 ** exponent_of(largest) < 8192


def test_a_table_that_names_the_store_is_read_from_it_and_by_other_readers(
    particles: Particles, tmp_path: Path
) -> None:
    from gumnet.io.relion_write import write_particles

    pack(particles, tmp_path / "s", shard_megabytes=FOUR_A_SHARD)
    write_particles(tmp_path / "some.star", read_particles(tmp_path / "s").select([7, 2]))
    some = read_particles(tmp_path / "some.star")
    assert isinstance(some.volumes, StoreVolumes)
    expected = read_particles(tmp_path / "s").read_volumes([7, 2])
    assert torch.equal(some.read_volumes([0, 1]), expected)
    (tmp_path / "s" / "store.json").rename(tmp_path / "elsewhere.json")
    plain = read_particles(tmp_path / "some.star")
    assert not isinstance(plain.volumes, StoreVolumes)
    assert torch.equal(plain.read_volumes([0, 1]), expected)
    weights, others = some.read_weights([0, 1]), plain.read_weights([0, 1])
    assert weights is not None
    assert others is not None
    assert torch.equal(weights, others)


def test_a_table_in_files_keeps_the_names_of_its_images(tmp_path: Path, generator: torch.Generator) -> None:
    for i in range(3):
        write_map(tmp_path / f"{i}.mrc", torch.randn(BOX, BOX, BOX, generator=generator), 4.0)
        write_map(tmp_path / f"ctf{i}.mrc", torch.randn(BOX, BOX, BOX // 2 + 1, generator=generator), 4.0)
    (tmp_path / "p.star").write_text(
        "data_\n\nloop_\n_rlnImageName\n_rlnCtfImage\n" + "".join(f"{i}.mrc ctf{i}.mrc\n" for i in range(3))
    )
    plain = read_particles(tmp_path / "p.star")
    pack(plain, tmp_path / "s", dtype="float32")
    packed = read_particles(tmp_path / "s")
    # RELION 3.0 does not premultiply: the store holds volumes that were.
    assert torch.equal(packed.read_volumes([0, 1, 2]), plain.read_volumes([0, 1, 2]))
    weights, expected = packed.read_weights([2, 0]), plain.read_weights([2, 0])
    assert weights is not None
    assert expected is not None
    assert torch.equal(weights, expected)
    assert packed.table is not None
    assert packed.table[SOURCE_IMAGE].tolist() == [str(tmp_path / f"{i}.mrc") for i in range(3)]
    assert packed.table[CTF_IMAGE].nunique() == 3
    assert (tmp_path / "0.mrc").exists()
    shard, size = read_map(tmp_path / "0.mrc")
    assert torch.equal(shard, read_map(tmp_path / "0.mrc")[0])
    assert size == 4.0


def test_tilt_stacks_become_volumes(shared_data: Path, tmp_path: Path) -> None:
    table = shared_data / "real-tilt-particles/warptools_test_4-tomos_10-ptcls_box-32_angpix-12_optimisation_set.star"
    some = read_particles(table).select([0, 25])
    store = pack(some, tmp_path / "s", dtype="float32")
    packed = read_particles(tmp_path / "s")
    assert store.weights[0].count == 2
    assert torch.equal(packed.read_volumes([0, 1]), some.read_volumes([0, 1]))
    assert torch.equal(packed.poses.rotations, read_particles(table).select([0, 25]).poses.rotations) or (
        (packed.poses.rotations - some.poses.rotations).abs().max() < 1e-7
    )
    assert packed.table is not None
    assert "rlnTomoName" in packed.table.columns


def test_a_bad_particle_stops_it_and_the_run_goes_on_where_it_was(particles: Particles, tmp_path: Path) -> None:
    class Spoilt(MemorySource):
        reads = 0
        spoilt = True

        def read(self, indices: object) -> torch.Tensor:
            rows = list(indices)  # type: ignore[call-overload]
            if self.spoilt and 9 in rows:
                raise InputError("particle 10 holds 3 values that are NaN or infinite")
            Spoilt.reads += len(rows)
            return super().read(rows)

    # Reading for the fingerprint would fail too: the table gives it in place of the volumes.
    assert particles.table is not None
    listed = replace(
        particles,
        volumes=Spoilt(particles.read_volumes(range(COUNT))),
        table=particles.table.assign(**{IMAGE: [f"/none/{i}.mrc" for i in range(COUNT)]}),
    )
    with pytest.raises(InputError, match="particle 10 holds"):
        pack(listed, tmp_path / "s", shard_megabytes=FOUR_A_SHARD)
    assert Spoilt.reads == 8
    with pytest.raises(InputError, match="was not finished; add --resume"):
        pack(listed, tmp_path / "s", shard_megabytes=FOUR_A_SHARD)
    with pytest.raises(InputError, match="began with --type float16, now it is float32"):
        pack(listed, tmp_path / "s", dtype="float32", shard_megabytes=FOUR_A_SHARD, resume=True)
    with pytest.raises(InputError, match="the particles changed since the run began"):
        pack(listed.select(range(9)), tmp_path / "s", shard_megabytes=FOUR_A_SHARD, resume=True)
    Spoilt.spoilt = False
    store = pack(listed, tmp_path / "s", shard_megabytes=FOUR_A_SHARD, resume=True)
    assert Spoilt.reads == COUNT
    assert store.particles == COUNT
    with pytest.raises(InputError, match="is not empty"):
        pack(listed, tmp_path / "s", shard_megabytes=FOUR_A_SHARD)
    assert pack(listed.select(range(3)), tmp_path / "s", overwrite=True).particles == 3
    assert len(list((tmp_path / "s").glob("volumes-*"))) == 1, "nothing is left of the older store"


def test_a_store_is_not_packed_over_itself(particles: Particles, tmp_path: Path) -> None:
    pack(particles, tmp_path / "s")
    with pytest.raises(InputError, match="the particles themselves are in this folder"):
        pack(read_particles(tmp_path / "s"), tmp_path / "s", overwrite=True)


def test_a_flipped_bit_is_found_and_named(particles: Particles, tmp_path: Path) -> None:
    store = pack(particles, tmp_path / "s", shard_megabytes=FOUR_A_SHARD)
    assert store.damaged() == []
    for name, words in (
        ("volumes-00001.mrcs", "volumes-00001.mrcs (particles 5 to 8): its bytes are not those that were written"),
        ("weights-00000.mrcs", "weights-00000.mrcs: its bytes are not those that were written"),
        ("particles.star", "particles.star: its bytes are not those that were written"),
    ):
        path = tmp_path / "s" / name
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[len(flipped) // 2] ^= 4
        path.write_bytes(flipped)
        assert store.damaged() == [words]
        path.write_bytes(whole)
    path = tmp_path / "s" / "volumes-00002.mrcs"
    path.write_bytes(path.read_bytes()[:-1])
    assert store.damaged()[0].startswith("volumes-00002.mrcs (particles 9 to 10): the shard is damaged")
    path.unlink()
    assert store.damaged() == ["volumes-00002.mrcs (particles 9 to 10): no such file, but the store lists it"]


def test_damage_is_said_in_one_line_when_the_store_is_read(particles: Particles, tmp_path: Path) -> None:
    pack(particles, tmp_path / "s", shard_megabytes=FOUR_A_SHARD)
    read = read_particles(tmp_path / "s")
    shard = tmp_path / "s" / "volumes-00001.mrcs"
    shard.write_bytes(shard.read_bytes()[:-10])
    assert read.read_volumes([0]).shape == (1, BOX, BOX, BOX)
    with pytest.raises(InputError, match=r"volumes-00001\.mrcs: the shard is damaged"):
        read.read_volumes([5])
    index = tmp_path / "s" / "store.json"
    facts = json.loads(index.read_text())
    for change, message in (
        ({"schema": 99}, "schema 99, this gumnet knows 1"),
        ({"volumes": [{"file": "../x", "count": 1, "size": 1, "sha256": ""}]}, "no index of a store"),
        ({"surprise": 1}, "no index of a store"),
    ):
        index.write_text(json.dumps({**facts, **change}))
        with pytest.raises(InputError, match=message):
            Store.open(tmp_path / "s")


def test_a_source_travels_by_the_name_of_its_store(particles: Particles, tmp_path: Path) -> None:
    pack(particles, tmp_path / "s")
    source = read_particles(tmp_path / "s").volumes
    read = source.read([3])
    sent = pickle.dumps(source)
    assert len(sent) < 1000
    assert torch.equal(pickle.loads(sent).read([3]), read)


def resident_file_bytes() -> int:
    """Return how much of the files that are mapped is in the memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("RssFile")))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says what is in memory")
def test_a_pass_over_a_store_leaves_it_out_of_memory(
    tmp_path: Path, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    box, count = 32, 128
    volumes = torch.randn(1, box, box, box, generator=generator).expand(count, box, box, box)
    size = volumes[0].nbytes
    pack(Particles.from_tensors(volumes, voxel_size_angstrom=10.0), tmp_path / "s", dtype="float32")
    source = read_particles(tmp_path / "s").volumes
    monkeypatch.setattr("gumnet.io.store._MAPPED_BYTES", 8 * size)
    before = resident_file_bytes()
    for row in range(count):
        assert torch.equal(source.read([row])[0], volumes[row])
    # What one fault brings along is a megabyte at most.
    assert resident_file_bytes() - before < 32 * size < count * size / 2
    monkeypatch.setattr("gumnet.io.store._MAPPED_BYTES", 10 * count * size)
    for row in range(count):
        source.read([row])
    assert resident_file_bytes() - before > count * size / 2, "else this test tells nothing"


def test_random_reads_are_quick(tmp_path: Path, generator: torch.Generator) -> None:
    box, count = 32, 64
    made = Particles.from_tensors(torch.randn(count, box, box, box, generator=generator), voxel_size_angstrom=10.0)
    pack(made, tmp_path / "s")
    source = read_particles(tmp_path / "s").volumes
    rows = torch.randint(count, (512,), generator=generator).tolist()
    source.read(rows[:64])
    best = float("inf")  # of the processor's time: others may be at work too
    for _ in range(5):
        start = time.thread_time()
        for row in rows:
            source.read([row])
        best = min(best, (time.thread_time() - start) / len(rows))
    assert best < 1e-4
