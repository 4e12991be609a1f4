"""Rotations that low shells leave hold next to all of the posterior in finer ones, and are few."""

from __future__ import annotations

import torch

from gumnet.alignment.grid_part import GridPart
from gumnet.averaging.expectation import expect, shift_grid
from gumnet.averaging.likely import likely_rotations
from gumnet.averaging.low_band import LowBand
from gumnet.devices import seeded
from gumnet.geometry.fourier import to_fourier
from gumnet.geometry.so3 import grid_size_for_spacing, random_rotations, super_fibonacci
from gumnet.simulation.dataset import SimulationConfig, simulate

COUNT = 24


def test_little_of_the_posterior_is_left_out() -> None:
    """Particles at a signal-to-noise ratio of 0.1 on the structures, each of which has two classes to choose from."""
    config = SimulationConfig(snr=0.1, seed=3, box=24, voxel_size_angstrom=16.0, phantoms=2, max_shift=1.0)
    made = simulate(particles=COUNT, config=config)
    whole = LowBand.of(made.particles, 7)
    # At the level that the particles have, which the likelihood takes a map to be at.
    spectra = whole.band.take(to_fourier(made.structures[:2]))
    scale = (whole.signal[whole.band.shell].mean() / spectra.abs().square().mean()).sqrt()
    structures = scale * made.structures[:2]
    maps, folds = structures.expand(2, -1, -1, -1, -1), torch.arange(COUNT) % 2
    rotations = random_rotations(1, generator=seeded(4))[0] @ super_fibonacci(grid_size_for_spacing(100 / 7))
    shifts = shift_grid(24, 7, 1.0)
    every = torch.ones(COUNT, 2, dtype=torch.bool)
    coarse, none = GridPart.of(super_fibonacci(grid_size_for_spacing(20))), torch.zeros(COUNT, 3)
    likely = likely_rotations(whole.up_to(5), maps, folds, rotations, coarse, shift_grid(24, 5, 1.0), every, none)
    assert likely.shape == (COUNT, 2, len(rotations))
    assert bool(likely.flatten(1).any(dim=1).all())
    assert float(likely.double().mean()) < 0.1
    complete = expect(whole, maps, folds, GridPart.of(rotations), shifts)
    some = expect(whole, maps, folds, GridPart.of(rotations), shifts, candidates=likely)
    # Evidence is the logarithm of the sum over the grid: what is lost of it is the mass that was left out.
    kept = torch.exp((some.evidence - complete.evidence).double())
    assert float(kept.max()) < 1 + 1e-2  # of evidences to 100 in float32
    assert float(kept.mean()) > 0.95
    assert float((some.classes.argmax(dim=1) == complete.classes.argmax(dim=1)).double().mean()) > 0.9
    same = (some.poses.rotations == complete.poses.rotations).flatten(1).all(dim=1)
    assert float(same.double().mean()) > 0.9
    assert float((some.sums - complete.sums).norm()) < 0.1 * float(complete.sums.norm())
