"""Drawing and reading pairs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from gumnet.errors import InputError
from gumnet.geometry.wedge import missing_wedge
from gumnet.particles import Particles
from gumnet.training.data import EPOCH, PairReader, draw_pairs, split, stream


def test_split_keeps_validation_particles_apart() -> None:
    chosen, held = split(50, 0.1, seed=3)
    assert len(held) == 5
    assert sorted([*chosen.tolist(), *held.tolist()]) == list(range(50))
    again = split(50, 0.1, seed=3)
    assert torch.equal(chosen, again[0])
    assert not torch.equal(held, split(50, 0.1, seed=4)[1])


def test_at_least_two_are_held_back_or_none() -> None:
    assert [len(part) for part in split(4, 0.1, seed=0)] == [2, 2]
    assert [len(part) for part in split(2, 0.0, seed=0)] == [2, 0]


@pytest.mark.parametrize(("count", "fraction"), [(0, 0.0), (1, 0.0), (3, 0.1), (10, 0.95)])
def test_too_few_particles_are_refused(count: int, fraction: float) -> None:
    with pytest.raises(InputError, match=f"{count} particles are too few"):
        split(count, fraction, seed=0)


def test_pairs_are_of_two_different_members_and_all_come_up(generator: torch.Generator) -> None:
    members = torch.tensor([3, 5, 8, 13, 21])
    pairs = draw_pairs(members, 4000, generator)
    assert bool((pairs[:, 0] != pairs[:, 1]).all())
    assert torch.equal(pairs[:, 0].bincount(minlength=22)[members], torch.full((5,), 800))
    counts = torch.zeros(22, 22).index_put_((pairs[:, 0], pairs[:, 1]), torch.ones(4000), accumulate=True)
    ordered = counts[members][:, members][~torch.eye(5, dtype=torch.bool)]
    # 20 ordered pairs, 200 each on average, binomial within the 800 of a first member: five standard deviations.
    assert float((ordered - 200).abs().max()) < 5 * (800 * 0.25 * 0.75) ** 0.5


def test_streams_differ_by_epoch_and_repeat() -> None:
    first, second = (draw_pairs(torch.arange(30), 20, stream(1, EPOCH, k)) for k in (0, 1))
    assert not torch.equal(first, second)
    assert torch.equal(first, draw_pairs(torch.arange(30), 20, stream(1, EPOCH, 0)))


class CountingSource:
    """Volumes that hold their own index, and a count of how many were read."""

    def __init__(self, count: int, box: int) -> None:
        self.count, self.box, self.reads = count, box, 0

    def __len__(self) -> int:
        return self.count

    def read(self, indices: Sequence[int]) -> torch.Tensor:
        self.reads += len(indices)
        return torch.tensor(indices, dtype=torch.float32)[:, None, None, None].expand(-1, *(self.box,) * 3).clone()


def counted(weights: torch.Tensor | None = None) -> tuple[Particles, CountingSource]:
    base = Particles.from_tensors(torch.zeros(6, 4, 4, 4), voxel_size_angstrom=10.0, weights=weights)
    source = CountingSource(6, 4)
    return Particles(source, base.poses, 10.0, weights=base.weights), source


def test_batches_hold_the_pairs_in_order_with_their_weights() -> None:
    weights = torch.arange(6.0)[:, None, None, None] * missing_wedge(4, 60.0)
    particles, _ = counted(weights)
    pairs = torch.tensor([[0, 5], [2, 1], [4, 4]])
    batches = list(PairReader(particles, cache_gigabytes=1).batches(torch.split(pairs, 2)))
    assert [len(batch.a) for batch in batches] == [2, 1]
    assert torch.cat([batch.a for batch in batches])[:, 0, 0, 0].tolist() == [0, 2, 4]
    assert torch.cat([batch.b for batch in batches])[:, 0, 0, 0].tolist() == [5, 1, 4]
    assert batches[0].weights_b is not None
    assert batches[0].weights_b[:, 0, 0, 0].tolist() == [5, 1]


def test_what_was_read_is_kept_up_to_the_limit() -> None:
    pairs = torch.tensor([[0, 1], [2, 3], [0, 1], [2, 3]])
    particles, source = counted()
    list(PairReader(particles, cache_gigabytes=1).batches(torch.split(pairs, 2)))
    assert source.reads == 4
    particles, source = counted()
    reader = PairReader(particles, cache_gigabytes=0)
    first = next(reader.batches(torch.split(pairs, 2)))
    assert first.weights_a is None
    assert first.weights_b is None
    list(reader.batches(torch.split(pairs, 2)))
    assert source.reads == 12
    particles, source = counted()
    two = 2 * 4 * 4**3 / 1e9
    list(PairReader(particles, cache_gigabytes=two).batches(torch.split(pairs, 2)))
    assert source.reads == 6
