"""One step of expectation and maximisation: where particles may lie on maps, and the maps that this makes.

Every particle gets a posterior over the classes, the rotations of a grid and shifts (Sigworth, J. Struct. Biol. 122,
328, 1998; Scheres, J. Mol. Biol. 415, 406, 2012), and goes into the maps at all of its poses, each by its probability.
For all shifts and rotations at once both directions are products of matrices: particle times phases times turned maps
gives the likelihoods, their transpose the sums.

A particle that is in the map it is compared with recognises its own noise and stays where it was: from a random start
that is what keeps every particle in place. So the particles are dealt to folds, and each is compared with maps of the
others. The evidence that it finds there is free of that too, and tells how good the maps are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.alignment.grid_part import GridPart
from gumnet.averaging.compare import Compared, compare
from gumnet.averaging.lattice import Lattice
from gumnet.averaging.low_band import LowBand
from gumnet.engine.threads import side_by_side
from gumnet.geometry.symmetry import PointGroup
from gumnet.particles import Poses
from gumnet.types import Labels, Vectors

_LEAST_SHARE = 1e-3
"""Poses with less than this share of the most probable rotation's mass do not go into the sums."""
_BYTES_AT_ONCE = 2**29
"""Of the sums of folds that a CPU compares side by side."""
SHIFTS_A_PERIOD = 3.0
"""Shifts that are tried in a period of the highest shell, along each axis."""


@dataclass(frozen=True)
class Expectation:
    """What one step found.

    Parameters
    ----------
    evidence
        Logarithm of each particle's likelihood on the maps, averaged over all poses and classes, over that of no
        structure at all, (n,).
    classes
        Probability of each class, (n, K).
    poses
        Most probable pose on the most probable class, scores being its posterior probability.
    shifts
        Mean shift over the whole posterior, (n, 3), in voxels.
    sums
        Sums on a `Lattice`, (F, K, D^3, 3): particles of fold f in class k.
    """

    evidence: Tensor
    classes: Tensor
    poses: Poses
    shifts: Vectors
    sums: Tensor


def shift_grid(box: int, shells: int, max_shift: float) -> Vectors:
    """Return shifts (t, 3), (x, y, z) in voxels, up to ``max_shift`` on each axis."""
    step = box / (SHIFTS_A_PERIOD * shells)
    reach = math.floor(max_shift / step + 0.5)
    axis = (torch.arange(-reach, reach + 1) * step).clamp(-max_shift, max_shift)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack([x, y, z], dim=-1).reshape(-1, 3)


