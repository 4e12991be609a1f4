"""`Particles` as a pandas table, and back: to choose, sort and plot with tools that know nothing of gumnet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.geometry.rigid import matrix_from_relion, relion_from_matrix
from gumnet.io.relion_table import labels, optional_numbers, optional_scores
from gumnet.particles import Particles, Poses

if TYPE_CHECKING:
    import pandas as pd

NAME, HALF_SET, CLASS = "name", "half_set", "class"
ANGLES = ("rot_degrees", "tilt_degrees", "psi_degrees")
SHIFTS = ("shift_x_angstrom", "shift_y_angstrom", "shift_z_angstrom")
SCORE, CONFIDENCE, SPREAD = "score", "confidence", "angular_spread_degrees"
_OURS = (NAME, *ANGLES, *SHIFTS, SCORE, CONFIDENCE, SPREAD, HALF_SET, CLASS)
_Column = TypeVar("_Column", Tensor, Tensor | None)
_FRAME = Path("the data frame")
"""Stands where errors name a file."""


def to_pandas(particles: Particles) -> pd.DataFrame:
    """Return a table with one row a particle, in order, with the row number as index.

    Columns: ``name``; ``rot_degrees``, ``tilt_degrees``, ``psi_degrees`` in RELION's convention; ``shift_x_angstrom``
    and so on, (x, y, z), where the particle is from the centre of its box, which is minus RELION's origin; ``score``;
    ``confidence`` and ``angular_spread_degrees`` where there are any; ``half_set`` and ``class``; then those of the
    particles' `table` as they were read. The latter hold the poses of the file, the former those of now.

    Examples
    --------
    >>> import gumnet
    >>> made = gumnet.simulate(particles=4, config=gumnet.SimulationConfig(box=16, max_shift=1.0, phantoms=2))
    >>> frame = made.particles.with_poses(made.truth).to_pandas()
    >>> list(frame.columns[:5])
    ['name', 'rot_degrees', 'tilt_degrees', 'psi_degrees', 'shift_x_angstrom']
    >>> frame["half_set"] = 1 + frame.index % 2
    >>> kept = gumnet.Particles.from_pandas(frame[frame.index < 3], made.particles)
    >>> len(kept), kept.half_sets.tolist()
    (3, [1, 2, 1])
    """
    import pandas as pd

    poses = particles.poses.to("cpu", torch.float64)
    angles, shifts = relion_from_matrix(poses.rotations), poses.shifts * particles.voxel_size_angstrom
    columns: dict[str, object] = {NAME: list(particles.names)}
    columns |= {column: angles[:, i].numpy() for i, column in enumerate(ANGLES)}
    columns |= {column: shifts[:, i].numpy() for i, column in enumerate(SHIFTS)}
    for column, values in ((SCORE, poses.scores), (CONFIDENCE, poses.confidences), (SPREAD, poses.spreads_degrees)):
        if values is not None:
            columns[column] = values.numpy()
    columns |= {HALF_SET: particles.half_sets.cpu().numpy(), CLASS: particles.classes.cpu().numpy()}
    frame = pd.DataFrame(columns)
    if particles.table is None:
        return frame
    clash = sorted(set(particles.table.columns) & set(_OURS))
    if clash:
        raise InputError(f"the table of the particles has a column called {clash[0]} itself", cure="rename it")
    return pd.concat([frame, particles.table.reset_index(drop=True)], axis=1)


def from_pandas(frame: pd.DataFrame, particles: Particles) -> Particles:
    """Return the particles that a table names by its index, as `to_pandas` gave it, in the order of the table.

    Rows may have been dropped, repeated or put in another order, and values changed. Poses, scores, half sets and
    classes are those of the table, or of ``particles`` where it lacks their columns; columns that mean nothing here are
    kept. There and back again changes no pose by more than rounding.

    Parameters
    ----------
    particles
        The particles that the table was made of; their volumes and weights are shared.

    Raises
    ------
    InputError
        If the index does not fit the particles, by number or by ``name``, or a column holds what it may not.
    """
    rows = _rows(frame, particles)
    chosen = particles.select(rows)
    size, poses = particles.voxel_size_angstrom, chosen.poses.to("cpu", torch.float64)
    angles, shifts = optional_numbers(frame, ANGLES, _FRAME), optional_numbers(frame, SHIFTS, _FRAME)
    others = frame[[column for column in frame.columns if column not in _OURS]].reset_index(drop=True)
    return replace(
        chosen,
        poses=Poses(
            poses.rotations if angles is None else matrix_from_relion(angles),
            poses.shifts if shifts is None else shifts / size,
            _scores(frame, SCORE, poses.scores),
            _scores(frame, CONFIDENCE, poses.confidences),
            _scores(frame, SPREAD, poses.spreads_degrees),
        ),
        half_sets=labels(frame, HALF_SET, _FRAME, largest=2) if HALF_SET in frame.columns else chosen.half_sets,
        classes=labels(frame, CLASS, _FRAME) if CLASS in frame.columns else chosen.classes,
        table=None if particles.table is None and others.shape[1] == 0 else others,
    )


def _rows(frame: pd.DataFrame, particles: Particles) -> list[int]:
    """Return the row of the particles that each row of a table is about."""
    cure = "keep the index and the names that to_pandas gave"
    if frame.index.dtype.kind not in "iu":
        raise InputError(f"the index of the data frame holds {frame.index.dtype}, not whole numbers", cure=cure)
    rows = [int(row) for row in frame.index]
    wrong = next((row for row in rows if not 0 <= row < len(particles)), None)
    if wrong is not None:
        raise InputError(f"the index of the data frame has {wrong}, for {len(particles)} particles", cure=cure)
    # An index that was counted anew after rows were dropped would name other particles, without any sign of it.
    for row, name in zip(rows, frame[NAME] if NAME in frame.columns else [], strict=False):
        if name != particles.names[row]:
            raise InputError(f"particle {row} is called {particles.names[row]}, in the data frame {name}", cure=cure)
    return rows


def _scores(frame: pd.DataFrame, column: str, before: _Column) -> Tensor | _Column:
    """Return a column (n,) that may hold NaN; what was there before where the table has no such column."""
    found = optional_scores(frame, column, _FRAME)
    return before if found is None else found
