import torch
from oracles import gaussians

from gumnet.averaging.accumulate import Accumulator
from gumnet.averaging.frame import agreement, fit_frame, frame_shells, unrelated_maps
from gumnet.averaging.fsc import fsc
from gumnet.averaging.sums import BoxSums
from gumnet.geometry.so3 import angular_distance_degrees, random_rotations
from gumnet.particles import Poses

BOX = 32


def sums_of(volume: torch.Tensor) -> BoxSums:
    sums = Accumulator(BOX)
    sums.add(volume[None].float(), None, Poses.identity(1))
    return sums.reduced()


def test_frame_is_the_pose_between_the_two_maps(generator: torch.Generator) -> None:
    rotation = random_rotations(1, generator=generator)[0]
    shift = torch.tensor([1.5, -2.0, 0.5], dtype=torch.float64)
    first, second = sums_of(gaussians.density(BOX)), sums_of(gaussians.density(BOX, rotation, shift))
    found = fit_frame(first, second, near=False)
    assert angular_distance_degrees(found.rotations[0], rotation) < 1.0
    assert (found.shifts[0] - shift).norm() < 0.1


def test_frame_leaves_half_of_the_shells_alone() -> None:
    assert [frame_shells(box) for box in (8, 16, 24, 32, 64)] == [2, 4, 6, 7, 7]


def test_chance_is_what_unrelated_noise_reaches_and_signal_keeps_its_own(generator: torch.Generator) -> None:
    noise = torch.randn(2, BOX, BOX, BOX, dtype=torch.float64, generator=generator)
    density = gaussians.density(BOX)
    halves = [sums_of(density + 0.02 * n) for n in noise]
    maps = torch.stack([half.result() for half in halves])
    unrelated = unrelated_maps(halves[0], halves[1], near=False, generator=generator)
    plain, without_chance = fsc(maps[0], maps[1]), agreement(maps, unrelated)
    fitted = frame_shells(BOX)
    # The amplitudes of an unrelated map are the half's own; turning it loses what leaves the box, half of its volume.
    ratio = unrelated.flatten(1).norm(dim=1) / maps[1].norm()
    assert ratio.min() > 0.5
    assert ratio.max() <= 1.0
    assert fsc(maps[:1].expand_as(unrelated), unrelated)[:, 1 : fitted + 1].mean() < 0.6
    assert (without_chance <= plain + 1e-9).all()
    assert torch.equal(without_chance[fitted + 1 :], plain[fitted + 1 :])
    assert without_chance[1:6].min() > 0.95
    assert (plain - without_chance)[2:].max() < 0.05
    assert torch.equal(agreement(maps, None), plain)
