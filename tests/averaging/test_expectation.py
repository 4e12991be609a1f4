from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch

from gumnet.alignment.grid_part import GridPart
from gumnet.alignment.score import whiten
from gumnet.alignment.spectrum import TurnedSpectra, as_complex
from gumnet.averaging.expectation import Expectation, expect, shift_grid
from gumnet.averaging.lattice import Lattice
from gumnet.averaging.low_band import LowBand
from gumnet.geometry.so3 import angular_distance_degrees, random_rotations, rotation_from_vector, super_fibonacci
from gumnet.geometry.symmetry import point_group, symmetrised
from gumnet.particles import Particles, Poses
from gumnet.simulation.dataset import posed
from gumnet.simulation.phantom import phantom

BOX, SHELLS = 16, 3


@pytest.fixture(scope="module")
def structure() -> torch.Tensor:
    return whiten(phantom(0, BOX)[None], None)[0]


@dataclass(frozen=True)
class Small:
    """Five particles of two folds, two classes, three rotations, two shifts."""

    data: LowBand
    maps: torch.Tensor
    folds: torch.Tensor
    rotations: torch.Tensor
    shifts: torch.Tensor

    def found(self) -> Expectation:
        return expect(self.data, self.maps, self.folds, GridPart.of(self.rotations), self.shifts)

    def log_likelihoods(self) -> torch.Tensor:
        """Return what each particle gives in each class, rotation and shift, one after the other: (n, K, r, t)."""
        band = self.data.band
        table = torch.empty(len(self.data), 2, 3, 2)
        for i, fold in enumerate(self.folds.tolist()):
            for k, volume in enumerate(self.maps[fold]):
                spectra = TurnedSpectra.of(volume[None], None, SHELLS)
                turned = as_complex(spectra.read(self.rotations[None].float(), band)[0])[0]
                for r in range(3):
                    for t in range(2):
                        # A map moved by t has the spectrum exp(-2 pi i k.t) A.
                        moved = turned[r] * torch.exp(-2j * math.pi * (band.frequencies @ self.shifts[t]))
                        first = 2 * (moved.conj() * self.data.matched[i]).real.sum()
                        table[i, k, r, t] = first - (moved.abs() ** 2 * self.data.precision[i]).sum()
        return table


@pytest.fixture
def small(generator: torch.Generator) -> Small:
    volumes = torch.randn(5, BOX, BOX, BOX, generator=generator)
    data = LowBand.of(Particles.from_tensors(volumes, voxel_size_angstrom=10.0), SHELLS)
    # Particles that observed different things, each with a precision of its own.
    own = torch.rand(5, len(data.band.shell), generator=generator) + 0.5
    data = replace(data, matched=data.matched * own, precision=data.precision * own)
    maps = 0.5 * torch.randn(2, 2, BOX, BOX, BOX, generator=generator)
    shifts = torch.tensor([[0.0, 0.0, 0.0], [1.5, -0.5, 1.0]])
    return Small(data, maps, torch.tensor([0, 1, 1, 0, 1]), random_rotations(3, generator=generator), shifts)


