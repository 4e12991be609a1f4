"""What a matched filter is trained on."""

import torch

from gumnet.geometry.fourier import to_fourier
from gumnet.geometry.warp import voxel_coordinates
from gumnet.simulation.phantom import phantom, self_correlation
from gumnet.training.contrast_structures import textured_body, training_structures


def test_every_second_structure_is_a_phantom() -> None:
    found = training_structures(4, 16, 3)
    assert torch.equal(found[0], phantom(3, 16))
    assert torch.equal(found[1], textured_body(3, 16))
    assert torch.equal(found[2], phantom(4, 16))
    assert training_structures(3, 16, 3).shape == (3, 16, 16, 16)


def test_a_seed_names_a_body() -> None:
    assert torch.equal(textured_body(5, 16), textured_body(5, 16))
    assert not torch.equal(textured_body(5, 16), textured_body(6, 16))


def test_bodies_lie_within_their_box() -> None:
    radius = voxel_coordinates(32).norm(dim=-1)
    for seed in range(10):
        body = textured_body(seed, 32)
        assert float(body.max()) == 1.0
        assert float(body[radius > 19].abs().max()) < 0.1


def test_bodies_differ_from_themselves_in_other_poses() -> None:
    """No more alike than real complexes are, whose figure is 0.81 to 0.84."""
    found = torch.tensor([self_correlation(textured_body(seed, 16)) for seed in range(6)])
    assert float(found.median()) < 0.9


def test_bodies_have_signal_in_the_shells_that_are_learned() -> None:
    for seed in range(5):
        spectrum = to_fourier(textured_body(seed, 32)).abs()
        assert float(spectrum[7, 0, 0]) > 0
        assert bool(torch.isfinite(spectrum).all())
