"""Coefficients at the bases of a grid serve all 24 turns of each."""

from __future__ import annotations

import pytest
import torch

from gumnet.alignment.band import Band
from gumnet.alignment.grid_part import GridPart
from gumnet.alignment.rotation_grid import RotationGrid
from gumnet.alignment.spectrum import TurnedSpectra
from gumnet.averaging.lattice import Lattice
from gumnet.geometry.so3 import random_rotations

BOX, SHELLS = 16, 4


def part(generator: torch.Generator) -> GridPart:
    """A third of the rotations of a grid, in no order."""
    whole = GridPart.of_grid(RotationGrid.of_spacing(40.0), random_rotations(1, generator=generator)[0])
    return whole[torch.randperm(len(whole), generator=generator)[: len(whole) // 3]]


def test_rotations_are_turns_of_the_bases(generator: torch.Generator) -> None:
    turn = random_rotations(1, generator=generator)[0]
    grid = RotationGrid.of_spacing(40.0)
    torch.testing.assert_close(GridPart.of_grid(grid, turn).rotations, grid.rotations @ turn)
    rotations = random_rotations(5, generator=generator)
    torch.testing.assert_close(GridPart.of(rotations).rotations, rotations)


@pytest.mark.parametrize("box", [BOX, BOX + 1])
def test_maps_read_at_the_bases_are_those_read_at_every_rotation(box: int, generator: torch.Generator) -> None:
    grid, band = part(generator), Band.up_to(box, SHELLS)
    turned = TurnedSpectra.of(torch.randn(2, box, box, box, generator=generator), None, SHELLS)

    def read(rotations: torch.Tensor) -> torch.Tensor:
        values, _ = turned.read(rotations.float().expand(2, -1, -1, -1), band)
        return values.movedim(1, 2).flatten(2)

    torch.testing.assert_close(grid.spread(read(grid.bases), band), read(grid.rotations), atol=2e-3, rtol=1e-3)


def test_what_is_gathered_at_the_bases_makes_the_same_map(generator: torch.Generator) -> None:
    grid, band = part(generator), Band.up_to(BOX, SHELLS)
    values = torch.randn(len(grid), 2 * len(band.index), generator=generator)
    precision = torch.rand(len(grid), len(band.index), generator=generator)
    lattice = Lattice(band)
    direct, gathered = lattice.zeros(), lattice.zeros()
    lattice.add(direct, grid.rotations, values, precision)
    lattice.add(gathered, grid.bases, *grid.gathered(values, precision, band))

    def whole(sums: torch.Tensor) -> torch.Tensor:
        """One of each Friedel pair is put there, and which is left to chance."""
        real, imaginary, known = sums.T.reshape(3, *[lattice.side] * 3)
        mirrored = real.flip(0, 1, 2), -imaginary.flip(0, 1, 2), known.flip(0, 1, 2)
        return torch.stack([real + mirrored[0], imaginary + mirrored[1], known + mirrored[2]])

    torch.testing.assert_close(whole(gathered), whole(direct), atol=1e-3, rtol=1e-3)


def test_gathering_is_spreading_transposed(generator: torch.Generator) -> None:
    grid, band = part(generator), Band.up_to(BOX, SHELLS)
    m = len(band.index)
    at_bases = torch.randn(len(grid.bases), 2 * m, generator=generator)
    at_rotations = torch.randn(len(grid), 2 * m, generator=generator)
    gathered, _ = grid.gathered(at_rotations, torch.ones(len(grid), m), band)
    assert float((grid.spread(at_bases, band) * at_rotations).sum()) == pytest.approx(
        float((at_bases * gathered).sum()), rel=1e-4
    )