def test_evidence_classes_and_poses_are_those_of_brute_force(small: Small) -> None:
    found, table = small.found(), small.log_likelihoods().double()
    flat = table.flatten(1)
    evidence = torch.logsumexp(flat, dim=1) - math.log(2 * 3 * 2)
    torch.testing.assert_close(found.evidence.double(), evidence, atol=2e-4, rtol=1e-4)
    posterior = torch.softmax(flat, dim=1).view_as(table)
    torch.testing.assert_close(found.classes.double(), posterior.sum(dim=(2, 3)), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.classes.sum(dim=1), torch.ones(5))
    best = flat.argmax(dim=1)
    assert torch.equal(found.poses.rotations.float(), small.rotations[best // 2 % 3].float())
    assert torch.equal(found.poses.shifts.float(), small.shifts[best % 2])
    torch.testing.assert_close(found.poses.scores, posterior.flatten(1).amax(dim=1), atol=1e-4, rtol=0)


def test_particles_go_into_the_sums_at_all_poses_by_their_probability(small: Small) -> None:
    found, table = small.found(), small.log_likelihoods().double()
    posterior = torch.softmax(table.flatten(1), dim=1).view_as(table).float()
    lattice, band = Lattice(small.data.band), small.data.band
    for fold in (0, 1):
        for k in (0, 1):
            sums = lattice.zeros()
            for i in torch.nonzero(small.folds == fold)[:, 0].tolist():
                for r in range(3):
                    for t in range(2):
                        # Moved back by t.
                        wave = torch.exp(2j * math.pi * (band.frequencies @ small.shifts[t]))
                        back = posterior[i, k, r, t] * small.data.matched[i] * wave
                        spectra = torch.cat([back.real, back.imag])[None]
                        lattice.add(
                            sums, small.rotations[[r]], spectra, posterior[i, k, r, t] * small.data.precision[[i]]
                        )
            # Poses of next to no probability are left out.
            assert float((found.sums[fold, k] - sums).norm()) < 0.01 * float(found.sums.norm())


def test_a_particle_is_compared_with_the_maps_of_its_fold_alone(small: Small) -> None:
    other = small.maps.clone()
    other[1] = -other[1]
    before, after = small.found(), replace(small, maps=other).found()
    first = small.folds == 0
    assert torch.equal(before.evidence[first], after.evidence[first])
    assert bool((before.evidence[~first] != after.evidence[~first]).all())
    assert torch.equal(before.sums[0], after.sums[0])


def test_one_particle_at_a_time_gives_the_same(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    before = small.found()
    monkeypatch.setattr("gumnet.averaging.compare._VALUES_AT_ONCE", {"cpu": 1})
    after = small.found()
    torch.testing.assert_close(after.evidence, before.evidence, atol=1e-4, rtol=1e-5)
    assert float((after.sums - before.sums).norm()) < 0.01 * float(before.sums.norm())


def test_clean_particles_are_found_at_the_nearest_pose_of_the_grid(
    structure: torch.Tensor, generator: torch.Generator
) -> None:
    grid, shifts = super_fibonacci(300), shift_grid(BOX, SHELLS, 2.0)
    chosen, moved = torch.tensor([3, 77, 150, 222]), torch.tensor([0, 13, 26, 5])
    tilt = torch.nn.functional.normalize(torch.randn(4, 3, generator=generator, dtype=torch.float64), dim=1)
    rotations = grid[chosen] @ rotation_from_vector(tilt * math.radians(5.0))
    truth = Poses.of(rotations, shifts[moved].double() + 0.2)
    nearest = angular_distance_degrees(truth.rotations[:, None], grid).argmin(dim=1)
    assert torch.equal(nearest, chosen)
    clean = posed(structure[None], Poses.of(truth.rotations.float(), truth.shifts.float()))
    data = LowBand.of(Particles.from_tensors(clean, voxel_size_angstrom=10.0), SHELLS)
    folds = torch.tensor([0, 1, 0, 1])
    found = expect(data, structure.expand(2, 1, -1, -1, -1), folds, GridPart.of(grid), shifts)
    assert torch.equal(found.poses.rotations.float(), grid[chosen].float())
    assert torch.equal(found.poses.shifts.float(), shifts[moved])
    assert bool((found.evidence > 20).all())


def test_noise_has_no_evidence_for_a_structure(structure: torch.Tensor, generator: torch.Generator) -> None:
    noise = torch.randn(60, BOX, BOX, BOX, generator=generator)
    data = LowBand.of(Particles.from_tensors(noise, voxel_size_angstrom=10.0), SHELLS)
    found = expect(
        data,
        0.3 * structure.expand(2, 1, -1, -1, -1),
        torch.arange(60) % 2,
        GridPart.of(super_fibonacci(100)),
        torch.zeros(1, 3),
    )
    # By Jensen's inequality the mean logarithm of a likelihood ratio is below 0 where there is nothing.
    assert float(found.evidence.mean()) < 0.0


def test_the_sums_of_a_symmetric_structure_are_symmetric(structure: torch.Tensor, generator: torch.Generator) -> None:
    group = point_group("C4")
    symmetric = symmetrised(structure, group)
    rotations = random_rotations(200, generator=generator)
    clean = posed(symmetric[None], Poses.of(rotations[:20].float(), torch.zeros(20, 3)))
    data = LowBand.of(Particles.from_tensors(clean, voxel_size_angstrom=10.0), SHELLS)
    maps = symmetric.expand(2, 1, -1, -1, -1)
    found = expect(data, maps, torch.arange(20) % 2, GridPart.of(rotations), torch.zeros(1, 3), symmetry=group)
    lattice = Lattice(data.band)
    made = lattice.map(found.sums.sum(dim=(0, 1)), data.signal)
    # About z by 90 degrees, (x, y) becomes (-y, x); the first plane of an even box has no mate.
    inner = made[1:, 1:, 1:]
    turned = inner.rot90(1, (1, 2))
    assert float((turned - inner).norm()) < 0.01 * float(inner.norm())


@pytest.mark.parametrize(("box", "shells", "largest"), [(16, 4, 2.0), (32, 7, 4.0), (32, 5, 1.0), (16, 4, 0.0)])
def test_shifts_reach_as_far_as_they_may(box: int, shells: int, largest: float) -> None:
    shifts = shift_grid(box, shells, largest)
    step = box / (3 * shells)
    axis = shifts[:, 0].unique()
    assert len(shifts) == len(axis) ** 3
    assert float(shifts.abs().max()) <= largest
    assert torch.equal(axis, -axis.flip(0))
    assert 0.0 in axis.tolist()
    # No shift that is allowed lies further than half a step from the grid, on an axis.
    assert largest - float(axis.max()) <= step / 2
    assert len(axis) == 1 or float(axis.diff().max()) <= step + 1e-5
