from __future__ import annotations

import pytest
import torch
from oracles.half_maps import noise, noisy_phantom

from gumnet.averaging.mask import soft_edge, soft_sphere
from gumnet.devices import seeded
from gumnet.errors import InputError
from gumnet.geometry.warp import voxel_coordinates
from gumnet.resolution.auto_mask import automatic_mask, connected_pieces, distance_to
from gumnet.resolution.phase_randomisation import SHELLS_LEFT, phase_randomisation


def test_pieces_are_connected_over_corners_and_named_apart() -> None:
    inside = torch.zeros(9, 9, 9, dtype=torch.bool)
    # A spiral of one voxel width, which a flood has to follow; a corner that touches it; one apart from it.
    inside[4, 1, 1:8] = inside[4, 1:8, 7] = inside[4, 7, 1:8] = inside[4, 3:8, 1] = inside[4, 3, 1:6] = True
    inside[3, 0, 0] = True
    inside[8, 8, 8] = True
    labels = connected_pieces(inside)
    assert torch.equal(labels > 0, inside)
    assert len(torch.unique(labels[labels > 0])) == 2
    assert labels[3, 0, 0] == labels[4, 3, 5] != labels[8, 8, 8]


def test_distance_is_euclidean_within_reach(generator: torch.Generator) -> None:
    inside = torch.rand(9, 9, 9, generator=generator) > 0.99
    points, all_points = torch.nonzero(inside).double(), torch.nonzero(torch.ones(9, 9, 9)).double()
    expected = torch.cdist(all_points, points, compute_mode="donot_use_mm_for_euclid_dist").amin(dim=1)
    expected = torch.where(expected <= 4, expected, torch.inf).reshape(9, 9, 9)
    torch.testing.assert_close(distance_to(inside, 4), expected)


def test_mask_of_a_ball_is_the_ball_grown_with_a_soft_edge() -> None:
    box = 40
    radius = voxel_coordinates(box, dtype=torch.float64).norm(dim=-1)
    found = automatic_mask(soft_edge(radius - 7, 4.0), grow=3, edge=4)
    # 0.15 of the density is a little outside the middle of the ball's edge, at radius 9.
    profile = found.mask[box // 2, box // 2, box // 2 :].double()
    fits = [float((profile - soft_edge(torch.arange(box // 2).double() - r - 3, 4.0)).abs().max()) for r in (9, 10, 11)]
    assert min(fits) < 0.25
    assert float(found.mask[radius < 12].min()) > 0.99
    assert float(found.mask[radius > 18.5].max()) == 0
    assert found.pieces == 1
    assert not found.reaches_faces


def test_small_pieces_are_dropped_and_large_ones_stay() -> None:
    box = 48
    points = voxel_coordinates(box, dtype=torch.float64)

    def ball(x: float, radius: float) -> torch.Tensor:
        return soft_edge((points - torch.tensor([x, 0.0, 0.0])).norm(dim=-1) - radius, 2.0)

    found = automatic_mask(ball(-10, 5) + ball(8, 4) + 0.7 * ball(19, 1), grow=1, edge=1)
    c = box // 2
    assert found.pieces == 2
    assert float(found.mask[c, c, c - 10]) == float(found.mask[c, c, c + 8]) == 1
    assert float(found.mask[c, c, c + 19]) == 0


@pytest.mark.parametrize(("box", "deviation"), [(32, 0.1), (32, 0.3), (48, 1.0)])
def test_mask_holds_the_structure_and_adds_no_resolution(
    box: int, deviation: float, generator: torch.Generator
) -> None:
    structure, halves = noisy_phantom(box, deviation, generator)
    found = automatic_mask(halves.mean(dim=0))
    assert not found.is_sphere
    assert float((structure * found.mask).sum() / structure.sum()) > 0.99
    assert float(found.mask.mean()) < 0.3
    assert "low pass" in found.words(10.0)
    curves = phase_randomisation(halves, found.mask, voxel_size_angstrom=10.0, generator=generator, draws=20)
    assert curves.randomised_from_shell is not None
    # Once the phases are random, what is left is what the mask makes by itself.
    assert float(curves.randomised[curves.randomised_from_shell + SHELLS_LEFT :].mean().abs()) < 0.03


def test_noise_gets_a_sphere_that_correlates_nothing() -> None:
    box = 32
    for seed in range(10):
        generator = seeded(seed)
        halves = noise(2, box, generator)
        found = automatic_mask(halves.mean(dim=0))
        assert found.is_sphere
        torch.testing.assert_close(found.mask, soft_sphere(box, edge=found.edge))
        assert "sphere" in found.words(10.0)
        curves = phase_randomisation(halves, found.mask, voxel_size_angstrom=10.0, generator=generator, draws=2)
        assert curves.resolution_angstrom == float("inf")
        assert float(curves.masked[4:].mean().abs()) < 0.06


def test_noise_that_ends_at_a_sphere_claims_nothing() -> None:
    # As some programs write half maps: 0 outside a sphere, so that there is no noise to measure.
    box = 32
    for seed in range(5):
        generator = seeded(seed)
        halves = noise(2, box, generator) * soft_sphere(box)
        found = automatic_mask(halves.mean(dim=0))
        curves = phase_randomisation(halves, found.mask, voxel_size_angstrom=10.0, generator=generator, draws=10)
        assert curves.resolution_angstrom == float("inf")


def test_wrong_input_is_named() -> None:
    with pytest.raises(InputError, match="cubic"):
        automatic_mask(torch.ones(8, 8, 9))
    with pytest.raises(InputError, match="NaN"):
        automatic_mask(torch.full((8, 8, 8), torch.nan))
