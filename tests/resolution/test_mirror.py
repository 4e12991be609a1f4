"""Maps of opposite hands."""

from __future__ import annotations

import pytest
import torch

from gumnet.resolution.mirror import find_mirrored, mirrored


@pytest.mark.parametrize("box", [16, 17])
def test_the_centre_stays_and_twice_is_nothing(box: int, generator: torch.Generator) -> None:
    volume = torch.randn(box, box, box, generator=generator)
    c = box // 2
    for axis in range(3):
        turned = mirrored(volume, axis)
        assert turned[c, c, c] == volume[c, c, c]
        assert torch.equal(mirrored(turned, axis), volume)
    assert mirrored(volume, 0)[c + 3, c + 1, c - 2] == volume[c - 3, c + 1, c - 2]


@pytest.mark.parametrize("box", [24, 25])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirror_image_under_noise_is_found_with_its_axis(box: int, axis: int, generator: torch.Generator) -> None:
    volume, *noise = torch.randn(3, box, box, box, generator=generator)
    maps = torch.stack([volume + noise[0], mirrored(volume, axis) + noise[1]])
    found = find_mirrored(maps, voxel_size_angstrom=10.0, threshold=0.143)
    assert found is not None
    assert found.axis == axis
    assert found.resolution_angstrom == pytest.approx(20, rel=0.1)
    assert f"along {'zyx'[axis]}" in found.words()


def test_half_maps_and_noise_are_no_mirror_images(generator: torch.Generator) -> None:
    volume, *noise = torch.randn(3, 24, 24, 24, generator=generator)
    for maps in (torch.stack([volume + noise[0], volume + noise[1]]), torch.stack(noise)):
        assert find_mirrored(maps, voxel_size_angstrom=10.0, threshold=0.143) is None


def test_a_map_that_is_its_own_mirror_image_has_no_hand(generator: torch.Generator) -> None:
    volume = torch.randn(24, 24, 24, generator=generator)
    volume = volume + mirrored(volume, 0)
    assert find_mirrored(torch.stack([volume, volume]), voxel_size_angstrom=10.0, threshold=0.143) is None
