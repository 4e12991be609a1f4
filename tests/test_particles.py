import pytest
import torch

from gumnet.errors import InputError
from gumnet.geometry.so3 import random_rotations
from gumnet.particles import CachedSource, MemorySource, Particles, Poses, SharedWeights


def particles(n=5, box=8):
    return Particles.from_tensors(
        torch.arange(n).float()[:, None, None, None] + torch.linspace(0, 0.5, box**3).reshape(1, box, box, box),
        voxel_size_angstrom=10.0,
        weights=torch.ones(box, box, box // 2 + 1),
        classes=torch.arange(n) + 1,
    )


def test_batches_cover_all_in_order():
    assert list(particles(5).batches(2)) == [[0, 1], [2, 3], [4]]


def test_select_keeps_everything_together():
    chosen = particles().select([3, 1])
    assert chosen.names == ("particle 4", "particle 2")
    assert chosen.classes.tolist() == [4, 2]
    assert torch.equal(chosen.read_volumes([0]), particles().read_volumes([3]))
    nested = chosen.select([1])
    assert nested.names == ("particle 2",)
    assert nested.read_weights([0]).shape == (1, 8, 8, 5)


def judged(n=4, *, seed=3):
    """Return random poses with scores, confidences and spreads."""
    generator = torch.Generator().manual_seed(seed)
    columns = (torch.rand(n, generator=generator, dtype=torch.float64) for _ in range(3))
    shifts = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return Poses(random_rotations(n, generator=generator), shifts, *columns)


OPTIONAL = ("confidences", "spreads_degrees")


def test_poses_without_confidences_stay_without():
    bare = Poses.identity(3)
    chosen = (
        Poses.concatenate([bare, bare])[1:4].to(dtype=torch.float32).inverse().compose(bare.to(dtype=torch.float32))
    )
    assert chosen.confidences is None
    assert chosen.spreads_degrees is None


def test_poses_keep_their_confidences_through_all_that_is_done_to_them():
    poses = judged()
    order = torch.tensor([2, 0])
    for name in OPTIONAL:
        column = getattr(poses, name)
        assert torch.equal(getattr(poses[order], name), column[order])
        assert torch.equal(getattr(poses[[2, 0]], name), column[order])
        assert torch.equal(getattr(poses[1:3], name), column[1:3])
        assert torch.equal(getattr(poses.inverse(), name), column)
        assert torch.equal(getattr(poses.compose(judged(seed=5)), name), column), "those of the outer poses"
        moved = getattr(poses.to("cpu", torch.float32), name)
        assert moved.dtype == torch.float32
        torch.testing.assert_close(moved.double(), column)
        held = Particles.from_tensors(torch.rand(4, 8, 8, 8), voxel_size_angstrom=1.0, poses=poses).select([3, 1])
        assert torch.equal(getattr(held.poses, name), column[[3, 1]])


def test_parts_without_confidences_get_nan():
    first, last = judged(2), judged(1, seed=5)
    bare = Poses.of(first.rotations, first.shifts, first.scores)
    together = Poses.concatenate([first, bare, last])
    for name in OPTIONAL:
        column = getattr(together, name)
        assert torch.equal(column[[0, 1, 4]], torch.cat([getattr(first, name), getattr(last, name)]))
        assert column[2:4].isnan().all()
    assert torch.equal(together.scores, torch.cat([first.scores, first.scores, last.scores]))


def test_lengths_that_disagree_are_refused():
    with pytest.raises(InputError, match="poses has 3 entries for 5 volumes"):
        particles().with_poses(Poses.identity(3))


def test_weights_of_another_box_are_refused():
    with pytest.raises(InputError, match="box of 6"):
        Particles.from_tensors(torch.rand(2, 8, 8, 8), voxel_size_angstrom=1.0, weights=torch.ones(6, 6, 4))


def test_no_weights_means_everything_was_observed():
    bare = Particles.from_tensors(torch.rand(2, 8, 8, 8), voxel_size_angstrom=1.0)
    assert bare.read_weights([0, 1]) is None


class Counted:
    """A source of which each row holds its number, and which notes the rows that are read."""

    def __init__(self, n, *shape):
        self.box, self.rows, self.tensors = shape[0], [], torch.arange(n).float().reshape(-1, 1, 1, 1).expand(n, *shape)

    def __len__(self):
        return len(self.tensors)

    def read(self, indices):
        self.rows += indices
        return self.tensors[list(indices)].clone()


def counted(n=6, box=4):
    volumes, weights = Counted(n, box, box, box), Counted(n, box, box, box // 2 + 1)
    return Particles(volumes, Poses.identity(n), 10.0, weights=weights), volumes, weights


def numbers(tensors):
    return tensors[:, 0, 0, 0].tolist()


def test_cached_particles_read_each_row_once():
    plain, volumes, weights = counted()
    cached = plain.cached()
    for indices in ([3, 1], [1, 1, 4], [4, 3, 1]):
        assert torch.equal(cached.read_volumes(indices), volumes.tensors[indices])
        assert torch.equal(cached.read_weights(indices), weights.tensors[indices])
    assert volumes.rows == [1, 3, 4]
    assert weights.rows == [1, 3, 4]


def test_selections_of_cached_particles_share_what_was_read():
    plain, volumes, weights = counted()
    cached = plain.cached()
    halves = [cached.select([4, 2, 0]), cached.select([1, 3, 5])]
    for _ in range(2):
        assert numbers(halves[0].read_volumes([0, 1, 2])) == [4, 2, 0]
        assert numbers(halves[0].select([2, 1]).read_weights([0, 1])) == [0, 2]
        assert numbers(halves[1].read_volumes([2])) == [5]
    assert numbers(cached.read_volumes(range(6))) == list(range(6))
    assert sorted(volumes.rows) == list(range(6))
    assert sorted(weights.rows) == [0, 2]


@pytest.mark.parametrize("room", [0, 1, 2.5, 5])
def test_the_cache_keeps_as_many_particles_as_fit_and_reads_the_others_again(room):
    plain, volumes, weights = counted()
    each = 4 * (4**3 + 4**2 * 3)
    cached = plain.cached(room * each / 1e9)
    for _ in range(3):
        for batch in ([0, 1, 2], [3, 4, 5]):
            assert numbers(cached.read_volumes(batch)) == batch
            assert numbers(cached.read_weights(batch)) == batch
    kept = int(room)
    assert [volumes.rows.count(i) for i in range(6)] == [1] * kept + [3] * (6 - kept)
    assert weights.rows == volumes.rows


def test_what_the_cache_keeps_is_not_the_caller_s_to_change():
    plain, _, _ = counted()
    cached = plain.cached()
    for _ in range(2):
        cached.read_volumes([2, 3]).zero_()
    assert numbers(cached.read_volumes([2, 3])) == [2, 3]


def test_what_is_in_memory_is_not_copied_into_a_cache():
    shared = particles()
    assert shared.select([1, 2]).cached().volumes.parent is shared.volumes
    assert isinstance(shared.cached().volumes, MemorySource)
    assert isinstance(shared.cached().weights, SharedWeights)
    mixed = Particles(Counted(5, 8, 8, 8), Poses.identity(5), 10.0, weights=shared.weights).cached()
    assert isinstance(mixed.volumes, CachedSource)
    assert mixed.weights is shared.weights
    assert mixed.volumes.limit_bytes == 4_000_000_000
    assert mixed.cached(1.0).volumes is mixed.volumes
