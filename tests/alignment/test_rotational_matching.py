from __future__ import annotations

import math

import pytest
import torch
from scipy.special import sph_harm_y

from gumnet.alignment.aligner import AlignerOptions
from gumnet.alignment.baselines import BaselineAligner
from gumnet.alignment.fa import hartley
from gumnet.alignment.ht import constrained_correlation, magnitude_moments
from gumnet.alignment.pairs import align_pairs
from gumnet.alignment.rotational_matching import Peaks, correlate_rotations
from gumnet.alignment.shells import BANDWIDTH, Masked, Shells, harmonics
from gumnet.alignment.translational_matching import best_shifts
from gumnet.evaluation.metrics import pair_errors
from gumnet.geometry.fourier import shift_volumes, to_fourier, to_real
from gumnet.geometry.rigid import matrix_from_euler
from gumnet.geometry.so3 import angular_distance_degrees, random_rotations, rotation_from_vector
from gumnet.geometry.spherical_harmonics import spherical_transform, with_negative_orders
from gumnet.geometry.wedge import missing_wedge
from gumnet.particles import Particles, Poses
from gumnet.simulation.config import SimulationConfig, WedgeSide
from gumnet.simulation.dataset import simulate
from tests.oracles.gaussians import density, spectrum

CPU = torch.device("cpu")
ALIGNERS = {"ht": BaselineAligner.ht, "fa": BaselineAligner.fa}


def grid_rotations(bandwidth: int) -> torch.Tensor:
    """Return the rotations (2 L, 2 L, 2 L, 3, 3) for (alpha, gamma, beta) as `correlate_rotations` orders them."""
    angle = math.pi / bandwidth * torch.arange(2 * bandwidth, dtype=torch.float64)
    alpha, gamma, beta = torch.meshgrid(angle, angle, angle, indexing="ij")
    return matrix_from_euler("ZYZ", torch.stack([alpha, beta, gamma], dim=-1), degrees=False)


