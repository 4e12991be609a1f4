"""EMAN2's subtomogram tables: ``.lst`` lists, ``particle_parms_01.json``, stacks ``.hdf`` with poses in their headers.

``xform.align3d`` maps a particle to the reference, ``x_reference = M x_particle + tau``; so R is the transpose of M and
the particle is at -R tau from the centre of its box. EMAN2's scores are lower for better particles; here their sign is
turned. What EMAN2 has no name for is kept under keys of our own, which it passes over.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gumnet.errors import InputError
from gumnet.io.atomic import write_whole
from gumnet.io.pose_table import IMAGE, PoseTable
from gumnet.io.relion import image_entry
from gumnet.io.written import Written

ALIGN = "xform.align3d"
_SCORE, _OURS, _THEIRS = "score", "gumnet", "eman2_"
_CURE = "give a list or a JSON file of e2spt"
_LONGEST_KEY = 5000
_HEAD = (
    "#LSX\n# This file is in fast LST format. All lines after the next line have exactly the number of characters "
    "shown on the next line. This MUST be preserved if editing.\n# {}\n"
)
Row = tuple[str, int, Mapping[str, Any]]
"""Image file, number in it from 0, and what is known of the particle."""


def read_eman2(path: str | Path, *, voxel_size_angstrom: float | None = None) -> PoseTable:
    """Return the particles of a list, a JSON file or a stack; without ``xform.align3d`` a particle is unturned.

    Raises
    ------
    InputError
        If the file cannot be understood.
    """
    path = Path(path)
    match path.suffix.lower():
        case ".lst":
            rows = list(_list_rows(path))
        case ".json":
            rows = list(_json_rows(path))
        case _:
            from gumnet.io.hdf import hdf_rows

            rows = list(hdf_rows(path))
    if not rows:
        raise InputError("there are no particles in it", cure=_CURE, path=path)
    try:
        return _pose_table(rows, path, voxel_size_angstrom)
    except InputError:
        raise
    # torch says by RuntimeError that a number is too large for it.
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError(f"an entry is not what it should be ({error})", cure=_CURE, path=path) from None


def _pose_table(rows: list[Row], path: Path, voxel_size_angstrom: float | None) -> PoseTable:
    import pandas as pd

    n = len(rows)
    matrices = torch.tensor(np.stack([_matrix(known, i, path) for i, (_, _, known) in enumerate(rows)]))
    rotations = matrices[:, :, :3].mT
    ours = [known.get(_OURS, {}) for _, _, known in rows]
    if not all(isinstance(each, dict) for each in ours):
        raise InputError(f"what is under the key {_OURS} is not ours", cure="remove the key", path=path)

    def own(key: str, default: Any) -> list[Any]:
        return [each.get(key, default) for each in ours]

    sizes = {each["voxel_size"] for each in ours if "voxel_size" in each}
    if voxel_size_angstrom is None:
        voxel_size_angstrom = float(sizes.pop()) if len(sizes) == 1 else _apix(rows)
    tilts = own("tilts", None)
    return PoseTable(
        path=path,
        program="EMAN2",
        rotations=rotations,
        coordinates=torch.tensor(own("coordinate", [0.0, 0.0, 0.0]), dtype=torch.float64),
        shifts=-(rotations @ matrices[:, :, 3:])[..., 0],
        tomograms=tuple(str(name) for name in own("tomogram", "")),
        numbers=torch.tensor([each.get("number", i + 1) for i, each in enumerate(ours)], dtype=torch.int64),
        half_sets=torch.tensor(own("half_set", 0), dtype=torch.int64),
        classes=torch.tensor(own("class", 0), dtype=torch.int64),
        objects=torch.tensor(own("object", 0), dtype=torch.int64),
        scores=-torch.tensor([float(known.get(_SCORE, np.nan)) for _, _, known in rows], dtype=torch.float64),
        tilt_ranges=None if None in tilts else torch.tensor(tilts, dtype=torch.float64),
        voxel_size_angstrom=voxel_size_angstrom,
        centred=bool(own("centred", False)[0]),
        extra=_extra(rows, pd.DataFrame(own("columns", {}), index=range(n))),
    )


def _extra(rows: list[Row], columns: Any) -> Any:
    """Return the other columns: ours as they were, EMAN2's with ``eman2`` before their keys, and the images."""
    keys = dict.fromkeys(key for _, _, known in rows for key in known if key not in (ALIGN, _SCORE, _OURS))
    for key in keys:
        values = [known.get(key) for _, _, known in rows]
        if all(isinstance(value, int | float | str) for value in values):
            columns[f"{_THEIRS}{key}"] = values
        else:
            columns[f"{_THEIRS}{key}"] = [json.dumps(value).replace(" ", "") for value in values]
    columns[IMAGE] = [f"{index + 1:06d}@{file}" for file, index, _ in rows]
    return columns


def _apix(rows: list[Row]) -> float | None:
    sizes = {round(float(known["apix_x"]), 4) for _, _, known in rows if "apix_x" in known}
    # 1 is what EMAN2 writes where it does not know.
    return sizes.pop() if len(sizes) == 1 and 1.0 not in sizes else None


