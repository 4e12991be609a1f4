"""STOPGAP's motive lists (``.star``).

R is ``from_euler('zxz', [phi, the, psi])``, as in AV3, and the particle is at orig_x + x_shift. STOPGAP cuts boxes out
with MATLAB, which counts voxels from 1, but its group's converters copy orig_x to rlnCoordinateX as it is, and so do
others: so does this module.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gumnet.errors import InputError
from gumnet.geometry.rigid import euler_from_matrix, matrix_from_euler
from gumnet.io.atomic import check_free
from gumnet.io.pose_table import PoseTable
from gumnet.io.relion_table import numbers, require_columns, whole_numbers
from gumnet.io.star import read_star, write_star
from gumnet.io.tomogram_numbers import check_names, names_of, numbers_of, write_names
from gumnet.io.tomograms import tilt_series_of
from gumnet.io.wedge_list import write_wedge_list
from gumnet.io.written import Written
from gumnet.types import Labels

if TYPE_CHECKING:
    import pandas as pd

BLOCK = "stopgap_motivelist"
_POSITION, _SHIFT, _ANGLES = ("orig_x", "orig_y", "orig_z"), ("x_shift", "y_shift", "z_shift"), ("phi", "the", "psi")
_ORDER = (
    "motl_idx", "tomo_num", "object", "subtomo_num", "halfset", *_POSITION, "score", *_SHIFT, "phi", "psi", "the",
    "class",
)  # fmt: skip
INDEX = "stopgapMotlIdx"
"""What motl_idx is called elsewhere; kept where it is not the number of the row."""


def read_stopgap(path: str | Path, *, voxel_size_angstrom: float | None = None) -> PoseTable:
    """Return the particles of a STOPGAP motive list; it never says the voxel size.

    Half sets are A and B. A list with one letter only has no half sets: STOPGAP wants a letter everywhere.

    Raises
    ------
    InputError
        If there is no block data_stopgap_motivelist, or a field is missing or not what it should be.
    """
    path = Path(path)
    blocks = read_star(path)
    if BLOCK not in blocks:
        raise InputError(f"there is no data_{BLOCK}", cure="give a motive list of STOPGAP", path=path)
    frame = blocks[BLOCK].reset_index(drop=True)
    require_columns(frame, [name for name in _ORDER if name != "halfset"], path)
    if len(frame) == 0:
        raise InputError("the motive list is empty", cure="check how it was written", path=path)
    extra = frame.drop(columns=list(_ORDER), errors="ignore")
    index = whole_numbers(frame, "motl_idx", path)
    if not torch.equal(index, torch.arange(1, len(frame) + 1)):
        extra[INDEX] = index.numpy()
    return PoseTable(
        path=path,
        program="STOPGAP",
        rotations=matrix_from_euler("zxz", numbers(frame, _ANGLES, path)),
        coordinates=numbers(frame, _POSITION, path),
        shifts=numbers(frame, _SHIFT, path),
        tomograms=names_of(whole_numbers(frame, "tomo_num", path).tolist(), path),
        numbers=whole_numbers(frame, "subtomo_num", path),
        half_sets=_half_sets(frame, path),
        classes=whole_numbers(frame, "class", path),
        objects=whole_numbers(frame, "object", path),
        scores=numbers(frame, ["score"], path)[:, 0],
        voxel_size_angstrom=voxel_size_angstrom,
        extra=extra,
    )


def _half_sets(frame: pd.DataFrame, path: Path) -> Labels:
    none = torch.zeros(len(frame), dtype=torch.int64)
    if "halfset" not in frame.columns:
        return none
    letters = frame["halfset"].astype(str).str.upper()
    wrong = letters[~letters.isin(["A", "B"])]
    if len(wrong):
        raise InputError(
            f"halfset is {wrong.iloc[0]} in row {wrong.index[0] + 1}, A or B is wanted", cure="mend it", path=path
        )
    if letters.nunique() < 2:
        return none
    return torch.from_numpy((letters == "B").to_numpy(dtype="int64") + 1)


def write_stopgap(path: Path, table: PoseTable, *, overwrite: bool = False) -> Written:
    """Write a STOPGAP motive list, and beside it ``.doc`` with the names of the tomograms where they are not numbers.

    It has the 16 fields that STOPGAP knows and no other, since STOPGAP refuses them. Where RELION's table of tomograms
    is at hand with its tilts, the wedge list is written too.
    """
    import pandas as pd

    table = table.from_corner()
    tomograms, names = numbers_of(table.tomograms)
    phi, the, psi = euler_from_matrix("zxz", table.rotations).T.numpy()
    has_halves = bool(table.half_sets.any())
    fields: dict[str, object] = {
        "motl_idx": table.extra[INDEX].to_numpy() if INDEX in table.extra else range(1, len(table) + 1),
        "tomo_num": tomograms.numpy(),
        "object": table.objects.numpy(),
        "subtomo_num": table.numbers.numpy(),
        "halfset": ["B" if half == 2 else "A" for half in table.half_sets.tolist()],
        **dict(zip(_POSITION, table.coordinates.T.numpy(), strict=True)),
        "score": table.scores.nan_to_num().numpy(),
        **dict(zip(_SHIFT, table.shifts.T.numpy(), strict=True)),
        "phi": phi,
        "psi": psi,
        "the": the,
        "class": table.classes.numpy() if bool(table.classes.any()) else 1,
    }
    left_out = {str(name): "STOPGAP refuses other fields" for name in table.extra if name != INDEX}
    series = None if table.tomograms_path is None else tilt_series_of(table.tomograms_path, table.tomograms)
    wedges = path.with_name(f"{path.stem}_wedgelist.star")
    if series is not None:
        check_free(wedges, overwrite=overwrite)
    elif table.tilt_ranges is not None:
        left_out["tilt limits"] = "STOPGAP keeps them in a wedge list, which wants every tilt"
    notes = [] if has_halves else ["STOPGAP wants a half set everywhere: all are A, which is read as none."]
    if has_halves and bool((table.half_sets == 0).any()):
        notes.append("Particles without a half set were put into A.")
    if table.voxel_size_angstrom is not None:
        left_out["voxel size"] = "a motive list does not hold it"
    check_names(path, names, overwrite=overwrite)
    write_star(path, {BLOCK: pd.DataFrame(fields)[list(_ORDER)]}, overwrite=overwrite)
    files = [path, *write_names(path, names)]
    if series is not None:
        write_wedge_list(wedges, series, names, overwrite=overwrite)
        files.append(wedges)
    return Written.of(table, files, left_out, notes)
