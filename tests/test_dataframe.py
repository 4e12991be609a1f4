from __future__ import annotations

import doctest
from dataclasses import replace

import pandas as pd
import pytest
import torch
from scipy.spatial.transform import Rotation

import gumnet.dataframe
from gumnet.errors import InputError
from gumnet.geometry.rigid import matrix_from_relion
from gumnet.geometry.so3 import random_rotations
from gumnet.io.read import read_particles
from gumnet.io.relion_write import write_particles
from gumnet.particles import Particles, Poses

N, VOXEL = 7, 3.7


def made(*, judged: bool = True) -> Particles:
    generator = torch.Generator().manual_seed(8)
    rotations = random_rotations(N, generator=generator)
    # Beside the poles rot and psi are known only together.
    rotations[:3] = matrix_from_relion(
        torch.tensor([[20.0, 0, 0], [20, 1e-6, 50], [-70, 180 - 3e-6, 10]], dtype=torch.float64)
    )
    shifts = torch.randn(N, 3, generator=generator, dtype=torch.float64)
    columns = (torch.rand(N, generator=generator, dtype=torch.float64) for _ in range(3 if judged else 1))
    return Particles.from_tensors(
        torch.rand(N, 8, 8, 8, generator=generator),
        voxel_size_angstrom=VOXEL,
        weights=torch.rand(N, 8, 8, 5, generator=generator),
        poses=Poses(rotations, shifts, *columns),
        classes=torch.arange(N) % 3,
        half_sets=torch.arange(N) % 2 + 1,
    )


def assert_same(first: Particles, second: Particles) -> None:
    for name in ("rotations", "shifts", "scores", "confidences", "spreads_degrees"):
        mine, theirs = getattr(first.poses, name), getattr(second.poses, name)
        if mine is None:
            assert theirs is None
        else:
            torch.testing.assert_close(mine, theirs, atol=1e-9, rtol=0, equal_nan=True)
    assert torch.equal(first.half_sets, second.half_sets)
    assert torch.equal(first.classes, second.classes)
    assert (first.names, first.voxel_size_angstrom) == (second.names, second.voxel_size_angstrom)
    everything = range(len(first))
    assert torch.equal(first.read_volumes(everything), second.read_volumes(everything))
    assert torch.equal(first.read_weights(everything), second.read_weights(everything))


@pytest.mark.parametrize("judged", [True, False])
def test_there_and_back_again(judged: bool) -> None:
    particles = made(judged=judged)
    frame = particles.to_pandas()
    assert ("confidence" in frame.columns) == judged
    assert_same(Particles.from_pandas(frame, particles), particles)
    # From the table alone, not from the poses that the other particles happen to have.
    bare = replace(particles, poses=Poses.identity(N), half_sets=torch.zeros(N, dtype=torch.int64))
    assert_same(Particles.from_pandas(frame, bare), particles)
    assert Particles.from_pandas(frame, particles).table is None


def test_angles_and_shifts_are_relion_s() -> None:
    particles = made()
    frame = particles.to_pandas()
    angles = frame[["rot_degrees", "tilt_degrees", "psi_degrees"]].to_numpy()
    theirs = Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()
    torch.testing.assert_close(torch.from_numpy(theirs), particles.poses.rotations, atol=1e-9, rtol=0)
    shifts = torch.from_numpy(frame[[f"shift_{axis}_angstrom" for axis in "xyz"]].to_numpy(copy=True))
    torch.testing.assert_close(shifts / VOXEL, particles.poses.shifts)


def test_rows_that_are_chosen_sorted_and_repeated_keep_their_volumes() -> None:
    particles = made()
    frame = particles.to_pandas().sort_values("score", ascending=False)
    best = pd.concat([frame[frame["class"] == 1], frame[frame["class"] == 1].iloc[:1]])
    chosen = Particles.from_pandas(best, particles)
    assert_same(chosen, particles.select(list(best.index)))
    assert len(chosen) == 3
    changed = Particles.from_pandas(best.assign(shift_x_angstrom=VOXEL), particles)
    assert changed.poses.shifts[:, 0].tolist() == pytest.approx([1, 1, 1])


def test_what_the_table_lacks_stays() -> None:
    particles = made()
    assert_same(Particles.from_pandas(particles.to_pandas()[["name"]], particles), particles)


def test_the_columns_of_a_file_and_new_ones_survive(tmp_path) -> None:
    write_particles(tmp_path / "particles.star", made())
    particles = read_particles(tmp_path)
    frame = particles.to_pandas()
    assert particles.table is not None
    assert set(particles.table.columns) < set(frame.columns)
    again = Particles.from_pandas(frame, particles)
    pd.testing.assert_frame_equal(again.table, particles.table)
    fewer = Particles.from_pandas(frame.iloc[[4, 2]].assign(myPick=[7, 8]), particles)
    write_particles(tmp_path / "fewer.star", fewer)
    back = read_particles(tmp_path / "fewer.star")
    assert back.table is not None
    assert back.table["myPick"].tolist() == [7, 8]
    torch.testing.assert_close(back.poses.rotations, particles.poses.rotations[[4, 2]], atol=1e-7, rtol=0)
    assert torch.equal(back.read_volumes([0, 1]), particles.read_volumes([4, 2]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.iloc[2:].reset_index(drop=True), "particle 0 is called particle 1, in the data frame particle 3"),
        (lambda f: f.rename(index={0: 70}), "has 70, for 7 particles"),
        (lambda f: f.set_index("name"), "not whole numbers"),
        (lambda f: f.drop(columns="psi_degrees"), "psi_degrees missing"),
        (lambda f: f.assign(rot_degrees=float("nan")), "rot_degrees is NaN or infinite in row 1"),
        (lambda f: f.assign(half_set=3), "half_set is 3 in row 1"),
        (lambda f: f.assign(score="good"), "the data frame: column score holds what is no number"),
    ],
)
def test_tables_that_do_not_fit_are_refused(change, message: str) -> None:
    particles = made()
    with pytest.raises(InputError, match=message):
        Particles.from_pandas(change(particles.to_pandas()), particles)


def test_a_file_with_a_column_of_the_same_name_is_refused() -> None:
    particles = replace(made(), table=pd.DataFrame({"score": range(N)}))
    with pytest.raises(InputError, match="a column called score"):
        particles.to_pandas()


def test_the_example_runs() -> None:
    assert doctest.testmod(gumnet.dataframe) == (0, 7)
