"""Coordinates as CSV or plain text, with or without a line that names the columns."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from gumnet.errors import InputError
from gumnet.io.relion_pose_table import CLASS, COORDINATES, HALF_SET, TUBE
from gumnet.io.relion_poses import ANGLES
from gumnet.io.tomograms import NAME

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = {
    **dict(zip("xyz", COORDINATES, strict=True)),
    "tomogram": NAME,
    "tomo": NAME,
    "tomo_name": NAME,
    "filament": TUBE,
    "tube": TUBE,
    "contour": TUBE,
    **dict(zip(("rot", "tilt", "psi"), ANGLES, strict=True)),
    "half": HALF_SET,
    "class": CLASS,
}
_TEXT = (NAME, TUBE)
_CURE = "give a first line with the names of the columns: x, y, z and, as needed, tomogram, filament, rot, tilt, psi"


def read_text_table(path: Path) -> pd.DataFrame:
    """Return a table of coordinates under RELION's names.

    Columns are apart by commas, semicolons, tabs or spaces; lines that start with # are comments. A first line may name
    the columns: x, y, z; tomogram; filament (or tube, contour); rot, tilt, psi in degrees in RELION's convention; half;
    class; others are kept as they are. Without one there are x, y, z and perhaps the name of a tomogram, which must not
    look like a number.

    Raises
    ------
    InputError
        If it is no such table, with the line that is wrong.
    """
    import pandas as pd

    rows = _rows(path)
    if not rows:
        raise InputError("the file holds no coordinates", cure=_CURE, path=path)
    line, first = rows[0]
    if any(_number(cell) is not None for cell in first):
        names, body = _unnamed(first, line, path), rows
    else:
        lowered = [cell.strip().lower() for cell in first]
        names, body = [_COLUMNS.get(low, cell.strip()) for low, cell in zip(lowered, first, strict=True)], rows[1:]
        missing = [axis for axis in "xyz" if axis not in lowered]
        if missing:
            raise InputError(f"column {missing[0]} is missing, found {', '.join(first)}", cure=_CURE, path=path)
        if len(set(names)) < len(names):
            raise InputError(f"a column is named twice: {', '.join(first)}", cure=_CURE, path=path)
        if not body:
            raise InputError("the file holds names of columns, but no coordinates", cure="add rows", path=path)
    for line, cells in body:
        if len(cells) != len(names):
            raise InputError(f"line {line} has {len(cells)} columns, not {len(names)}", cure="mend it", path=path)
        for name, cell in zip(names, cells, strict=True):
            if name.startswith("rln") and name not in _TEXT and _number(cell) is None:
                raise InputError(f"line {line}: {cell!r} is not a number", cure="mend it", path=path)
    frame = pd.DataFrame([cells for _, cells in body], columns=names)
    for name in names:
        values = [_number(cell) for cell in frame[name]]
        if name not in _TEXT and all(value is not None for value in values):
            frame[name] = pd.Series(values, dtype=float)
    return frame


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return the cells of all lines that hold any, with the numbers of the lines."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError):
        text = "\0"
    if "\0" in text:
        raise InputError("this is not text, so no table of coordinates", cure="give STAR, CSV or text", path=path)
    lines = [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1)]
    lines = [(i, line) for i, line in lines if line and not line.startswith("#")]
    separator = next((mark for mark in (",", ";", "\t") if lines and mark in lines[0][1]), None)
    return [(i, [c.strip().strip("\"'") for c in _split(line, separator)]) for i, line in lines]


def _split(line: str, separator: str | None) -> list[str]:
    return re.split(r"\s+", line) if separator is None else line.split(separator)


def _unnamed(first: list[str], line: int, path: Path) -> list[str]:
    """Return the names of the columns of a file that does not name them."""
    names = list(COORDINATES)
    if len(first) == 3:
        return names
    if len(first) == 4 and _number(first[3]) is None:
        return [*names, NAME]
    raise InputError(f"line {line} has {len(first)} columns without names, which may mean much", cure=_CURE, path=path)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
