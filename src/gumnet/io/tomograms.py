"""Tables of tomograms: the geometry, the CTF and the dose of every tilt, as RELION 4, RELION 5 and Warp write them.

RELION 4 and Warp keep a block a tomogram, with the rows rlnTomoProjX, Y, Z of a projection matrix for every tilt.
RELION 5 names a file a tilt series (rlnTomoTiltSeriesStarFile) with the angles rlnTomoXTilt, YTilt, ZRot and shifts.
Either way ``x_image = P x_tomogram``. Only the rotation part of P is kept: the images are cut out around the particle.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.geometry.rigid import matrix_from_euler
from gumnet.io.star import read_star
from gumnet.types import Rotations, Vectors

if TYPE_CHECKING:
    import pandas as pd

NAME, SERIES_FILE = "rlnTomoName", "rlnTomoTiltSeriesStarFile"
_ROWS = ("rlnTomoProjX", "rlnTomoProjY", "rlnTomoProjZ")
_ANGLES = ("rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot")
_OPTICS = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
_SIZES = ("rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ")
_PIXEL = "rlnTomoTiltSeriesPixelSize"
_CURE = "write the table of tomograms again"


@dataclass(frozen=True)
class TiltSeries:
    """One tilt series of t tilts, in the order of the images.

    Parameters
    ----------
    matrices
        Rotation parts of the projection matrices, (t, 3, 3); ``x_image = P x_tomogram``.
    defocus_u_angstrom, defocus_v_angstrom, defocus_angle_degrees, phase_shift_degrees, scale
        CTF at the centre of the tomogram, each (t,); ``scale`` is a factor such as the cosine of the tilt.
    dose
        Accumulated before each tilt, (t,), in electrons per square Angstrom.
    voltage_kv, spherical_aberration_mm, amplitude_contrast
        Of the microscope.
    hand
        How defocus changes with depth along the beam, +1 or -1 times the slope (rlnTomoDefocusSlope); see
        `defocus_offsets_angstrom`.
    pixel_size_angstrom
        Of the tilt images as recorded.
    size
        Of the tomogram (x, y, z) in pixels as recorded, (3,), or None where the table does not say.
    from_warp
        Whether Warp wrote the table. Its particle coordinates are in pixels of the particle images.
    """

    matrices: Rotations
    defocus_u_angstrom: Tensor
    defocus_v_angstrom: Tensor
    defocus_angle_degrees: Tensor
    phase_shift_degrees: Tensor
    scale: Tensor
    dose: Tensor
    voltage_kv: float
    spherical_aberration_mm: float
    amplitude_contrast: float
    hand: float
    pixel_size_angstrom: float
    size: Tensor | None
    from_warp: bool

    def __len__(self) -> int:
        return len(self.matrices)

    @property
    def tilts_degrees(self) -> Tensor:
        """Tilt about y of each image, (t,), from the beam in the tomogram, which is the third row of P."""
        beam = self.matrices[:, 2]
        return torch.rad2deg(torch.atan2(-beam[:, 0], torch.hypot(beam[:, 1], beam[:, 2])))

    def defocus_offsets_angstrom(self, position_angstrom: Vectors) -> Tensor:
        """Return what is added to the defocus of each tilt, (t,), at a position (3,) from the tomogram's centre.

        ``hand * depth``, with the depth along the beam that the third row of P gives (RELION's ``Tomogram::getCtf``).
        """
        return self.hand * (self.matrices[:, 2] @ position_angstrom)


@dataclass(frozen=True)
class Tomograms:
    """All tilt series of a table of tomograms, by rlnTomoName."""

    path: Path
    series: dict[str, TiltSeries]

    def __getitem__(self, name: str) -> TiltSeries:
        if name not in self.series:
            raise InputError(
                f"there is no tomogram {name} ({NAME}), which particles name",
                cure="give the table of tomograms that belongs to the particles",
                path=self.path,
            )
        return self.series[name]

    @property
    def most_tilts(self) -> int:
        """How many tilts the longest series has."""
        return max(len(series) for series in self.series.values())


def read_tomograms(path: str | Path) -> Tomograms:
    """Return the tilt series of ``tomograms.star``.

    Raises
    ------
    InputError
        If a block, a file or a column is missing, or a value cannot be read.
    """
    path = Path(path)
    blocks = read_star(path)
    if "global" not in blocks or len(blocks["global"]) == 0:
        raise InputError("there is no data_global", cure="give the table of tomograms (tomograms.star)", path=path)
    table = blocks["global"]
    names = _column(table, NAME, path)
    return Tomograms(path, {str(n): _series(table.iloc[i], str(n), blocks, path) for i, n in enumerate(names)})


def tilt_series_of(path: Path, names: Iterable[str]) -> Tomograms | None:
    """Return a table of tomograms if it has the tilts of all named ones; None if not, as when files are elsewhere."""
    try:
        tomograms = read_tomograms(path)
    except InputError:
        return None
    return tomograms if set(names) <= set(tomograms.series) else None


def tomogram_sizes_angstrom(path: str | Path) -> dict[str, tuple[float, float, float]]:
    """Return the sizes (x, y, z) of tomograms in Angstrom by name; those of unknown size are not in it.

    Raises
    ------
    InputError
        If the file is no table of tomograms.
    """
    path = Path(path)
    table = read_star(path).get("global")
    if table is None:
        raise InputError("there is no data_global", cure="give the table of tomograms (tomograms.star)", path=path)
    names = _column(table, NAME, path)
    if not {*_SIZES, _PIXEL} <= set(table.columns):
        return {}
    pixel = _numbers(table, _PIXEL, path)
    sizes = torch.stack([_numbers(table, c, path) * pixel for c in _SIZES], dim=1).tolist()
    return {str(name): (x, y, z) for name, (x, y, z) in zip(names, sizes, strict=True)}


def _column(table: pd.DataFrame, column: str, path: Path) -> pd.Series:
    if column not in table.columns:
        raise InputError(f"column {column} is missing", cure=_CURE, path=path)
    return table[column]


def _numbers(table: pd.DataFrame, column: str, path: Path, default: float | None = None) -> Tensor:
    """Return a column as float64, (rows,); a column that is not there is all ``default``, if there is one."""
    if column not in table.columns and default is not None:
        return torch.full((len(table),), default, dtype=torch.float64)
    entries = _column(table, column, path)
    try:
        values = torch.tensor(entries.to_numpy(dtype=float))
    except (ValueError, TypeError):
        raise InputError(f"column {column} holds text, numbers are wanted", cure=_CURE, path=path) from None
    if not bool(values.isfinite().all()):
        raise InputError(f"column {column} holds NaN or infinite values", cure=_CURE, path=path)
    return values


def _series(row: pd.Series, name: str, blocks: dict[str, pd.DataFrame], path: Path) -> TiltSeries:
    one = row.to_frame().T
    tilts, where = _tilt_table(row, name, blocks, path)

    def single(column: str, default: float | None = None) -> float:
        return float(_numbers(one, column, path, default)[0])

    from_warp = name.endswith(".tomostar")
    # RELION takes hand * depth for the change of defocus. Warp multiplies its images by a CTF whose defocus grows with
    # the depth of its own matrices, and writes hand -1 for that, +1 where it turned the sign round: the opposite.
    hand = single("rlnTomoHand", 1.0) * single("rlnTomoDefocusSlope", 1.0) * (-1.0 if from_warp else 1.0)
    sizes = torch.cat([_numbers(one, c, path) for c in _SIZES]) if set(_SIZES) <= set(one.columns) else None
    voltage, aberration, amplitude = (single(column) for column in _OPTICS)
    return TiltSeries(
        matrices=_matrices(tilts, where),
        defocus_u_angstrom=_numbers(tilts, "rlnDefocusU", where),
        defocus_v_angstrom=_numbers(tilts, "rlnDefocusV", where),
        defocus_angle_degrees=_numbers(tilts, "rlnDefocusAngle", where),
        phase_shift_degrees=_numbers(tilts, "rlnPhaseShift", where, 0.0),
        scale=_numbers(tilts, "rlnCtfScalefactor", where, 1.0),
        dose=_numbers(tilts, "rlnMicrographPreExposure", where),
        voltage_kv=voltage,
        spherical_aberration_mm=aberration,
        amplitude_contrast=amplitude,
        hand=hand,
        pixel_size_angstrom=single(_PIXEL),
        size=sizes,
        from_warp=from_warp,
    )


def _tilt_table(row: pd.Series, name: str, blocks: dict[str, pd.DataFrame], path: Path) -> tuple[pd.DataFrame, Path]:
    """Return the rows of all tilts of one tomogram, and the file that they are in."""
    if name in blocks:
        return blocks[name], path
    if SERIES_FILE not in row.index:
        raise InputError(
            f"there is no block data_{name}, nor a column {SERIES_FILE} that names a file", cure=_CURE, path=path
        )
    # Its names start from the project folder, in or below which the table is.
    file = str(row[SERIES_FILE])
    folders = [path.absolute().parent, *path.absolute().parents, Path.cwd()]
    found = next((folder / file for folder in folders if os.path.isfile(folder / file)), None)
    if found is None:
        raise InputError(
            f"no such file: {SERIES_FILE} {file} of tomogram {name}",
            cure="keep the table in its project folder, or start from there",
            path=path,
        )
    inner = read_star(found)
    return inner.get(name, next(iter(inner.values()))), found


def _matrices(tilts: pd.DataFrame, path: Path) -> Rotations:
    """Return the rotation parts of the projection matrices of all tilts, (t, 3, 3), float64."""
    if set(_ROWS) & set(tilts.columns):
        return torch.stack([_vectors(_column(tilts, column, path), column, path) for column in _ROWS], dim=1)
    # RELION 5 turns about x, then y, then z, all fixed axes (its ``Tomogram::setProjectionMatrix``).
    angles = torch.stack([_numbers(tilts, c, path, 0.0 if c == _ANGLES[0] else None) for c in _ANGLES], dim=-1)
    return matrix_from_euler("xyz", angles)


def _vectors(column: pd.Series, name: str, path: Path) -> Tensor:
    """Return the first three numbers of entries such as ``[0.9,0.1,0.3,12]``, (t, 3)."""
    rows = []
    for entry in column:
        try:
            rows.append([float(value) for value in json.loads(str(entry))[:3]])
        except (ValueError, TypeError):
            rows.append([])
        if len(rows[-1]) != 3:
            raise InputError(f"{name} {entry} is not a row of a matrix, as in [1,0,0,0]", cure=_CURE, path=path)
    return torch.tensor(rows, dtype=torch.float64)
