"""STOPGAP's wedge lists: a row a tilt, with the angle, defocus and dose of each tomogram, and tilt ranges from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.io.pose_table import FTYPE, PoseTable
from gumnet.io.relion_table import numbers, whole_numbers
from gumnet.io.star import read_star, write_star
from gumnet.io.tomogram_numbers import numbers_of
from gumnet.io.tomograms import Tomograms

BLOCK = "stopgap_wedgelist"
_MICROMETRE = 1e4  # Angstrom


def read_wedge_list(path: str | Path) -> dict[int, tuple[float, float]]:
    """Return the lowest and highest tilt of each tomogram number, in degrees.

    Raises
    ------
    InputError
        If it is no wedge list.
    """
    path = Path(path)
    blocks = read_star(path)
    if BLOCK not in blocks:
        raise InputError(f"there is no data_{BLOCK}", cure="give a wedge list of STOPGAP", path=path)
    frame = blocks[BLOCK]
    tomograms = whole_numbers(frame, "tomo_num", path)
    tilts = numbers(frame, ["tilt_angle"], path)[:, 0]
    ranges = {}
    for number in sorted(set(tomograms.tolist())):
        own = tilts[tomograms == number]
        ranges[int(number)] = (float(own.min()), float(own.max()))
    return ranges


def tilt_ranges_from(wedges: Mapping[int, tuple[float, float]], table: PoseTable, path: Path) -> Tensor:
    """Return the tilt range of each particle (n, 2) by the number of its tomogram in a wedge list."""
    tomograms, _ = numbers_of(table.tomograms)
    lost = sorted(set(tomograms.tolist()) - set(wedges))
    if lost:
        raise InputError(
            f"the wedge list has no tomogram {lost[0]}, which particles are in",
            cure="give the wedge list that belongs to the particles",
            path=path,
        )
    return torch.tensor([wedges[number] for number in tomograms.tolist()], dtype=torch.float64)


def with_tilts(
    table: PoseTable, wedge_list: str | Path | None = None, tilt_range: tuple[float, float] | None = None
) -> PoseTable:
    """Return a table with one tilt range in degrees for all particles, or with those of a wedge list, if given."""
    if tilt_range is not None:
        low, high = tilt_range
        if not -90 <= low < high <= 90:
            raise InputError(f"a tilt range from {low:g} to {high:g} degrees is not possible", cure="give low, high")
        ranges = torch.tensor([tilt_range] * len(table), dtype=torch.float64)
        return replace(table, tilt_ranges=ranges, extra=table.extra.drop(columns=FTYPE, errors="ignore"))
    if wedge_list is None:
        return table
    return replace(table, tilt_ranges=tilt_ranges_from(read_wedge_list(wedge_list), table, Path(wedge_list)))


def write_wedge_list(path: Path, tomograms: Tomograms, names: Mapping[int, str], *, overwrite: bool = False) -> None:
    """Write the wedge list of tomograms, by their numbers; defocus is the mean of both axes, in micrometres."""
    import pandas as pd

    rows: list[dict[str, float]] = []
    for number, name in sorted(names.items()):
        series = tomograms[name]
        sizes = [0.0, 0.0, 0.0] if series.size is None else series.size.tolist()
        defocus = (series.defocus_u_angstrom + series.defocus_v_angstrom) / 2 / _MICROMETRE
        for i in range(len(series)):
            rows.append(
                {
                    "tomo_num": number,
                    "pixelsize": series.pixel_size_angstrom,
                    **dict(zip(("tomo_x", "tomo_y", "tomo_z"), map(round, sizes), strict=True)),
                    "z_shift": 0,
                    "tilt_angle": float(series.tilts_degrees[i]),
                    "defocus": float(defocus[i]),
                    "exposure": float(series.dose[i]),
                    "voltage": series.voltage_kv,
                    "amp_contrast": series.amplitude_contrast,
                    "cs": series.spherical_aberration_mm,
                }
            )
    write_star(path, {BLOCK: pd.DataFrame(rows)}, overwrite=overwrite)