def evaluate(coefficients: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Return the real functions (r, ...) of coefficients (r, L, L) at unit vectors (..., 3)."""
    bandwidth = coefficients.shape[-1]
    theta, phi = torch.acos(points[..., 2].clamp(-1, 1)), torch.atan2(points[..., 1], points[..., 0])
    out = torch.zeros(len(coefficients), *points.shape[:-1], dtype=torch.complex128)
    full = with_negative_orders(coefficients)
    for degree in range(bandwidth):
        for m in range(-degree, degree + 1):
            harmonic = torch.from_numpy(sph_harm_y(degree, m, theta.numpy(), phi.numpy()))
            out += torch.einsum("r,...->r...", full[:, degree, m + bandwidth - 1], harmonic)
    return out.real


def random_coefficients(shells: int, bandwidth: int, generator: torch.Generator, *, even: bool) -> torch.Tensor:
    coefficients = torch.randn(shells, bandwidth, bandwidth, dtype=torch.complex128, generator=generator).tril()
    coefficients[..., 0] = coefficients[..., 0].real.to(coefficients.dtype)
    if even:
        coefficients[:, 1::2] = 0
    return coefficients


@pytest.mark.parametrize("even", [False, True])
def test_the_correlation_over_all_rotations_is_that_by_brute_force(even: bool, generator: torch.Generator) -> None:
    bandwidth, radial = 4, torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64)
    a, b = (random_coefficients(3, bandwidth, generator, even=even) for _ in range(2))
    fast = correlate_rotations(a[None].cfloat(), b[None].cfloat(), radial.float(), even=even)[0]
    transform = spherical_transform(bandwidth, dtype=torch.float64)
    rotations = grid_rotations(bandwidth)
    # (R a)(x) = a(R^-1 x); the first coefficient is the integral over the sphere divided by sqrt(4 pi).
    turned = evaluate(a, torch.einsum("tpi,...ij->...tpj", transform.directions, rotations))
    products = turned * evaluate(b, transform.directions)[:, None, None, None]
    integrals = transform.forward(products)[..., 0, 0].real * math.sqrt(4 * math.pi)
    expected = torch.einsum("r,r...->...", radial, integrals)
    torch.testing.assert_close(fast.double(), expected, atol=1e-4 * float(expected.abs().max()), rtol=0)


def test_peaks_are_distinct_and_the_highest(generator: torch.Generator) -> None:
    grid = grid_rotations(18)
    # One at the pole of beta, where an angle has many pairs (alpha, gamma), one within 12 degrees of another.
    pole = matrix_from_euler("ZYZ", torch.tensor([30.0, 0.0, 50.0], dtype=torch.float64))
    other = matrix_from_euler("ZYZ", torch.tensor([200.0, 100.0, 10.0], dtype=torch.float64))
    near = matrix_from_euler("ZYZ", torch.tensor([200.0, 110.0, 10.0], dtype=torch.float64))
    far = matrix_from_euler("ZYZ", torch.tensor([310.0, 180.0, 130.0], dtype=torch.float64))
    scores = torch.zeros(grid.shape[:3], dtype=torch.float64)
    for centre, height in ((pole, 1.0), (other, 0.9), (near, 0.8), (far, 0.7)):
        scores = torch.maximum(scores, height * torch.exp(-((angular_distance_degrees(grid, centre) / 6) ** 2)))
    scores += 1e-3 * torch.rand(grid.shape[:3], generator=generator, dtype=torch.float64)[..., :1]
    peaks = Peaks.of(scores[None].float(), 3, 15.0)
    distance = angular_distance_degrees(peaks.rotations[0].double(), torch.stack([pole, other, far]))
    assert distance.max() < 0.1
    torch.testing.assert_close(peaks.scores[0], torch.tensor([1.0, 0.9, 0.7]), atol=2e-3, rtol=0)


def shells_of(mask: torch.Tensor, magnitude: torch.Tensor, directions: torch.Tensor) -> Shells:
    frequencies = directions.expand(*magnitude.shape, 3)
    return Shells(torch.complex(magnitude, torch.zeros_like(magnitude))[None], mask[None], frequencies)


def test_the_constrained_correlation_is_pearsons_over_the_shared_region(generator: torch.Generator) -> None:
    # Masks and magnitudes of low degree, so that nothing aliases; all even, as those of spectra are.
    directions = spherical_transform(BANDWIDTH).directions.double()
    forms = torch.randn(2, 2, 3, 3, generator=generator, dtype=torch.float64)
    forms = forms + forms.mT

    def pair(which: int, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values = torch.einsum("...i,qij,...j->q...", points, forms[which], points)
        # Two shells that differ in mean and contrast.
        mask, magnitude = torch.sigmoid(values[0] / 4), torch.stack([9 + values[1], 2 + 0.5 * values[1] ** 2])
        return mask.expand_as(magnitude), magnitude

    a, b = (shells_of(*(v.float() for v in pair(i, directions)), directions.float()) for i in (0, 1))
    fast = constrained_correlation(magnitude_moments(a), magnitude_moments(b), a.volume)
    assert fast.max() < 1
    grid = grid_rotations(BANDWIDTH)
    transform = spherical_transform(BANDWIDTH, dtype=torch.float64)
    radial = torch.tensor([1.0, 4.0], dtype=torch.float64)

    def total(values: torch.Tensor) -> torch.Tensor:
        return radial @ transform.forward(values)[..., 0, 0].real

    v, y = pair(1, directions)
    for place in [(0, 0, 0), (5, 60, 11), (70, 3, 36), (31, 17, 50)]:
        u, x = pair(0, directions @ grid[place])
        region = total(u * v)
        mean_x, mean_y = total(u * v * x) / region, total(u * v * y) / region
        covariance = total(u * v * (x - mean_x) * (y - mean_y))
        spread = total(u * v * (x - mean_x) ** 2) * total(u * v * (y - mean_y) ** 2)
        assert fast[place].item() == pytest.approx((covariance / spread.sqrt()).item(), abs=2e-4)


def on_shells(box: int, shells: int, rotation: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Return the exact spectrum (r, t, p) of the Gaussian density moved by a pose."""
    directions = spherical_transform(BANDWIDTH).directions.double()
    k = torch.arange(1, shells + 1, dtype=torch.float64)[:, None, None, None] / box * directions
    return spectrum(k @ rotation) * torch.exp(-2j * math.pi * (k @ shift))


SHIFT = torch.tensor([3.4, -1.6, 2.3], dtype=torch.float64)
ROTATION = rotation_from_vector(torch.tensor([0.7, -1.2, 0.4], dtype=torch.float64))


def test_spectra_on_shells_are_those_of_the_density() -> None:
    volume = density(32, ROTATION, SHIFT)[None]
    shells = Shells.of(Masked(volume.float(), torch.ones(1, 32, 32, 17)), 15)
    exact = on_shells(32, 15, ROTATION, SHIFT)
    scale = exact.abs().amax(dim=(1, 2))
    error = (shells.values[0] - exact).abs().amax(dim=(1, 2)) / scale
    # The higher shells of these blobs hold a millionth of the lowest.
    assert error[:10].max() < 0.06
    moved = Shells.of(Masked(density(32, ROTATION)[None].float(), torch.ones(1, 32, 32, 17)), 15).moved(SHIFT[None])
    assert ((moved[0] - exact).abs().amax(dim=(1, 2)) / scale)[:10].max() < 0.06
    assert shells.mask.min() > 0.999


def test_the_magnitudes_do_not_see_a_shift() -> None:
    ones = torch.ones(1, 32, 32, 17)
    still, moved = (
        magnitude_moments(Shells.of(Masked(v[None].float(), ones), 15)) for v in (density(32), density(32, None, SHIFT))
    )
    scale = still[1].abs().max()
    # Odd degrees are 0, and the even ones stay, by the side of what a turn of 20 degrees does.
    assert still[:, :, 1::2].abs().max() < 1e-3 * scale
    turned = rotation_from_vector(torch.tensor([0.2, 0.2, -0.2], dtype=torch.float64))
    other = magnitude_moments(Shells.of(Masked(density(32, turned)[None].float(), ones), 15))
    assert (moved[1] - still[1]).norm() < (other[1] - still[1]).norm() / 20


def test_one_real_transform_correlates_complex_spectra() -> None:
    a, b = (
        on_shells(32, 12, torch.eye(3, dtype=torch.float64), torch.zeros(3).double()),
        on_shells(32, 12, ROTATION, SHIFT),
    )
    radial = torch.arange(1, 13, dtype=torch.float64) ** 2
    fast = correlate_rotations(
        harmonics(hartley(a).float())[None], harmonics(hartley(b).float())[None], radial.float()
    )[0]
    transform = spherical_transform(BANDWIDTH, dtype=torch.float64)
    grid = grid_rotations(BANDWIDTH)
    for place in [(0, 0, 0), (5, 60, 11), (70, 3, 36), (31, 17, 50)]:
        turned = on_shells(32, 12, grid[place], torch.zeros(3).double())
        expected = radial @ transform.forward((turned * b.conj()).real)[:, 0, 0].real * math.sqrt(4 * math.pi)
        assert fast[place].item() == pytest.approx(expected.item(), abs=1e-4 * float(fast.abs().max()))


def test_whole_shifts_are_found_within_their_limit() -> None:
    a = Masked.of(density(32)[None].float(), None)
    b = Masked.of(density(32, ROTATION, SHIFT)[None].float(), missing_wedge(32, 60.0)[None])
    rotations = torch.stack([torch.eye(3), ROTATION.float()])
    shifts, scores = best_shifts(a, b, rotations, shells=15, max_shift=8.0, subvoxel=False)
    torch.testing.assert_close(shifts[1].double(), SHIFT.round())
    assert scores[1] > 0.9
    assert scores[0] < scores[1] - 0.1
    limited, _ = best_shifts(a, b, rotations, shells=15, max_shift=1.5, subvoxel=False)
    assert limited.abs().max() == 1
    still, _ = best_shifts(a, b, rotations, shells=15, max_shift=0.0, subvoxel=True)
    assert not still.any()


@pytest.mark.parametrize(("wedge_a", "bound"), [(False, 0.06), (True, 0.12)])
def test_shifts_are_interpolated_on_the_shared_region(wedge_a: bool, bound: float) -> None:
    # Two wedges stretch the peak in a slanting direction, where the highest whole voxel is not the nearest.
    wedge = missing_wedge(32, 60.0)[None]
    a = Masked.of(density(32)[None].float(), wedge if wedge_a else None)
    b = Masked.of(density(32, ROTATION, SHIFT)[None].float(), wedge)
    shifts, _ = best_shifts(a, b, ROTATION[None].float(), shells=15, max_shift=8.0, subvoxel=True)
    assert (shifts[0] - SHIFT).abs().max() < bound


def clean_pairs(n: int, box: int, generator: torch.Generator, *, wedge_a: bool) -> tuple[torch.Tensor, ...]:
    """Return a, b, the wedge, rotations and shifts; the densities are exact."""
    wedge = missing_wedge(box, 60.0)
    turns, rotations = random_rotations(n, generator=generator), random_rotations(n, generator=generator)
    shifts = (torch.rand(n, 3, generator=generator, dtype=torch.float64) * 2 - 1) * 0.2 * box
    a = torch.stack([density(box, turn) for turn in turns])
    b = torch.stack([density(box, r @ turn, t) for r, turn, t in zip(rotations, turns, shifts, strict=True)])
    a = to_real(to_fourier(a) * wedge, box) if wedge_a else a
    return a.float(), to_real(to_fourier(b) * wedge, box).float(), wedge[None], rotations, shifts


@pytest.mark.parametrize("box", [32, 27])
@pytest.mark.parametrize("method", ["ht", "fa"])
def test_clean_pairs_are_aligned_to_the_grid(method: str, box: int, generator: torch.Generator) -> None:
    a, b, wedge, rotations, shifts = clean_pairs(4, box, generator, wedge_a=False)
    found = ALIGNERS[method](AlignerOptions(refine=False), CPU).align(a, b, None, wedge)
    # The grid of 5 degrees: within 5.6 of every rotation there is one of it.
    assert angular_distance_degrees(found.rotations, rotations).max() < 5.6
    assert (found.shifts - shifts).abs().max() < (0.75 if method == "ht" else 0.4)
    if method == "ht":
        torch.testing.assert_close(found.shifts, found.shifts.round())


@pytest.mark.parametrize("method", ["ht", "fa"])
def test_refinement_goes_on_from_there(method: str, generator: torch.Generator) -> None:
    a, b, wedge, rotations, shifts = clean_pairs(2, 32, generator, wedge_a=True)
    aligner = ALIGNERS[method](AlignerOptions(), CPU)
    found = aligner.align(a, b, wedge, wedge)
    assert angular_distance_degrees(found.rotations, rotations).max() < 0.6
    assert (found.shifts - shifts).norm(dim=-1).max() < 0.06
    off = rotation_from_vector(torch.deg2rad(torch.tensor([5.0, -6.0, 4.0], dtype=torch.float64)))
    again = aligner.align(a, b, wedge, wedge, Poses.of(off @ rotations, shifts + 0.7))
    assert angular_distance_degrees(again.rotations, rotations).max() < 0.6


@pytest.mark.parametrize("method", ["ht", "fa"])
def test_a_shared_reference_gives_what_one_each_gives(method: str, generator: torch.Generator) -> None:
    a, b, wedge, _, _ = clean_pairs(2, 24, generator, wedge_a=True)
    aligner = ALIGNERS[method](AlignerOptions(refine=False, max_shift=3.0), CPU)
    shared = aligner.align(a[:1], b, wedge, wedge)
    own = aligner.align(a[:1].expand(2, -1, -1, -1), b, wedge.expand(2, -1, -1, -1), wedge.expand(2, -1, -1, -1))
    torch.testing.assert_close(shared.rotations, own.rotations)
    torch.testing.assert_close(shared.shifts, own.shifts)
    assert shared.shifts.abs().max() <= 3.0


@pytest.mark.parametrize("method", ["ht", "fa"])
def test_weights_of_any_kind_mask_softly(method: str, generator: torch.Generator) -> None:
    a, b, _, rotations, _ = clean_pairs(2, 32, generator, wedge_a=False)
    weights = 0.2 + 0.8 * torch.rand(1, 32, 32, 17, generator=generator)
    b = to_real(to_fourier(b) * weights, 32)
    found = ALIGNERS[method](AlignerOptions(refine=False), CPU).align(a, b, None, weights * missing_wedge(32, 60.0))
    assert angular_distance_degrees(found.rotations, rotations).max() < 8


def phantom_pairs(n: int, snr: float, wedge: WedgeSide) -> tuple[Particles, Particles, Poses]:
    """Return the two sides of simulated pairs, and the poses of the second on the first."""
    made = simulate(
        pairs=n,
        config=SimulationConfig(snr=snr, noise="white", ctf=False, wedge=wedge, seed=5, max_shift=5.0, phantoms=2),
    )
    assert made.pairs is not None
    first, second = made.pairs.unbind(1)
    true_a, true_b = made.truth[first], made.truth[second]
    turn = true_b.rotations @ true_a.rotations.mT
    truth = Poses.of(turn, true_b.shifts - torch.einsum("nij,nj->ni", turn, true_a.shifts))
    return made.particles.select(first), made.particles.select(second), truth


@pytest.mark.parametrize(
    ("method", "snr", "wedge", "bound"),
    [
        ("ht", math.inf, "both", 0.15),
        ("fa", math.inf, "both", 0.10),
        ("ht", 100.0, "b", 0.10),
        ("fa", 100.0, "b", 0.10),
        ("fa", 0.1, "b", 0.25),
    ],
)
def test_phantoms_are_aligned(method: str, snr: float, wedge: WedgeSide, bound: float) -> None:
    a, b, truth = phantom_pairs(5, snr, wedge)
    rows = range(len(a))
    found = ALIGNERS[method](AlignerOptions(refine=False), CPU).align(
        a.read_volumes(rows), b.read_volumes(rows), a.read_weights(rows), b.read_weights(rows)
    )
    errors = pair_errors(found, truth)
    assert errors.frobenius.mean() < bound
    # Whole voxels are the shifts of the simulation.
    assert errors.shifts.max() < (0.01 if method == "ht" else 0.6)


@pytest.mark.parametrize(("method", "pairs"), [("ht", 24), ("fa", 8)])
def test_noise_is_at_chance_whatever_the_wedges(method: str, pairs: int, generator: torch.Generator) -> None:
    wedge = missing_wedge(32, 60.0)[None]
    noise = [
        to_real(to_fourier(torch.randn(pairs, 32, 32, 32, generator=generator)) * wedge, 32).float() for _ in range(2)
    ]
    found = ALIGNERS[method](AlignerOptions(refine=False), CPU).align(*noise, wedge, wedge)
    # Frobenius distance of uniform random rotations: mean 2.40, standard deviation 0.49.
    distance = torch.linalg.matrix_norm(found.rotations - torch.eye(3, dtype=torch.float64))
    assert abs(distance.mean() - 2.40) < 3 * 0.49 / math.sqrt(pairs)
    # Where the score is not bound to the shared region, the wedges are laid upon each other: the angle to the nearest
    # of the four turns that do it is then 0. Uniform random rotations: mean 75, standard deviation 21.
    wedge_on_wedge = torch.diag_embed(torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).double())
    angle = angular_distance_degrees(found.rotations[:, None], wedge_on_wedge).amin(dim=1)
    assert angle.mean() > 75 - 3 * 21 / math.sqrt(pairs)


