"""The alignment loss: conventions of the pose, imputation, and what it must not do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gumnet.geometry.fourier import shell_indices, shell_sums, to_fourier, to_real
from gumnet.geometry.rigid import matrix_from_euler
from gumnet.geometry.so3 import angular_distance_degrees, random_rotations, rotation_from_vector
from gumnet.geometry.warp import voxel_coordinates
from gumnet.geometry.wedge import missing_wedge, rotate_weights
from gumnet.model.loss import alignment_loss, band_correlations, impute, nyquist_sphere, observed_mask, pearson

BOX = 24
MODES = ["impute", "leave-out"]


def blobs(
    generator: torch.Generator, n: int, rotations: Tensor, shifts: Tensor, box: int = BOX, sigma: float = 2.0
) -> tuple[Tensor, Tensor]:
    """Return n asymmetric particles (n, N, N, N), untouched and posed by ``x -> R x + t``, from analytic Gaussians."""
    places = torch.randn(n, 8, 3, generator=generator, dtype=rotations.dtype) * box / 9
    heights = torch.rand(n, 8, generator=generator, dtype=rotations.dtype) + 0.5
    x = voxel_coordinates(box, dtype=rotations.dtype)

    def density(centres: Tensor) -> Tensor:
        total = torch.zeros(n, box, box, box, dtype=rotations.dtype)
        for k in range(8):
            distance = (x - centres[:, k, None, None, None]).square().sum(-1)
            total += heights[:, k, None, None, None] * torch.exp(-distance / (2 * sigma**2))
        return total

    posed = torch.einsum("nij,nkj->nki", rotations, places) + shifts[:, None]
    return density(places), density(posed)


def standardised(volumes: Tensor) -> Tensor:
    return (volumes - volumes.mean((1, 2, 3), keepdim=True)) / volumes.std((1, 2, 3), keepdim=True)


def filtered(volumes: Tensor, weights: Tensor) -> Tensor:
    return to_real(to_fourier(volumes) * weights, volumes.shape[-1])


def eye(n: int) -> Tensor:
    return torch.eye(3).expand(n, 3, 3)


def test_no_loss_for_a_copy_and_two_for_its_negative(generator: torch.Generator) -> None:
    a = torch.randn(2, BOX, BOX, BOX, generator=generator)
    still = torch.zeros(2, 3)
    torch.testing.assert_close(alignment_loss(a, 3 * a + 5, eye(2), still), torch.zeros(2), rtol=0, atol=1e-5)
    # The authors' square of the correlation would call this perfect.
    torch.testing.assert_close(alignment_loss(a, -a, eye(2), still), torch.full((2,), 2.0), rtol=0, atol=1e-5)
    other = torch.randn(2, BOX, BOX, BOX, generator=generator)
    torch.testing.assert_close(alignment_loss(a, other, eye(2), still), torch.ones(2), rtol=0, atol=0.06)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sides", ["none", "b", "both"])
def test_near_zero_at_the_true_pose_alone(mode: str, sides: str, generator: torch.Generator) -> None:
    n = 6
    rotations, shifts = random_rotations(n, generator=generator).float(), torch.rand(n, 3, generator=generator) * 4 - 2
    a, b = blobs(generator, n, rotations, shifts)
    wedge = missing_wedge(BOX, 60.0)
    weights_a = wedge if sides == "both" else None
    weights_b = None if sides == "none" else wedge
    a = a if weights_a is None else filtered(a, wedge)
    b = b if weights_b is None else filtered(b, wedge)
    loss = alignment_loss(a, b, rotations, shifts, weights_a, weights_b, unobserved=mode)  # type: ignore[arg-type]
    # What is left is trilinear interpolation, and the edges of a wedge that lie between Fourier samples.
    assert float(loss.max()) < {"none": 0.001, "b": 0.05, "both": 0.06}[sides]
    wrong = alignment_loss(a, b, rotations.mT, shifts, weights_a, weights_b, unobserved=mode)  # type: ignore[arg-type]
    assert float((wrong - loss).min()) > 0.03
    assert float((wrong - loss).mean()) > 0.1


@pytest.mark.parametrize("mode", MODES)
def test_zero_after_a_quarter_turn_with_a_wedge_in_both(mode: str, generator: torch.Generator) -> None:
    # A quarter turn needs no interpolation: nothing may be left, on an odd box, which has no Nyquist frequency.
    box = 25
    rotations = torch.round(matrix_from_euler("ZYX", torch.tensor([[90.0, 0.0, 90.0], [0.0, 90.0, 180.0]])))
    a, b = blobs(generator, 2, rotations, torch.zeros(2, 3), box)
    wedge = missing_wedge(box, 60.0)
    seen_a, seen_b = filtered(a, wedge), filtered(b, wedge)
    still = torch.zeros(2, 3)
    loss = alignment_loss(seen_a, seen_b, rotations, still, wedge, wedge, unobserved=mode)  # type: ignore[arg-type]
    assert float(loss.abs().max()) < 2e-5


@pytest.mark.parametrize("sides", ["none", "b", "both"])
def test_descent_from_a_nearby_pose_finds_the_true_one(sides: str, generator: torch.Generator) -> None:
    # Small blobs in a box that is not too small: at low frequencies a wedge is only a few samples wide.
    n, box = 2, 24
    rotations = random_rotations(n, generator=generator).float()
    shifts = torch.tensor([[2.0, -1.0, 0.5], [-1.5, 0.0, 1.0]])
    a, b = blobs(generator, n, rotations, shifts, box, sigma=1.3)
    wedge = missing_wedge(box, 60.0)
    weights_a = wedge if sides == "both" else None
    weights_b = None if sides == "none" else wedge
    a = a if weights_a is None else filtered(a, wedge)
    b = b if weights_b is None else filtered(b, wedge)
    turn = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=1) * 0.2
    turn, move = turn.requires_grad_(), torch.full((n, 3), 0.6).requires_grad_()
    start = rotations.clone()
    optimiser = torch.optim.Adam([{"params": [turn], "lr": 0.04}, {"params": [move], "lr": 0.15}])
    for _ in range(45):
        for group in optimiser.param_groups:
            group["lr"] *= 0.93
        optimiser.zero_grad()
        loss = alignment_loss(a, b, rotation_from_vector(turn) @ start, shifts + move, weights_a, weights_b)
        loss.sum().backward()
        optimiser.step()
    found = rotation_from_vector(turn.detach()) @ start
    assert float(angular_distance_degrees(found, rotations).max()) < {"none": 0.7, "b": 3.0, "both": 5.0}[sides]
    assert float(move.detach().abs().max()) < {"none": 0.05, "b": 0.1, "both": 0.1}[sides]


def test_a_band_has_its_own_correlation(generator: torch.Generator) -> None:
    """Volumes that agree up to a shell and are opposite beyond: 1 there, and what the powers leave in the whole."""
    a = torch.randn(2, BOX, BOX, BOX, generator=generator, dtype=torch.float64)
    spectra, shells = to_fourier(a) * nyquist_sphere(BOX), shell_indices(BOX)
    b = to_real(torch.where(shells <= 5, spectra, -spectra), BOX)
    a = to_real(spectra, BOX)
    power = shell_sums(spectra.abs().square(), BOX)
    low, high = power[:, 1:6].sum(1), power[:, 6:].sum(1)
    found = band_correlations(a, 7 * b + 1, (0.25, 5 / 12, 1.0))
    expected = torch.stack([torch.ones(2), torch.ones(2), (low - high) / (low + high)], dim=1)
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=1e-10)
    # One band that is the whole is the loss of the paper.
    torch.testing.assert_close(found[:, 2], pearson(a, b))
    loss = alignment_loss(a, b, eye(2), torch.zeros(2, 3), bands=(5 / 12, 1.0))
    torch.testing.assert_close(loss, 1 - found[:, 1:].mean(dim=1), rtol=0, atol=1e-6)


def test_a_low_band_shows_the_way_from_further_off(generator: torch.Generator) -> None:
    """From 60 to 40 degrees off, a low band falls; the whole of a grainy body, which fits only when it fits, hardly."""
    inside = torch.sigmoid(BOX / 3 - voxel_coordinates(BOX).norm(dim=-1))
    body = torch.randn(6, BOX, BOX, BOX, generator=generator) * inside
    axes = torch.nn.functional.normalize(torch.randn(6, 3, generator=generator), dim=1)

    def at(degrees: float, bands: tuple[float, ...]) -> float:
        off = rotation_from_vector(axes * torch.deg2rad(torch.tensor(degrees)))
        return float(alignment_loss(body, body, off, torch.zeros(6, 3), bands=bands).mean())

    low, whole = (at(60.0, bands) - at(40.0, bands) for bands in ((1 / 6,), (1.0,)))
    assert low > 5 * whole
    assert low > 0.15


def test_a_pair_has_its_own_loss(generator: torch.Generator) -> None:
    n = 4
    rotations, shifts = random_rotations(n, generator=generator).float(), torch.rand(n, 3, generator=generator) * 4 - 2
    a, b = (torch.randn(n, BOX, BOX, BOX, generator=generator) for _ in range(2))
    b = b * torch.tensor([1.0, 100.0, 0.01, 1.0])[:, None, None, None]
    wedge = missing_wedge(BOX, 50.0).expand(n, -1, -1, -1)
    together = alignment_loss(a, b, rotations, shifts, wedge, wedge)
    for i in range(n):
        k = slice(i, i + 1)
        alone = alignment_loss(a[k], b[k], rotations[k], shifts[k], wedge[k], wedge[k])
        torch.testing.assert_close(alone, together[k], rtol=0, atol=1e-5)


def test_imputation_leaves_observed_coefficients_untouched(generator: torch.Generator) -> None:
    box = 25
    a, b = (torch.randn(1, box, box, box, generator=generator, dtype=torch.float64) for _ in range(2))
    sphere = nyquist_sphere(box).bool()
    mask_a, mask_b = missing_wedge(box, 40.0), missing_wedge(box, 55.0, -20.0)
    filled_a, filled_b = impute(a, b, mask_a.double(), mask_b.double(), unobserved="impute")
    spectrum_a, spectrum_b = to_fourier(a)[0], to_fourier(b)[0]
    result_a, result_b = to_fourier(filled_a)[0], to_fourier(filled_b)[0]
    seen_a, seen_b = mask_a.bool(), mask_b.bool()

    def same(first: Tensor, second: Tensor, where: Tensor) -> None:
        assert int((where & sphere).sum()) > 100
        torch.testing.assert_close(first[where & sphere], second[where & sphere], rtol=0, atol=1e-10)

    same(result_a, spectrum_a, seen_a)
    same(result_b, spectrum_b, seen_b)
    same(result_b, spectrum_a, seen_a & ~seen_b)
    same(result_a, spectrum_b, seen_b & ~seen_a)
    same(result_a, torch.zeros_like(result_a), ~seen_a & ~seen_b)
    same(result_b, torch.zeros_like(result_b), ~seen_a & ~seen_b)
    assert float(result_a[~sphere].abs().max()) < 1e-10
    left_a, left_b = impute(a, b, mask_a.double(), mask_b.double(), unobserved="leave-out")
    same(to_fourier(left_a)[0], spectrum_a, seen_a & seen_b)
    same(to_fourier(left_b)[0], spectrum_b, seen_a & seen_b)
    assert float(to_fourier(left_a)[0][~(seen_a & seen_b)].abs().max()) < 1e-10


def test_with_a_wedge_in_b_alone_this_is_equation_4(generator: torch.Generator) -> None:
    box = 25
    a, b = (torch.randn(1, box, box, box, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = missing_wedge(box, 60.0).double()
    sphere = nyquist_sphere(box, dtype=torch.float64)
    same_a, filled_b = impute(a, b, None, mask, unobserved="impute")
    expected = torch.where(mask == 1, to_fourier(b), to_fourier(a)) * sphere
    torch.testing.assert_close(to_fourier(filled_b), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(same_a, to_real(to_fourier(a) * sphere, box), rtol=0, atol=1e-12)


def test_weights_of_one_are_no_weights(generator: torch.Generator) -> None:
    rotations, shifts = random_rotations(2, generator=generator).float(), torch.ones(2, 3)
    a, b = (torch.randn(2, BOX, BOX, BOX, generator=generator) for _ in range(2))
    ones = torch.ones(BOX, BOX, BOX // 2 + 1)
    for mode in MODES:
        with_ones = alignment_loss(a, b, rotations, shifts, ones, ones, unobserved=mode)  # type: ignore[arg-type]
        torch.testing.assert_close(with_ones, alignment_loss(a, b, rotations, shifts), rtol=0, atol=1e-4)


def test_only_where_weights_vanish_is_nothing_observed(generator: torch.Generator) -> None:
    wedge = missing_wedge(BOX, 60.0)
    graded = wedge * (0.05 + torch.rand(wedge.shape, generator=generator)) * 1e-4
    assert torch.equal(observed_mask(graded), wedge)
    # A particle with larger weights does not change what another one observed.
    assert torch.equal(observed_mask(torch.stack([graded, graded * 1e6]))[0], wedge)


def test_imputing_both_rewards_wedges_that_do_not_overlap_and_leaving_out_does_not(generator: torch.Generator) -> None:
    # Noise alone: no pose is better than another, and a loss that prefers one misleads the training.
    n = 40
    wedge = missing_wedge(BOX, 60.0)
    a, b = (filtered(torch.randn(n, BOX, BOX, BOX, generator=generator), wedge) for _ in range(2))
    rotations = random_rotations(n, generator=generator).float()
    overlap = (rotate_weights(wedge[None], rotations) * wedge).mean((1, 2, 3))

    def dependence(mode: str) -> float:
        loss = alignment_loss(a, b, rotations, torch.zeros(n, 3), wedge, wedge, unobserved=mode)  # type: ignore[arg-type]
        return torch.corrcoef(torch.stack([loss, overlap]))[0, 1].item()

    assert dependence("impute") > 0.8
    assert abs(dependence("leave-out")) < 0.45  # three standard errors of a correlation of 40


@pytest.mark.parametrize("mode", MODES)
def test_gradcheck_in_the_pose(mode: str, generator: torch.Generator) -> None:
    box = 7
    a, b = (torch.randn(1, box, box, box, generator=generator, dtype=torch.float64) for _ in range(2))
    wedge = missing_wedge(box, 50.0).double()
    rotations = random_rotations(1, generator=generator).requires_grad_()
    shifts = torch.tensor([[0.3, -0.4, 0.2]], dtype=torch.float64, requires_grad=True)

    def loss(rotation: Tensor, shift: Tensor) -> Tensor:
        return alignment_loss(a, b, rotation, shift, wedge, wedge, unobserved=mode)  # type: ignore[arg-type]

    assert torch.autograd.gradcheck(loss, (rotations, shifts), eps=1e-7, atol=1e-5)


def test_turning_the_mask_has_a_gradient(generator: torch.Generator) -> None:
    # b is constant, so its warp carries no gradient: what there is comes through the mask.
    a = torch.randn(1, BOX, BOX, BOX, generator=generator)
    b = torch.randn(1, BOX, BOX, BOX, generator=generator)
    rotations = random_rotations(1, generator=generator).float().requires_grad_()
    mask = rotate_weights(missing_wedge(BOX, 60.0)[None], rotations)
    pearson(*impute(a, b, None, mask, unobserved="impute")).sum().backward()
    assert rotations.grad is not None
    assert float(rotations.grad.abs().max()) > 1e-4


def test_bfloat16_autocast_leaves_the_geometry_alone(generator: torch.Generator) -> None:
    rotations, shifts = random_rotations(2, generator=generator).float(), torch.ones(2, 3) * 1.3
    a, b = blobs(generator, 2, rotations, shifts)
    wedge = missing_wedge(BOX, 60.0)
    plain = alignment_loss(a, b, rotations, shifts, wedge, wedge)
    with torch.autocast("cpu", torch.bfloat16):
        inside = alignment_loss(a, b, rotations, shifts, wedge, wedge)
    assert torch.equal(inside, plain)


def test_constant_volumes_give_one_and_no_nan() -> None:
    flat = torch.ones(1, BOX, BOX, BOX)
    assert alignment_loss(flat, flat, eye(1), torch.zeros(1, 3)).item() == pytest.approx(1.0)


def test_a_pose_that_is_no_number_gives_no_number(generator: torch.Generator) -> None:
    # Sampling at NaN gives zeros, which would pass for a pair that does not correlate.
    a = torch.randn(2, BOX, BOX, BOX, generator=generator)
    shifts = torch.tensor([[0.0, torch.nan, 0.0], [0.0, 0.0, 0.0]])
    loss = alignment_loss(a, a, eye(2), shifts)
    assert bool(loss[0].isnan())
    assert loss[1].item() == pytest.approx(0.0, abs=1e-5)
