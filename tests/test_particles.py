import pytest
import torch

from gumnet.errors import InputError
from gumnet.particles import Particles, Poses


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


def test_lengths_that_disagree_are_refused():
    with pytest.raises(InputError, match="poses has 3 entries for 5 volumes"):
        particles().with_poses(Poses.identity(3))


def test_weights_of_another_box_are_refused():
    with pytest.raises(InputError, match="box of 6"):
        Particles.from_tensors(torch.rand(2, 8, 8, 8), voxel_size_angstrom=1.0, weights=torch.ones(6, 6, 4))


def test_no_weights_means_everything_was_observed():
    bare = Particles.from_tensors(torch.rand(2, 8, 8, 8), voxel_size_angstrom=1.0)
    assert bare.read_weights([0, 1]) is None
