"""Pairs and sets: the truth is true, apart from the particles, and the same seed gives the same bytes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gumnet.errors import InputError
from gumnet.geometry.fourier import to_fourier, to_real
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.warp import voxel_coordinates, warp
from gumnet.geometry.wedge import missing_wedge
from gumnet.particles import Poses
from gumnet.simulation import SimulationConfig, phantoms, simulate
from gumnet.simulation.dataset import posed

CLEAN = SimulationConfig(snr=math.inf, box=24, max_shift=3.0, tilt_max_degrees=90.0, ctf=False)


@pytest.fixture(scope="module")
def structures() -> torch.Tensor:
    return phantoms(2, 24)


def correlation(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a, b = (v.flatten(1) - v.flatten(1).mean(1, keepdim=True) for v in (a, b))
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def test_posed_gaussians_are_where_the_pose_says(generator: torch.Generator) -> None:
    # x_particle = R x_reference + t, on an analytic structure of two blobs, to 1 % of the height.
    points, at = voxel_coordinates(32), torch.tensor([[4.0, -2.0, 3.0], [-5.0, 1.0, 0.0]])
    poses = Poses.of(random_rotations(5, generator=generator), 4 * torch.randn(5, 3, generator=generator)).to(
        dtype=torch.float32
    )

    def blobs(centres: torch.Tensor) -> torch.Tensor:
        first, second = (torch.exp(-((points - c) ** 2).sum(-1) / (2 * 2.0**2)) for c in centres)
        return first + 0.5 * second

    found = posed(blobs(at)[None], poses)
    expected = torch.stack([blobs(at @ r.T + t) for r, t in zip(poses.rotations, poses.shifts, strict=True)])
    inside = (points.abs() < 15).all(-1)
    assert float((found - expected)[:, inside].abs().max()) < 0.01


@pytest.mark.parametrize("model", ["fourier", "tilt-series"])
def test_truth_puts_clean_particles_on_their_structures(structures: torch.Tensor, model: str) -> None:
    config = replace(CLEAN, model=model, tilt_step_degrees=6.0)  # type: ignore[arg-type]
    made = simulate(structures, particles=4, config=config)
    weights = made.particles.read_weights(range(4))
    assert weights is not None
    # Tilts sum to a spectrum weights * signal: divided by the weights, it is the signal.
    flat = to_real(to_fourier(made.particles.read_volumes(range(4))) / weights.clamp(min=1e-3), 24)
    back = warp(flat, made.truth.rotations, made.truth.shifts, oversampling=2)
    inside = (voxel_coordinates(24).norm(dim=-1) < 9).expand_as(back)
    own = made.structures[made.truth_classes - 1]
    assert float(correlation(back * inside, own * inside).min()) > (0.99 if model == "fourier" else 0.97)
    other = made.structures[2 - made.truth_classes]
    assert float(correlation(back * inside, other * inside).max()) < 0.9


def test_truth_of_a_pair_is_b_on_a(structures: torch.Tensor) -> None:
    made = simulate(structures, pairs=6, config=CLEAN)
    assert made.pairs is not None
    a, b = (made.particles.read_volumes(made.pairs[:, i].tolist()) for i in (0, 1))
    truth = made.pair_truth()
    on_a = warp(b, truth.rotations, truth.shifts, oversampling=2)
    inside = (voxel_coordinates(24).norm(dim=-1) < 9).expand_as(a)
    assert float(correlation(on_a * inside, a * inside).min()) > 0.99


def test_pairs_are_rows_2i_and_2i_plus_1_of_one_structure(structures: torch.Tensor) -> None:
    made = simulate(structures, pairs=5, config=CLEAN)
    assert made.pairs is not None
    assert made.pairs.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    classes = made.truth_classes.view(5, 2)
    assert torch.equal(classes[:, 0], classes[:, 1])
    # Structures appear equally often, to one.
    assert abs(int((classes[:, 0] == 1).sum()) - int((classes[:, 0] == 2).sum())) <= 1


def test_relative_poses_are_uniform(structures: torch.Tensor) -> None:
    config = replace(CLEAN, max_shift=3.7)
    made = simulate(structures[:1], pairs=400, config=config)
    truth = made.pair_truth()
    assert torch.equal(truth.shifts.round(), truth.shifts.round(decimals=9))
    values, counts = truth.shifts.round().unique(return_counts=True)
    assert values.tolist() == [-3, -2, -1, 0, 1, 2, 3]
    assert float(counts.min()) > 1200 / 7 - 50
    # Haar: the mean rotation matrix is 0, and the mean Frobenius distance of two rotations is 2.40.
    assert truth.rotations.mean(0).abs().max() < 4 / math.sqrt(3 * 400)
    distance = torch.linalg.matrix_norm(truth.rotations[:200] - truth.rotations[200:])
    assert float(distance.mean()) == pytest.approx(2.40, abs=0.12)
    made = simulate(structures[:1], particles=200, config=replace(config, whole_voxel_shifts=False))
    assert float((made.truth.shifts - made.truth.shifts.round()).abs().max()) > 0.4
    assert 3.5 < float(made.truth.shifts.abs().max()) <= 3.7


def test_nothing_of_the_truth_is_in_the_particles(structures: torch.Tensor) -> None:
    made = simulate(structures, particles=4, config=CLEAN)
    assert torch.equal(made.particles.poses.rotations, torch.eye(3, dtype=torch.float64).expand(4, 3, 3))
    assert not made.particles.poses.shifts.any()
    assert not made.particles.classes.any()
    assert not made.particles.half_sets.any()


@pytest.mark.parametrize(("wedge", "a_is_cut"), [("b", False), ("both", True)])
def test_wedges_of_a_pair(structures: torch.Tensor, wedge: str, a_is_cut: bool) -> None:
    config = SimulationConfig(box=24, wedge=wedge)  # type: ignore[arg-type]
    made = simulate(structures, pairs=2, config=config)
    weights = made.particles.read_weights([0, 1, 2, 3])
    assert weights is not None
    cut, full = missing_wedge(24, 60.0), torch.ones(24, 24, 13)
    expected = torch.stack([cut if a_is_cut else full, cut] * 2)
    assert torch.equal(weights, expected)
    spectra = torch.fft.rfftn(made.particles.read_volumes(range(4)), dim=(1, 2, 3)).abs()
    assert float((spectra * (1 - expected)).max()) < 1e-4 * float(spectra.max())


@pytest.mark.parametrize("model", ["fourier", "tilt-series"])
def test_same_seed_same_bytes(structures: torch.Tensor, model: str) -> None:
    config = SimulationConfig(box=24, model=model, seed=7, tilt_step_degrees=20.0)  # type: ignore[arg-type]
    first, second = (simulate(structures, pairs=1, config=config) for _ in range(2))
    assert torch.equal(first.particles.read_volumes([0, 1]), second.particles.read_volumes([0, 1]))
    assert torch.equal(first.truth.rotations, second.truth.rotations)
    other = simulate(structures, pairs=2, config=replace(config, seed=8))
    assert not torch.equal(first.truth.rotations, other.truth.rotations)


def test_phantoms_are_the_default() -> None:
    made = simulate(particles=3, config=SimulationConfig(box=16, max_shift=2.0, phantoms=1, phantom_seed=1))
    assert torch.equal(made.structures, phantoms(1, 16, seed=1))
    assert float(made.structures.max()) == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "neither"),
        ({"pairs": 2, "particles": 2}, "both given"),
        ({"pairs": 0}, "cannot be simulated"),
    ],
)
def test_bad_calls_say_so(structures: torch.Tensor, arguments: dict[str, int], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        simulate(structures, config=CLEAN, **arguments)  # type: ignore[arg-type]


def test_bad_structures_say_so(structures: torch.Tensor) -> None:
    with pytest.raises(InputError, match="do not fit a box of 32"):
        simulate(structures, particles=2)
    with pytest.raises(InputError, match="structure 2 is constant"):
        simulate(torch.stack([structures[0], torch.ones(24, 24, 24)]), particles=2, config=CLEAN)
    with pytest.raises(InputError, match="all of one box"):
        simulate([structures[0], torch.ones(16, 16, 16)], particles=2, config=CLEAN)


def test_structures_may_come_one_by_one(structures: torch.Tensor) -> None:
    listed = simulate(list(structures), particles=2, config=CLEAN)
    stacked = simulate(structures, particles=2, config=CLEAN)
    assert torch.equal(listed.particles.read_volumes([0, 1]), stacked.particles.read_volumes([0, 1]))


@pytest.mark.parametrize(
    ("name", "value"),
    [("snr", 0.0), ("box", 4), ("tilt_max_degrees", 120.0), ("max_shift", 16.0), ("noise", "pink"), ("wedge", "a")],
)
def test_bad_configurations_name_the_field(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{name} = "):
        SimulationConfig(**{name: value})  # type: ignore[arg-type]