def expect(
    data: LowBand,
    maps: Tensor,
    folds: Labels,
    grid: GridPart,
    shifts: Vectors,
    *,
    symmetry: PointGroup | None = None,
    candidates: Tensor | None = None,
    centres: Vectors | None = None,
) -> Expectation:
    """Return the posterior of particles on maps, and the sums that the next maps come from.

    Parameters
    ----------
    data
        n particles.
    maps
        Shape (F, K, N, N, N): the maps that particles of fold f are compared with.
    folds
        Fold of each particle, 0 ... F - 1, (n,).
    grid, shifts
        r rotations, and (t, 3), in voxels.
    symmetry
        Point group of the maps: particles go into them at all of its equivalent poses.
    candidates
        Which classes each particle may be of, (n, K), or which classes and rotations it may have, (n, K, r), boolean;
        all unless given. The others are not compared, and count as impossible.
    centres
        Shift of each particle that those of the grid are relative to, (n, 3), in voxels; 0 unless given.
    """
    device = data.matched.device
    lattice, places = Lattice(data.band), len(shifts)
    folds_count, classes_count, n = maps.shape[0], maps.shape[1], len(data)
    whole_grid = places * len(grid) * classes_count
    if candidates is None:
        candidates = torch.ones(n, classes_count, dtype=torch.bool)
    elif candidates.ndim == 3:
        # What no particle may have needs no maps.
        used = candidates.flatten(0, 1).any(dim=0)
        grid, candidates = grid[used], candidates[:, :, used]
    turns, rotations = len(grid), grid.rotations
    members = torch.eye(3, dtype=torch.float64)[None] if symmetry is None else symmetry.rotations
    centres = torch.zeros(n, 3) if centres is None else centres
    found = _Found.of(n, classes_count, places)
    sums = torch.zeros(folds_count, classes_count, lattice.side**3, 3)

    def of_fold(compared: tuple[int, Iterator[Compared]]) -> None:
        fold, parts = compared
        coefficients = len(data.band.frequencies)
        total = torch.zeros(classes_count * turns, 2 * coefficients, device=device)
        precision = torch.zeros(classes_count * turns, coefficients, device=device)
        for part in parts:
            posterior, mass = found.take(part, turns, whole_grid)
            kept = (mass > _LEAST_SHARE * mass.amax(dim=1, keepdim=True)).any(dim=0)
            at = part.columns
            if not bool(kept.all()):
                at, posterior, mass = at[kept], posterior[..., kept], mass[:, kept]
            total.index_add_(0, at, posterior.flatten(0, 1).mT @ part.moved.flatten(0, 1))
            precision.index_add_(0, at, mass.mT @ part.precision.expand(len(mass), -1))
        for k in range(classes_count):
            some = slice(k * turns, (k + 1) * turns)
            # What is alike for all turns of a base is put back once.
            spectra, known = grid.gathered(total[some], precision[some], data.band)
            used = torch.nonzero(known.amax(dim=1) > 0)[:, 0]
            for member in members:
                lattice.add(sums[fold, k], grid.bases[used.cpu()] @ member, spectra[used], known[used])

    compared = compare(data, maps, folds, grid, shifts, candidates, centres)
    size = 4 * classes_count * turns * 3 * len(data.band.frequencies)
    at_once = min(folds_count, _BYTES_AT_ONCE // size) if device.type == "cpu" else 1
    side_by_side(of_fold, compared, at_once)
    at = (centres + shifts[found.places]).double()
    poses = Poses(rotations[found.turns], at, found.certainty.double())
    return Expectation(found.evidence, found.masses, poses, centres + found.shift_masses @ shifts, sums)


@dataclass(frozen=True)
class _Found:
    """Of n particles: evidence, masses of classes and shifts, place of the best pose on the grid, its probability."""

    evidence: Tensor
    masses: Tensor
    shift_masses: Tensor
    turns: Tensor
    places: Tensor
    certainty: Tensor

    @classmethod
    def of(cls, n: int, classes: int, places: int) -> _Found:
        index = torch.zeros(n, dtype=torch.int64)
        masses, shift_masses = torch.zeros(n, classes), torch.zeros(n, places)
        return cls(torch.zeros(n), masses, shift_masses, index, index.clone(), torch.zeros(n))

    def take(self, part: Compared, turns: int, whole_grid: int) -> tuple[Tensor, Tensor]:
        """Keep what the log likelihoods of some particles say; return their posterior, and its sum over shifts.

        The likelihoods are overwritten.
        """
        rows, scores = part.rows, part.scores
        flat = scores.flatten(1)
        top, index = flat.max(dim=1)
        flat = flat.sub_(top[:, None]).exp_()
        whole = flat.sum(dim=1)
        posterior = flat.view_as(scores).div_(whole[:, None, None])
        mass = posterior.sum(dim=1)
        self.shift_masses[rows] = posterior.sum(dim=2).cpu()
        columns, index = part.columns.cpu(), index.cpu()
        self.evidence[rows] = (top + whole.log() - math.log(whole_grid)).cpu()
        self.certainty[rows] = (1 / whole).cpu()
        self.turns[rows] = columns[index % len(columns)] % turns
        self.places[rows] = index // len(columns)
        of_classes = torch.zeros(len(rows), self.masses.shape[1])
        self.masses[rows] = of_classes.index_add_(1, columns // turns, mass.cpu())
        return posterior, mass
