from __future__ import annotations

import pytest
import torch

from gumnet.averaging.halves import assign_half_sets, rows_of_half
from gumnet.errors import InputError
from gumnet.particles import Particles


def particles(half_sets: list[int]) -> Particles:
    return Particles.from_tensors(
        torch.ones(len(half_sets), 4, 4, 4), voxel_size_angstrom=10.0, half_sets=torch.tensor(half_sets)
    )


@pytest.mark.parametrize("n", [2, 3, 10, 11])
def test_halves_are_equal_and_stable(n: int) -> None:
    first = assign_half_sets(particles([0] * n), 5).half_sets
    assert abs(int((first == 1).sum()) - int((first == 2).sum())) <= 1
    assert bool(((first == 1) | (first == 2)).all())
    assert torch.equal(first, assign_half_sets(particles([0] * n), 5).half_sets)


def test_the_seed_matters() -> None:
    assert not torch.equal(
        assign_half_sets(particles([0] * 40), 1).half_sets, assign_half_sets(particles([0] * 40), 2).half_sets
    )


def test_half_sets_of_the_table_stay() -> None:
    given = [1, 1, 1, 2, 1]
    assert assign_half_sets(particles(given), 0).half_sets.tolist() == given


def test_free_particles_fill_the_smaller_half() -> None:
    halves = assign_half_sets(particles([1, 1, 1, 0, 0, 0, 0, 0]), 0).half_sets
    assert halves[:3].tolist() == [1, 1, 1]
    assert int((halves == 2).sum()) == 4
    halves = assign_half_sets(particles([2, 2, 0]), 0).half_sets
    assert halves.tolist() == [2, 2, 1]


def test_rows_of_a_half() -> None:
    assert rows_of_half(particles([1, 2, 2, 1]), 2).tolist() == [1, 2]


def test_empty_halves_are_refused() -> None:
    with pytest.raises(InputError, match="at least two"):
        assign_half_sets(particles([0]), 0)
    with pytest.raises(InputError, match="half set 2 is empty"):
        assign_half_sets(particles([1, 1, 1]), 0)
    with pytest.raises(InputError, match="other than 1 and 2"):
        assign_half_sets(particles([1, 3, 2]), 0)
