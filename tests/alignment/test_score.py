from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gumnet.alignment.band import ShellPower, shell_weights
from gumnet.alignment.score import Candidates, Comparison, default_mask, rescored
from gumnet.averaging.mask import soft_sphere
from gumnet.geometry.fourier import frequencies, shell_indices, shell_sums, spread_shells, to_fourier, to_real
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.wedge import missing_wedge, rotate_weights
from gumnet.particles import Poses
from tests.oracles.gaussians import density

BOX = 24


def at(rotation: torch.Tensor, shift: torch.Tensor) -> Candidates:
    return Candidates.from_poses(Poses.of(rotation[None], shift[None]), torch.device("cpu"))


@pytest.fixture
def pose(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    return random_rotations(1, generator=generator)[0], torch.tensor([1.3, -2.1, 0.6], dtype=torch.float64)


def test_two_noise_free_volumes_score_one_whatever_their_weights(pose: tuple[torch.Tensor, torch.Tensor]) -> None:
    rotation, shift = pose
    ripple = (1.2 + torch.cos(30 * frequencies(BOX).norm(dim=-1)))[None]
    a, b = density(BOX)[None].float(), density(BOX, rotation, shift)[None].float()
    for weights_a, weights_b in ((None, None), (None, ripple), (ripple, ripple)):
        seen_a = a if weights_a is None else to_real(to_fourier(a) * weights_a, BOX)
        seen_b = b if weights_b is None else to_real(to_fourier(b) * weights_b, BOX)
        comparison = Comparison.of(seen_a, seen_b, weights_a, weights_b)
        assert rescored(comparison, at(rotation, shift), 8).scores.item() > 0.97


def test_the_score_is_the_correlation_on_the_shared_observed_region(generator: torch.Generator) -> None:
    wedge = missing_wedge(BOX, 60.0)[None]
    a = density(BOX)[None].float()
    b = to_real(to_fourier(torch.randn(1, BOX, BOX, BOX, generator=generator)) * wedge, BOX)
    a = to_real(to_fourier(a) * wedge, BOX)
    comparison = Comparison.of(a, b, wedge, wedge)
    # By hand, in float64, at the identity: turn nothing, keep what both observed.
    masked = (a - a.mean()) * soft_sphere(BOX)
    first, second = to_fourier(masked.double())[0], to_fourier(b.double())[0]
    shell = shell_indices(BOX).clamp(max=BOX // 2)
    keep = ((shell >= 1) & (shell <= 8)).double() * wedge[0]
    # The plane kx = 0 counts once, the others twice.
    count = torch.full((BOX // 2 + 1,), 2.0, dtype=torch.float64)
    count[0] = 1.0
    g = comparison.shell_weights[0, shell].double() * keep * count
    expected = (g * (first * second.conj()).real).sum()
    expected = expected / torch.sqrt((g * first.abs() ** 2).sum() * (g * second.abs() ** 2).sum())
    found = rescored(comparison, at(torch.eye(3), torch.zeros(3)), 8).scores.item()
    assert found == pytest.approx(expected.item(), abs=0.01)


def test_the_score_ignores_scale_and_offset(pose: tuple[torch.Tensor, torch.Tensor]) -> None:
    rotation, shift = pose
    a, b = density(BOX)[None].float(), density(BOX, rotation, shift)[None].float()
    wedge = missing_wedge(BOX, 60.0)[None]
    plain = rescored(Comparison.of(a, b, None, wedge), at(rotation, shift), 8).scores
    scaled = rescored(Comparison.of(1e-6 * a + 2e-6, 1e5 * b - 3e5, None, 7 * wedge), at(rotation, shift), 8).scores
    torch.testing.assert_close(plain, scaled, atol=2e-3, rtol=0)


def test_a_centre_is_where_shifts_are_counted_from(pose: tuple[torch.Tensor, torch.Tensor]) -> None:
    rotation, shift = pose
    wedge = missing_wedge(BOX, 60.0)[None]
    a, b = density(BOX)[None].float(), density(BOX, rotation, shift)[None].float()
    b = to_real(to_fourier(b) * wedge, BOX)
    plain = rescored(Comparison.of(a, b, None, wedge), at(rotation, shift), 8)
    centre = torch.tensor([1.0, -2.0, 1.0], dtype=torch.float64)
    centred = Comparison.of(a, b, None, wedge, centres=centre[None])
    torch.testing.assert_close(rescored(centred, at(rotation, shift - centre), 8).scores, plain.scores)


def test_shells_below_the_lowest_count_nothing(generator: torch.Generator) -> None:
    a = density(BOX)[None].float()
    b = a + 0.1 * torch.randn(a.shape, generator=generator)
    comparison = Comparison.of(a, b, None, None, lowest_shell=3)
    assert (comparison.shell_weights[:, :3] == 0).all()
    assert (comparison.shell_weights[:, 3:8] > 0).all()
    # What is added there changes nothing, once the weights of the other shells are the same.
    low = to_real(torch.where(shell_indices(BOX) < 3, 20 * to_fourier(b), 0), BOX)
    keep = at(torch.eye(3), torch.zeros(3))
    spoilt = replace(comparison, spectra=comparison.spectra + to_fourier(low))
    torch.testing.assert_close(rescored(spoilt, keep, 8).scores, rescored(comparison, keep, 8).scores)


def test_a_wedge_on_the_reference_turns_with_it(pose: tuple[torch.Tensor, torch.Tensor]) -> None:
    rotation, _ = pose
    wedge = missing_wedge(BOX, 45.0)[None]
    a = to_real(to_fourier(density(BOX)[None].float()) * wedge, BOX)
    b = density(BOX, rotation)[None].float()
    # What is missing in a is missing in the turned b at the turned place: adding anything there changes nothing.
    hidden = 1 - (rotate_weights(wedge, rotation.mT[None].float()) > 0.02).float()
    spoilt = to_real(to_fourier(b) * (1 + 2 * hidden), BOX)
    comparison, other = Comparison.of(a, b, wedge, None), Comparison.of(a, spoilt, wedge, None)
    # What the shells weigh is estimated from all of b.
    other = replace(other, shell_weights=comparison.shell_weights)
    keep = at(rotation, torch.zeros(3, dtype=torch.float64))
    change = rescored(other, keep, 8).scores - rescored(comparison, keep, 8).scores
    assert change.abs().item() < 0.02


def test_fine_shells_of_a_map_count_though_its_corners_hold_some_of_it(generator: torch.Generator) -> None:
    """Against the weights of the true powers: a structure as wide as its box, of which the corners show the rim."""
    box, sigma = 32, 3.0
    fall = spread_shells(torch.exp(-torch.arange(box // 2 + 1) / 3), box)
    structure = to_real(to_fourier(torch.randn(1, box, box, box, generator=generator)) * fall, box)
    structure = structure * soft_sphere(box, 17.0, 1.0)
    structure = structure / structure.std()
    particles = structure + sigma * torch.randn(20, box, box, box, generator=generator)
    of_shell = shell_sums(to_fourier(structure - structure.mean()).abs() ** 2, box)
    signal = of_shell / shell_sums(torch.ones(1, box, box, box // 2 + 1), box)
    nothing = torch.zeros_like(signal)
    powers = ShellPower(signal, nothing), ShellPower(signal, nothing + sigma**2 * box**3)
    # What is compared lies in the mask.
    ideal = shell_weights(*(p.concentrated(float(default_mask(box).square().mean())) for p in powers))[0]

    def share(*, to_map: bool) -> torch.Tensor:
        found = Comparison.of(structure, particles, None, None, to_map=to_map).shell_weights.mean(dim=0) / ideal
        return found[8:14] / found[3:6].mean()

    torch.testing.assert_close(share(to_map=True), torch.ones(6), rtol=0, atol=0.35)
    assert float(share(to_map=False).min()) < 0.5, "or the test would show nothing"
