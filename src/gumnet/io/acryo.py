"""Molecules of acryo (``.csv``): z, y, x in nanometres from the first voxel, and a rotation vector zvec, yvec, xvec.

acryo's rotations act on (z, y, x) vectors. To turn the order of the axes round is a reflection, so the vector of R has
its components in the other order and the other sign.
"""

from __future__ import annotations

import csv
from pathlib import Path

import roma
import torch

from gumnet.errors import InputError
from gumnet.geometry.so3 import rotation_from_vector
from gumnet.io.atomic import write_whole
from gumnet.io.pose_table import PoseTable
from gumnet.io.relion_table import numbers, optional_scores, whole_numbers
from gumnet.io.written import Written
from gumnet.types import Labels

_PLACE, _VECTOR = ("z", "y", "x"), ("zvec", "yvec", "xvec")
_TOMOGRAM, _SCORE = "tomogram", "gumnet_score"
_LABELS = {
    "numbers": "gumnet_number",
    "half_sets": "gumnet_half_set",
    "classes": "gumnet_class",
    "objects": "gumnet_object",
}
"""Features that hold what acryo has no name for."""
_NM = 10.0  # Angstrom


def read_acryo(path: str | Path, *, voxel_size_angstrom: float | None = None) -> PoseTable:
    """Return the molecules of acryo, in voxels of 1 Angstrom unless a voxel size is given.

    Raises
    ------
    InputError
        If the file lacks a column.
    """
    import pandas as pd

    path = Path(path)
    try:
        frame = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError):
        raise InputError("it cannot be read as CSV", cure="give molecules of acryo", path=path) from None
    if len(frame) == 0:
        raise InputError("the table is empty", cure="check how it was written", path=path)
    size = 1.0 if voxel_size_angstrom is None else voxel_size_angstrom
    n = len(frame)

    def labels(name: str) -> Labels:
        column = _LABELS[name]
        if column not in frame:
            return torch.arange(1, n + 1) if name == "numbers" else torch.zeros(n, dtype=torch.int64)
        return whole_numbers(frame, column, path)

    scores = optional_scores(frame, _SCORE, path)
    used = [*_PLACE, *_VECTOR, _TOMOGRAM, _SCORE, *_LABELS.values()]
    return PoseTable(
        path=path,
        program="acryo",
        rotations=rotation_from_vector(-numbers(frame, _VECTOR, path).flip(-1)),
        coordinates=numbers(frame, _PLACE, path).flip(-1) * _NM / size,
        shifts=torch.zeros(n, 3, dtype=torch.float64),
        tomograms=tuple(frame[_TOMOGRAM].astype(str)) if _TOMOGRAM in frame else ("",) * n,
        scores=torch.full((n,), torch.nan, dtype=torch.float64) if scores is None else scores,
        numbers=labels("numbers"),
        half_sets=labels("half_sets"),
        classes=labels("classes"),
        objects=labels("objects"),
        voxel_size_angstrom=size,
        extra=frame.drop(columns=used, errors="ignore"),
    )


def write_acryo(path: Path, table: PoseTable, *, overwrite: bool = False) -> Written:
    """Write molecules for acryo; other columns become its features."""
    table = table.from_corner()
    size = table.needed_voxel_size("acryo wants coordinates in nanometres")
    places = (table.positions * size / _NM).flip(-1).tolist()
    vectors = (-roma.rotmat_to_rotvec(table.rotations)).flip(-1).tolist()
    features = {_SCORE: table.scores} | {column: getattr(table, name) for name, column in _LABELS.items()}
    kept = {name: values.tolist() for name, values in features.items() if bool(values.nan_to_num().any())}
    kept |= {str(name): table.extra[name].tolist() for name in table.extra if name not in kept}
    if any(table.tomograms):
        kept[_TOMOGRAM] = list(table.tomograms)
    with write_whole(path, overwrite=overwrite) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*_PLACE, *_VECTOR, *kept])
        for place, vector, *others in zip(places, vectors, *kept.values(), strict=True):
            writer.writerow([*(f"{v:.9g}" for v in (*place, *vector)), *others])
    left_out = {} if table.tilt_ranges is None else {"tilt limits": "acryo takes them as an argument"}
    return Written.of(table, [path], left_out)