def _matrix(known: Mapping[str, Any], row: int, path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return ``xform.align3d`` (3, 4) of a particle."""
    transform = known.get(ALIGN)
    if transform is None:
        return np.eye(3, 4)
    values = transform.get("matrix") if isinstance(transform, dict) else transform
    try:
        numbers = json.loads(values) if isinstance(values, str) else values
        matrix = np.array(numbers, dtype=np.float64).reshape(3, 4)
    except (ValueError, TypeError):
        matrix = np.full((3, 4), np.nan)
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:, :3]) - 1) > 1e-3:
        raise InputError(f"{ALIGN} of particle {row + 1} is no rotation with a shift", cure="mend it", path=path)
    # Written with few digits, or in float32: the nearest rotation is meant.
    u, _, vt = np.linalg.svd(matrix[:, :3])
    return np.hstack([u @ vt, matrix[:, 3:]])


def _list_rows(path: Path) -> Iterator[Row]:
    for i, line in enumerate(_text(path).splitlines()):
        if line.startswith("#") or not line.strip():
            continue
        parts = line.rstrip().split("\t", 2)
        try:
            known = json.loads(parts[2]) if len(parts) > 2 and parts[2].startswith("{") else {}
            yield parts[1], int(parts[0]), known
        except (ValueError, IndexError, RecursionError):
            raise InputError(f"line {i + 1} is not a number, a file and a JSON object", cure=_CURE, path=path) from None


def _json_rows(path: Path) -> Iterator[Row]:
    try:
        entries = json.loads(_text(path))
        for key, known in entries.items():
            if len(key) > _LONGEST_KEY:
                raise ValueError("no name of a file is so long")
            # Keys are Python's text of a pair: ('particles.hdf', 12)
            file, index = ast.literal_eval(key)
            yield str(file), int(index), dict(known)
    except (ValueError, SyntaxError, TypeError, AttributeError, RecursionError, MemoryError):
        raise InputError("it does not hold particles and their transforms", cure=_CURE, path=path) from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError("this is not text", cure=_CURE, path=path) from None


def write_eman2(path: Path, table: PoseTable, *, overwrite: bool = False) -> Written:
    """Write a list or, if the name ends in ``.json``, a JSON file of transforms; nothing is left out of it."""
    rotations = table.rotations.mT
    tau = -(rotations @ table.shifts[..., None])
    matrices = torch.cat([rotations, tau], dim=-1).reshape(-1, 12).tolist()
    columns = {str(name): table.extra[name].tolist() for name in table.extra if name != IMAGE}
    names = [str(n) for n in table.extra[IMAGE]] if IMAGE in table.extra else [""] * len(table)

    def rows() -> Iterator[Row]:
        for i in range(len(table)):
            text = "[" + ",".join(f"{value:.10g}" for value in matrices[i]) + "]"
            known: dict[str, Any] = {ALIGN: {"__class__": "Transform", "matrix": text}}
            score = float(table.scores[i])
            if score == score:
                known[_SCORE] = -score
            known |= {name.removeprefix(_THEIRS): c[i] for name, c in columns.items() if name.startswith(_THEIRS)}
            # One row stays one particle even where none has an image: the number is its place.
            yield *_image(names[i], i, table.path), {**known, _OURS: _ours(table, i, columns)}

    with write_whole(path, overwrite=overwrite) as temporary:
        temporary.write_text(_as_json(rows()) if path.suffix.lower() == ".json" else _as_list(rows()), encoding="utf-8")
    notes = [] if IMAGE in table.extra else ["The particles have no images: give EMAN2 particles.hdf in this order."]
    optics = {} if table.optics is None else {str(name): "no optics groups" for name in table.optics}
    return Written((path,), optics, tuple(notes))


def _image(name: str, row: int, path: Path) -> tuple[str, int]:
    """Return file and number from 0 of an image name of the table at ``path``."""
    if not name:
        return "particles.hdf", row
    file, number = image_entry(name, path)
    return str(file), number or 0


def _ours(table: PoseTable, i: int, columns: Mapping[str, list[Any]]) -> dict[str, Any]:
    """Return what EMAN2 has no name for, of one particle."""
    ours: dict[str, Any] = {
        "coordinate": table.coordinates[i].tolist(),
        "tomogram": table.tomograms[i],
        "number": int(table.numbers[i]),
        "half_set": int(table.half_sets[i]),
        "class": int(table.classes[i]),
        "object": int(table.objects[i]),
        "columns": {name: column[i] for name, column in columns.items() if not name.startswith(_THEIRS)},
    }
    if table.tilt_ranges is not None:
        ours["tilts"] = table.tilt_ranges[i].tolist()
    if table.voxel_size_angstrom is not None:
        ours["voxel_size"] = table.voxel_size_angstrom
    if table.centred:
        ours["centred"] = True
    return ours


def _as_json(rows: Iterator[Row]) -> str:
    entries = {str((file, index)): known for file, index, known in rows}
    return json.dumps(entries, indent=1)


def _as_list(rows: Iterator[Row]) -> str:
    lines = [f"{index}\t{file}\t{json.dumps(known, separators=(',', ':'))}" for file, index, known in rows]
    length = max(len(line.encode()) for line in lines) + 1  # with the end of the line
    # EMAN2 finds a line by its number, so all are of one length; the same holds for text that is not ASCII.
    return _HEAD.format(length) + "".join(f"{line}{' ' * (length - 1 - len(line.encode()))}\n" for line in lines)
