from __future__ import annotations

import math

import pytest
import torch
from oracles.half_maps import noise, noisy_phantom

from gumnet.averaging.fsc import fsc
from gumnet.averaging.mask import low_pass, soft_sphere
from gumnet.devices import seeded
from gumnet.errors import InputError
from gumnet.geometry.fourier import frequencies, spread_shells, to_fourier, to_real
from gumnet.resolution.phase_randomisation import (
    RANDOMISED_BELOW,
    SHELLS_LEFT,
    first_shell_below,
    phase_randomisation,
    randomise_phases,
)

VOXEL = 5.0


@pytest.mark.parametrize("box", [15, 16])
def test_random_phases_keep_amplitudes_and_all_below_the_shell(box: int, generator: torch.Generator) -> None:
    volumes = noise(3, box, generator)
    out = randomise_phases(volumes, 4, generator)
    before, after = to_fourier(volumes), to_fourier(out)
    # Real out, amplitudes as before: the random phases are those of a real volume, on the planes of symmetry too.
    torch.testing.assert_close(after.abs(), before.abs(), atol=1e-9, rtol=1e-9)
    inside = frequencies(box, dtype=torch.float64).norm(dim=-1) * box < 4 - 1e-6
    torch.testing.assert_close(after[:, inside], before[:, inside], atol=1e-9, rtol=0)
    assert abs(float(fsc(volumes, out)[:, 5:].mean())) < 0.05


def test_shell_below_a_level() -> None:
    curve = torch.tensor([0.1, 1.0, 0.9, 0.7, 0.9, 0.2])
    assert first_shell_below(curve, 0.8) == 3, "shell 0 does not count"
    assert first_shell_below(curve, 0.1) is None


def test_corrected_curve_follows_its_formula_and_its_two_shells(generator: torch.Generator) -> None:
    box = 32
    _, halves = noisy_phantom(box, 0.3, generator)
    mask = soft_sphere(box, 10, 4)
    found = phase_randomisation(halves, mask, voxel_size_angstrom=VOXEL, generator=seeded(1))
    shell = found.randomised_from_shell
    assert shell is not None
    assert found.unmasked[shell] < RANDOMISED_BELOW <= found.unmasked[1:shell].min()
    torch.testing.assert_close(found.unmasked, fsc(halves[0], halves[1]))
    torch.testing.assert_close(found.masked, fsc(halves[0], halves[1], mask=mask))
    first = shell + SHELLS_LEFT
    torch.testing.assert_close(found.corrected[:first], found.masked[:first])
    r, m = found.randomised[first:], found.masked[first:]
    torch.testing.assert_close(found.corrected[first:], (m - r) / (1 - r))
    again = phase_randomisation(halves, mask, voxel_size_angstrom=VOXEL, generator=seeded(1))
    assert torch.equal(again.corrected, found.corrected), "one seed, one result"
    assert found.corrected.dtype == torch.float64


def test_a_rough_mask_is_seen_through(generator: torch.Generator) -> None:
    box = 32
    # Half maps that share nothing beyond shell 5, in a mask as rough as noise: its edges are in both.
    structure, _ = noisy_phantom(box, 0.0, generator)
    halves = low_pass(structure, 4 / box, 0.0) + 0.1 * noise(2, box, generator)
    mask = (noise(1, box, generator)[0] > 0).double()
    found = phase_randomisation(halves, mask, voxel_size_angstrom=VOXEL, generator=seeded(0), draws=20)
    beyond = slice(10, None)
    assert float(found.unmasked[beyond].abs().max()) < 0.1
    assert float(found.masked[beyond].mean()) > 0.3, "the mask alone makes them agree"
    assert float(found.corrected[beyond].mean().abs()) < 0.05
    assert found.resolution_angstrom > 1.2 * VOXEL * box / 10


def test_a_soft_mask_adds_nothing_to_the_truth(generator: torch.Generator) -> None:
    box = 32
    signal = torch.exp(-torch.linspace(0, 3, box // 2 + 1, dtype=torch.float64))
    structure = to_real(to_fourier(noise(1, box, generator)[0]) * spread_shells(signal, box), box)
    halves = structure + 0.1 * noise(2, box, generator)
    found = phase_randomisation(
        halves, soft_sphere(box, 9, 5), voxel_size_angstrom=VOXEL, generator=seeded(0), draws=20
    )
    # White within the mask as without: the same ratio of signal and noise.
    expected = signal**2 / (signal**2 + 0.01)
    torch.testing.assert_close(found.corrected[6:], expected[6:], atol=0.12, rtol=0)
    assert float((found.corrected - expected)[6:].mean().abs()) < 0.03


def test_pure_noise_claims_no_resolution() -> None:
    box = 24
    mask = soft_sphere(box, 7, 3)
    for seed in range(25):
        generator = seeded(seed)
        found = phase_randomisation(
            noise(2, box, generator), mask, voxel_size_angstrom=VOXEL, generator=generator, draws=2
        )
        assert math.isinf(found.resolution_angstrom)


def test_maps_that_agree_everywhere_are_not_corrected(generator: torch.Generator) -> None:
    volume = noise(1, 16, generator)[0]
    mask = soft_sphere(16)
    found = phase_randomisation(torch.stack([volume, volume]), mask, voxel_size_angstrom=VOXEL, generator=generator)
    assert found.randomised_from_shell is None
    assert torch.equal(found.corrected, found.masked)
    assert found.resolution_angstrom == 2 * VOXEL


def test_wrong_input_is_named(generator: torch.Generator) -> None:
    mask = soft_sphere(16)
    with pytest.raises(InputError, match="two volumes"):
        phase_randomisation(noise(3, 16, generator), mask, voxel_size_angstrom=VOXEL, generator=generator)
    with pytest.raises(InputError, match="draws"):
        phase_randomisation(noise(2, 16, generator), mask, voxel_size_angstrom=VOXEL, generator=generator, draws=0)
    with pytest.raises(InputError, match="mask"):
        phase_randomisation(noise(2, 20, generator), mask, voxel_size_angstrom=VOXEL, generator=generator)