def test_a_whole_shift_of_the_particle_moves_the_pose_alone(generator: torch.Generator) -> None:
    a, b, wedge, _, _ = clean_pairs(1, 32, generator, wedge_a=False)
    b = b + 0.3 * b.std() * torch.randn(b.shape, generator=generator)
    aligner = BaselineAligner.ht(AlignerOptions(refine=False, max_shift=12.0), CPU)
    move = torch.tensor([[2.0, -1.0, 3.0]])
    still, moved = aligner.align(a, b, None, wedge), aligner.align(a, shift_volumes(b, move), None, wedge)
    assert angular_distance_degrees(still.rotations, moved.rotations).max() < 6
    assert (moved.shifts - still.shifts - move).abs().max() <= 1


@pytest.mark.parametrize("method", ["ht", "fa"])
def test_the_methods_are_called_by_name(method: str, generator: torch.Generator) -> None:
    a, b, wedge, _, _ = clean_pairs(1, 24, generator, wedge_a=False)
    named = align_pairs(a, b, weights_b=wedge, method=method, refine=False)
    direct = ALIGNERS[method](AlignerOptions(refine=False), CPU).align(a, b, None, wedge)
    torch.testing.assert_close(named.rotations, direct.rotations)
    assert 0.5 < named.scores.item() <= 1
