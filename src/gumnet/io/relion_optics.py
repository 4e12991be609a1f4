"""What RELION's optics groups say about the images: voxel size, dimensionality, whether the CTF was applied."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.io.relion_table import RelionTable, labels, numbers

if TYPE_CHECKING:
    import pandas as pd

GROUP = "rlnOpticsGroup"
PREMULTIPLIED = "rlnCtfDataAreCtfPremultiplied"
PIXEL_SIZE = "rlnImagePixelSize"
ONLY_3_0 = ("rlnMagnification", "rlnDetectorPixelSize", "rlnPixelSize")
"""Columns that say the pixel size in RELION 3.0, and mean nothing later."""
# RELION wants these in every optics group. With 3D CTF volumes it does not use them, so usual values do no harm.
MICROSCOPE = {"rlnVoltage": 300.0, "rlnSphericalAberration": 2.7, "rlnAmplitudeContrast": 0.1}


def optics_rows(table: RelionTable) -> Tensor:
    """Return for each particle the row of its group in the optics table, shape (n,); there must be an optics table."""
    optics = _optics(table)
    if GROUP not in table.particles.columns and len(optics) == 1:
        return torch.zeros(len(table.particles), dtype=torch.int64)
    numbers(table.particles, [GROUP], table.path)
    wanted = labels(table.particles, GROUP, table.path)
    known = labels(optics, GROUP, table.path) if GROUP in optics.columns else torch.arange(1, len(optics) + 1)
    match = wanted[:, None] == known[None, :]
    lost = torch.nonzero(~match.any(dim=1))
    if len(lost):
        row = int(lost[0, 0])
        raise InputError(
            f"row {row + 1} is of {GROUP} {int(wanted[row])}, which data_optics does not have",
            cure="add the group to data_optics",
            path=table.path,
        )
    return match.to(torch.uint8).argmax(dim=1)


def _optics(table: RelionTable) -> pd.DataFrame:
    if table.optics is None or len(table.optics) == 0:
        raise InputError("data_optics is missing or empty", cure="write the table again", path=table.path)
    return table.optics


def voxel_size_from_table(table: RelionTable) -> float | None:
    """Return the voxel size in Angstrom that all particles share, or None where the table does not say.

    Raises
    ------
    InputError
        If particles differ in voxel size.
    """
    if table.optics is None:
        sizes = _sizes_3_0(table.particles, table.path)
    else:
        sizes = _sizes_3_1(_optics(table), table.path)
        sizes = None if sizes is None else sizes[optics_rows(table)]
    if sizes is None:
        return None
    low, high = float(sizes.min()), float(sizes.max())
    if low <= 0:
        return None
    if high - low > 1e-3 * high:
        raise InputError(
            f"the particles have voxel sizes from {low:g} to {high:g} Angstrom",
            cure="extract all particles at one voxel size",
            path=table.path,
        )
    return float(sizes[0])


def _sizes_3_0(frame: pd.DataFrame, path: Path) -> Tensor | None:
    if "rlnPixelSize" in frame.columns:
        return numbers(frame, ["rlnPixelSize"], path)[:, 0]
    columns = ["rlnDetectorPixelSize", "rlnMagnification"]
    if set(columns) <= set(frame.columns):
        values = numbers(frame, columns, path)
        return values[:, 0] * 1e4 / values[:, 1]  # micrometre on the detector to Angstrom in the specimen
    return None


def _sizes_3_1(optics: pd.DataFrame, path: Path) -> Tensor | None:
    if "rlnImagePixelSize" in optics.columns:
        return numbers(optics, ["rlnImagePixelSize"], path)[:, 0]
    columns = ["rlnTomoTiltSeriesPixelSize", "rlnTomoSubtomogramBinning"]
    if set(columns) <= set(optics.columns):
        return numbers(optics, columns, path).prod(dim=1)
    return None


def are_tilt_stacks(table: RelionTable) -> bool:
    """Return whether the particles are 2D tilt stacks; a mixture with 3D subtomograms is an `InputError`."""
    if table.stacks_2d:
        return True
    if table.optics is None or "rlnImageDimensionality" not in table.optics.columns:
        return False
    flat = numbers(table.optics, ["rlnImageDimensionality"], table.path)[optics_rows(table), 0] == 2
    if bool(flat.any()) and not bool(flat.all()):
        raise InputError(
            "rlnImageDimensionality is 2 for some particles and 3 for others",
            cure="split the table by optics group",
            path=table.path,
        )
    return bool(flat.all())


def premultiplied(table: RelionTable) -> tuple[bool, ...]:
    """Return for each particle whether its data were multiplied by the CTF already."""
    if table.optics is None or PREMULTIPLIED not in table.optics.columns:
        return (False,) * len(table.particles)
    flags = numbers(table.optics, [PREMULTIPLIED], table.path)[optics_rows(table), 0] != 0
    return tuple(bool(f) for f in flags)


def with_optics(
    frame: pd.DataFrame, optics: pd.DataFrame | None, voxel_size_angstrom: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the table and its optics groups; RELION 3.0 and particles from memory have no groups yet.

    Parameters
    ----------
    voxel_size_angstrom
        Of the images.
    """
    import pandas as pd

    if optics is not None:
        optics = optics.copy()
    else:
        frame = frame.drop(columns=[c for c in ONLY_3_0 if c in frame.columns])
        told = [c for c in MICROSCOPE if c in frame.columns]
        if told:
            # One group for each microscope that the rows of RELION 3.0 tell of.
            frame[GROUP] = frame.groupby(told, sort=False).ngroup() + 1
            optics = frame[[GROUP, *told]].drop_duplicates().reset_index(drop=True)
            frame = frame.drop(columns=told)
        else:
            frame[GROUP] = 1
            optics = pd.DataFrame({GROUP: [1]})
        optics["rlnOpticsGroupName"] = [f"opticsGroup{g}" for g in optics[GROUP]]
    optics[PIXEL_SIZE] = voxel_size_angstrom
    return frame, optics.assign(**{k: v for k, v in MICROSCOPE.items() if k not in optics.columns})
