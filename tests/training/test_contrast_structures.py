"""What a matched filter is trained on."""

from collections.abc import Callable

import pytest
import torch

from gumnet.geometry.fourier import to_fourier
from gumnet.geometry.warp import voxel_coordinates
from gumnet.simulation.phantom import phantom, self_correlation
from gumnet.training.contrast_structures import packed_body, textured_body, training_structures

Body = Callable[[int, int], torch.Tensor]


BODIES = pytest.mark.parametrize("body", [textured_body, packed_body])


def test_the_kinds_come_in_turn() -> None:
    found = training_structures(4, 16, 3)
    assert torch.equal(found[0], phantom(3, 16))
    assert torch.equal(found[1], textured_body(3, 16))
    assert torch.equal(found[2], packed_body(3, 16))
    assert torch.equal(found[3], phantom(4, 16))


@BODIES
def test_a_seed_names_a_body(body: Body) -> None:
    assert torch.equal(body(5, 16), body(5, 16))
    assert not torch.equal(body(5, 16), body(6, 16))


@BODIES
def test_bodies_lie_within_their_box(body: Body) -> None:
    radius = voxel_coordinates(32).norm(dim=-1)
    for seed in range(10):
        made = body(seed, 32)
        assert float(made.max()) == 1.0
        assert float(made[radius > 19].abs().max()) < 0.1


def test_bodies_differ_from_themselves_in_other_poses() -> None:
    """No more alike than real complexes are, whose figure is 0.81 to 0.84."""
    found = torch.tensor([self_correlation(textured_body(seed, 16)) for seed in range(6)])
    assert float(found.median()) < 0.9


def test_packed_bodies_are_round() -> None:
    """By their outlines alone they would be like themselves in any pose; a phantom is like itself in none, 0.74."""
    found = torch.tensor([self_correlation(packed_body(seed, 16)) for seed in range(6)])
    assert 0.85 < float(found.median()) < 0.99


@BODIES
def test_bodies_have_signal_in_the_shells_that_are_learned(body: Body) -> None:
    for seed in range(5):
        spectrum = to_fourier(body(seed, 32)).abs()
        assert float(spectrum[7, 0, 0]) > 0
        assert bool(torch.isfinite(spectrum).all())
