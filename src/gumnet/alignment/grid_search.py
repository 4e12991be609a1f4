"""Exhaustive search in two steps of growing band, with all shifts at once.

Every rotation of a coarse grid is scored in the lowest shells. Of a finer grid, in a wider band, only the rotations are
scored whose coarse neighbour was among the best. The reference is interpolated at the bases of the grids alone, a 24th
of their rotations (`gumnet.alignment.rotation_grid`), and the particle's coefficients are put in the order that each of
the 24 turns of a cube asks for. A shift found for the turned coefficients is turned back: ``t = Q t'``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypedDict

import torch
from torch import Tensor

from gumnet.alignment.band import Band
from gumnet.alignment.rotation_grid import TURNS, RotationGrid, cube_turns, turned_indices
from gumnet.alignment.score import TINY, BandData, Candidates, Comparison, norms
from gumnet.alignment.shift_plane import ShiftPlane
from gumnet.alignment.spectrum import TurnedSpectra, as_complex
from gumnet.geometry.symmetry import PointGroup
from gumnet.types import Mask, Rotations

_CHUNK_VALUES = {"cpu": 60_000, "cuda": 20_000_000}
"""How many numbers of products or correlations are held at once: on a CPU so many that they stay in its cache (twice as
fast as four times as many), on a GPU so many that they keep it busy."""
_BLOCK = {"cpu": 1, "cuda": 64}
"""How many particles are searched at once."""
_HALF = {"cpu": False, "cuda": True}
"""Whether turned references are kept in half precision, which halves what is read of them: not yet timed on a GPU.
Scores change in the fourth digit; refinement, which says the pose, is in single precision everywhere."""
_LEAST = 64
"""How many rotations of a finer grid are scored at least, where there are so many."""


class Limits(TypedDict):
    """What both kinds of search are told, see `search`."""

    max_shift: float
    candidates: int
    separation_degrees: float
    symmetry: PointGroup | None


@dataclass(frozen=True)
class Step:
    """One step of the search: a grid and the highest shell that its rotations are scored with.

    Parameters
    ----------
    spacing_degrees
        Spacing of the grid.
    shells
        Highest shell.
    within
        Rotations are scored whose nearest of the grid before is so many standard deviations (of all scores there) below
        the best, or less: few where one peak stands out, many where none does. Without effect in the first step.
    samples
        Shifts that are tried in a period of the highest shell, on each axis, at least. With two the top of a peak can
        lie between them, and clean pairs were lost.
    """

    spacing_degrees: float
    shells: int
    within: float = math.inf
    samples: float = 3.0


def search(
    comparison: Comparison,
    steps: tuple[Step, ...],
    *,
    max_shift: float,
    candidates: int,
    separation_degrees: float,
    symmetry: PointGroup | None = None,
) -> Candidates:
    """Return the best poses of each particle over all rotations and shifts, distinct in rotation, the best first.

    Parameters
    ----------
    comparison
        n particles and their reference, or one each. A shared reference is turned once for all of them.
    steps
        From coarse to fine.
    max_shift
        Largest shift along each axis, in voxels.
    candidates
        How many poses a particle are wanted.
    separation_degrees
        Least angle between two of them.
    symmetry
        Point group of the reference: of equivalent rotations only one is scored.
    """
    levels = _levels(comparison, steps, max_shift, symmetry)
    shared = len(comparison.reference) == 1
    tables = [level.table(slice(None)) if shared else None for level in levels]
    block = _BLOCK[comparison.reference.device.type]
    found = []
    for start in range(0, len(comparison), block):
        rows = slice(start, min(start + block, len(comparison)))
        index = torch.nonzero(levels[0].wanted)[:, 0].expand(rows.stop - rows.start, -1)
        scores = places = torch.empty(0)
        for depth, level in enumerate(levels):
            counted = None
            if depth > 0:
                index, counted = level.best_placed(levels[depth - 1].grid, index, scores)
            scores, places = level.scores(tables[depth] or level.table(rows), rows, index)
            if counted is not None:
                scores = scores.masked_fill(~counted, -torch.inf)
        last = levels[-1]
        chosen, scores = distinct(last.rotations[index], scores, candidates, separation_degrees, symmetry)
        left = min(candidates, int(last.wanted.sum())) - chosen.shape[1]
        if left > 0:
            # Blocks of few scored rotations are as wide as the others, with places that were never scored.
            chosen = torch.cat([chosen, chosen[:, -1:].expand(-1, left)], dim=1)
            scores = torch.nn.functional.pad(scores, (0, left), value=-torch.inf)
        index, places = index.gather(1, chosen), places.gather(1, chosen)
        turns = cube_turns().to(last.rotations)[index % TURNS]
        shifts = (turns @ last.plane.shifts[places][..., None])[..., 0]
        found.append(Candidates(last.rotations[index], shifts, scores))
    return Candidates.concatenate(found)


def search_near(
    comparison: Comparison,
    rotations: Rotations,
    *,
    shells: int,
    max_shift: float,
    candidates: int,
    separation_degrees: float,
    symmetry: PointGroup | None = None,
) -> Candidates:
    """Return the best poses of each particle among rotations (n, r, 3, 3) of its own; see `search`."""
    band = Band.up_to(comparison.box, shells, comparison.reference.device)
    data, plane = comparison.within(band), ShiftPlane.of(band, max_shift)
    turned = comparison.turned_reference(band.shells)
    rotations = rotations.to(device=comparison.reference.device, dtype=torch.float32)
    chunk = max(1, _CHUNK_VALUES[rotations.device.type] // plane.values)
    found = []
    for i in range(len(rotations)):
        rows = slice(i, i + 1)
        own = turned.of_rows(rows)
        tops, places = [], []
        for start in range(0, rotations.shape[1], chunk):
            values, transfer = own.read(rotations[rows, start : start + chunk], band)
            products = as_complex(values)[0] * data.matched[i]
            products = products if transfer is None else products * transfer[0]
            top, place = plane.correlations(plane.laid_out(products.conj().resolve_conj())).max(dim=1)
            tops.append(top / norms(values[:, 0] ** 2 + values[:, 1] ** 2, transfer, data[rows])[0])
            places.append(place)
        scores, place = torch.cat(tops)[None], torch.cat(places)
        chosen, scores = distinct(rotations[rows], scores, candidates, separation_degrees, symmetry)
        found.append(Candidates(rotations[i][chosen], plane.shifts[place[chosen]], scores))
    return Candidates.concatenate(found)


def _levels(
    comparison: Comparison, steps: tuple[Step, ...], max_shift: float, symmetry: PointGroup | None
) -> list[_Level]:
    """Return the levels of the search; under symmetry each scores what the asymmetric unit needs."""
    levels = [_Level.of(comparison, step, max_shift) for step in steps]
    if symmetry is None or symmetry.order == 1:
        return levels
    wanted = symmetry.in_asymmetric_unit(levels[-1].grid.rotations).to(comparison.reference.device)
    for depth in range(len(levels) - 1, -1, -1):
        levels[depth] = replace(levels[depth], wanted=wanted)
        if depth > 0:
            # The nearest of a coarser grid may lie across the edge of the unit.
            coarse = levels[depth - 1].grid
            parents = levels[depth].grid.parents(coarse).to(wanted.device)[wanted]
            wanted = torch.zeros(len(coarse), dtype=torch.bool, device=wanted.device).index_fill(0, parents, True)
    return levels


@dataclass(frozen=True)
class _Table:
    """References at b bases: laid-out conjugate spectra (1 or p, b, F), |A|^2 (1 or p, b, M), transfer^2 or None."""

    spectra: Tensor
    scale: float
    power: Tensor
    transfer_power: Tensor | None

    @classmethod
    def of(cls, laid_out: Tensor, power: Tensor, transfer_power: Tensor | None) -> _Table:
        """Return the table, its spectra in half precision where that pays, scaled to fit its range."""
        if not _HALF[laid_out.device.type]:
            return cls(laid_out, 1.0, power, transfer_power)
        scale = float(laid_out.abs().amax().clamp_min(TINY))
        return cls(torch.view_as_real(laid_out / scale).half(), scale, power, transfer_power)

    @property
    def references(self) -> int:
        """How many references the table holds."""
        return len(self.spectra)

    def take(self, reference: Tensor, base: Tensor) -> Tensor:
        """Return the laid-out spectra (r, F), complex, of references (r,) at bases (r,)."""
        taken = self.spectra[reference, base]
        return taken if taken.is_complex() else torch.view_as_complex(taken.float()) * self.scale


@dataclass(frozen=True)
class _Level:
    """What one step of the search needs, made once for all particles."""

    step: Step
    grid: RotationGrid
    rotations: Rotations
    wanted: Mask
    turned: TurnedSpectra
    data: BandData
    plane: ShiftPlane
    order: Tensor
    conjugated: Tensor

    @classmethod
    def of(cls, comparison: Comparison, step: Step, max_shift: float) -> _Level:
        device = comparison.reference.device
        band = Band.up_to(comparison.box, step.shells, device)
        grid = RotationGrid.of_spacing(step.spacing_degrees)
        return cls(
            step,
            grid,
            grid.rotations.to(device=device, dtype=torch.float32),
            torch.ones(len(grid), dtype=torch.bool, device=device),
            comparison.turned_reference(band.shells),
            comparison.within(band),
            ShiftPlane.of(band, max_shift, step.samples),
            *turned_indices(band),
        )

    def best_placed(self, coarse: RotationGrid, index: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rotations (p, r) whose nearest of a coarser grid scored best, and which to count, (p, r).

        Each particle has its own number of them; r is the largest, and what a particle has not is not to be counted.
        """
        of_coarse = scores.new_full((len(scores), len(coarse)), -torch.inf).scatter(1, index, scores)
        of_parent = of_coarse[:, self.grid.parents(coarse).to(index.device)].masked_fill(~self.wanted, -torch.inf)
        finite = scores.isfinite()
        mean = scores.where(finite, 0.0).sum(dim=1, keepdim=True) / finite.sum(dim=1, keepdim=True)
        spread = ((scores - mean).where(finite, 0.0).square().sum(dim=1) / finite.sum(dim=1)).sqrt()
        # All children of one parent are equal: counted all or none, whatever else is in the batch.
        ordered, order = of_parent.sort(dim=1, descending=True, stable=True)
        few = ordered[:, min(_LEAST, int(self.wanted.sum())) - 1]
        least = torch.minimum(scores.amax(dim=1) - self.step.within * spread, few)
        counted = ordered >= least[:, None]
        most = int(counted.sum(dim=1).max())
        return order[:, :most], counted[:, :most]

    def table(self, rows: slice) -> _Table:
        """Return the references of ``rows`` at the bases of the grid."""
        turned = self.turned[rows]
        bases = self.grid.bases.to(self.rotations).expand(len(turned.fine), -1, -1, -1)
        values, transfer = turned.read(bases, self.data.band)
        conjugate = torch.complex(values[:, 0], -values[:, 1])
        power = values[:, 0] ** 2 + values[:, 1] ** 2
        if transfer is None:
            return _Table.of(self.plane.laid_out(conjugate), power, None)
        return _Table.of(self.plane.laid_out(conjugate * transfer), power, transfer**2)

    def scores(self, table: _Table, rows: slice, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best score over the shifts, and the place of that shift, of rotations ``index`` (p, r)."""
        data = self.data[rows]
        matched = data.matched[:, self.order].conj()
        matched = self.plane.laid_out(torch.where(self.conjugated, matched.conj(), matched))
        below = table.power @ data.transfer_power[:, self.order].mT
        power = data.power[:, self.order].mT
        if table.transfer_power is None:
            below = below * power.sum(dim=1, keepdim=True)
        else:
            below = below * (table.transfer_power @ power)
        particle = torch.arange(len(index), device=index.device)[:, None].expand_as(index).reshape(-1)
        reference = particle if table.references > 1 else torch.zeros_like(particle)
        bases, turns = (index // TURNS).reshape(-1), (index % TURNS).reshape(-1)
        chunk = max(1, _CHUNK_VALUES[index.device.type] // self.plane.values)
        parts = []
        for start in range(0, len(bases), chunk):
            part = slice(start, start + chunk)
            products = table.take(reference[part], bases[part]) * matched[particle[part], turns[part]]
            parts.append(self.plane.correlations(products).max(dim=1))
        top, places = (torch.cat(column).reshape(index.shape) for column in zip(*parts, strict=True))
        below = below[particle, bases, turns].reshape(index.shape)
        return top / torch.sqrt(below.clamp_min(TINY)), places


def distinct(
    rotations: Rotations, scores: Tensor, candidates: int, separation_degrees: float, symmetry: PointGroup | None = None
) -> tuple[Tensor, Tensor]:
    """Return which of rotations (p, r) are best, (p, c), taken one by one, each time striking out those near it.

    And their scores, (p, c): minus infinity for places that are left over once all are struck out.
    """
    left = scores.clone()
    flat = rotations.flatten(2)
    least_trace = 1 + 2 * torch.cos(torch.deg2rad(torch.tensor(separation_degrees))).to(flat)
    rows = torch.arange(len(flat), device=flat.device)
    chosen, tops = [], []
    for _ in range(min(candidates, flat.shape[1])):
        top, index = left.max(dim=1)
        chosen.append(index)
        tops.append(top)
        taken = rotations[rows, index][:, None]
        if symmetry is not None:
            taken = symmetry.equivalents(taken[:, 0])
        traces = (flat @ taken.flatten(2).mT).amax(dim=2)
        left = left.masked_fill(traces > least_trace, -torch.inf)
    return torch.stack(chosen, dim=1), torch.stack(tops, dim=1)
