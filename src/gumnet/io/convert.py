"""Particle tables from one program's format to another's; images are not opened, so they need not be at hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import torch

from gumnet.errors import InputError
from gumnet.io.check import positive_voxel_size
from gumnet.io.pose_table import PoseTable
from gumnet.io.tables import read_pose_table
from gumnet.io.tomograms import tilt_series_of
from gumnet.io.wedge_list import with_tilts
from gumnet.io.written import Written

Target = Literal["relion3.0", "relion3", "relion4", "relion5", "dynamo", "stopgap", "em", "eman2", "m", "acryo"]
"""Formats that can be written; relion3 is version 3.1."""
TARGETS: tuple[Target, ...] = get_args(Target)
_SUFFIXES: dict[Target, tuple[str, ...]] = {
    "dynamo": (".tbl",),
    "em": (".em",),
    "eman2": (".lst", ".json"),
    "acryo": (".csv",),
}
"""What the names of files end in, where it is not ``.star``."""
IN_LENGTHS = {"M": "Angstrom", "acryo": "nanometres"}
"""Programs whose tables have coordinates in a unit of length and do not say the size of a voxel."""
IN_VOXELS = ("dynamo", "stopgap", "em")
"""Formats that count voxels of the tomogram they belong to, whatever their size is."""
_MOST_IMAGES = 100
"""Images that are looked for, to see where their names start from."""


@dataclass(frozen=True)
class Converted:
    """What `convert` did: the table that it read, the format, and the account of what it wrote."""

    table: PoseTable
    target: Target
    written: Written


def convert(
    source: str | Path,
    out: str | Path,
    *,
    to: Target | None = None,
    voxel_size_angstrom: float | None = None,
    out_voxel_size_angstrom: float | None = None,
    tomograms: str | Path | None = None,
    tomogram_size: tuple[float, float, float] | None = None,
    wedge_list: str | Path | None = None,
    tilt_range: tuple[float, float] | None = None,
    overwrite: bool = False,
) -> Converted:
    """Convert a particle table to another format.

    Columns that the target can hold and nobody here understands are kept; the account names all others.

    Parameters
    ----------
    source, out
        Tables, see `gumnet.io.tables`.
    to
        Format; by the suffix of ``out`` unless given, where ``.star`` is the program of the source, or RELION 3.1.
    voxel_size_angstrom
        Size of the voxels that the coordinates of ``source`` count, in place of what it says.
    out_voxel_size_angstrom
        Size of the voxels that those of ``out`` are to count, as in a tomogram that is binned otherwise.
    tomograms
        RELION's table of tomograms, for the sizes that coordinates from the centre need.
    tomogram_size
        The size (x, y, z) of all tomograms in voxels of ``source``, in place of a table.
    wedge_list
        STOPGAP's wedge list, for the tilt ranges.
    tilt_range
        Lowest and highest tilt of all particles in degrees, in place of what the table says.
    overwrite
        Whether files of these names may be replaced.

    Raises
    ------
    InputError
        If the table is broken, the target needs what is not known, or a file may not be written.
    """
    out = Path(out)
    table = read_pose_table(source, voxel_size_angstrom=voxel_size_angstrom, tomograms=tomograms)
    target = target_of(table, out) if to is None else to
    wanted = _SUFFIXES.get(target, (".star",))
    if out.suffix.lower() not in wanted:
        raise InputError(f"the name of a table of {target} ends in {' or '.join(wanted)}", cure="rename it", path=out)
    unit = IN_LENGTHS.get(table.program) if voxel_size_angstrom is None and out_voxel_size_angstrom is None else None
    if unit is not None and target in IN_VOXELS:
        raise InputError(
            f"its coordinates are in {unit}, and {target} counts voxels, whose size it does not say",
            cure="give that of the tomogram in Angstrom with --voxel-size",
            path=table.path,
        )
    if tomogram_size is not None:
        if min(tomogram_size) <= 0:
            raise InputError(f"a tomogram of {tomogram_size} voxels is not possible", cure="give x, y and z above 0")
        table = replace(table, tomogram_sizes=dict.fromkeys(table.tomograms, tomogram_size)).from_corner()
    table = with_tilts(table, wedge_list, tilt_range)
    if table.tilt_ranges is None and target == "dynamo":
        table = _with_tilts_of_tomograms(table)
    if out_voxel_size_angstrom is not None:
        table = table.at_voxel_size(positive_voxel_size(out_voxel_size_angstrom))
    written = write_table(out, _with_reachable_images(table, out), target, overwrite=overwrite)
    if unit is not None and target.startswith("relion"):
        said = f"Coordinates in {unit} were taken for voxels of 1 Angstrom: --voxel-size says that of the tomogram."
        written = replace(written, notes=(*written.notes, said))
    if target.startswith("relion") and "rlnImageName" not in table.extra.columns:
        said = (
            "The table names no images: extract the particles before they are averaged, with gumnet extract or in "
            "RELION, or give their volumes with --volumes."
        )
        written = replace(written, notes=(*written.notes, said))
    return Converted(table, target, written)


def _with_tilts_of_tomograms(table: PoseTable) -> PoseTable:
    """Return the table with the tilt ranges of RELION's table of tomograms, where that is at hand."""
    series = None if table.tomograms_path is None else tilt_series_of(table.tomograms_path, table.tomograms)
    if series is None:
        return table
    ends = {
        name: (float(one.tilts_degrees.min()), float(one.tilts_degrees.max())) for name, one in series.series.items()
    }
    return replace(table, tilt_ranges=torch.tensor([ends[name] for name in table.tomograms], dtype=torch.float64))


def target_of(table: PoseTable, out: Path) -> Target:
    """Return the format that the name of a file asks for; STAR files stay of the program that they came from."""
    suffix = out.suffix.lower()
    for target, suffixes in _SUFFIXES.items():
        if suffix in suffixes:
            return target
    if suffix != ".star":
        raise InputError(
            f"no format has files that end in {suffix or 'nothing'}", cure=f"give --to {', '.join(TARGETS)}", path=out
        )
    if table.program == "STOPGAP":
        return "stopgap"
    if table.program == "M":
        return "m"
    of_relion: dict[str, Target] = {"4": "relion4", "5": "relion5"}
    return of_relion.get(table.version, "relion3")


def write_table(out: Path, table: PoseTable, target: Target, *, overwrite: bool = False) -> Written:
    """Write a table in a format, and say what it cannot hold."""
    from gumnet.io.relion_pose_table_write import write_relion

    match target:
        case "dynamo":
            from gumnet.io.dynamo import write_dynamo

            return write_dynamo(out, table, overwrite=overwrite)
        case "stopgap":
            from gumnet.io.stopgap import write_stopgap

            return write_stopgap(out, table, overwrite=overwrite)
        case "em":
            from gumnet.io.em_motive_list import write_em_motive_list

            return write_em_motive_list(out, table, overwrite=overwrite)
        case "eman2":
            from gumnet.io.eman2 import write_eman2

            return write_eman2(out, table, overwrite=overwrite)
        case "m":
            from gumnet.io.warp_m import write_warp_m

            return write_warp_m(out, table, overwrite=overwrite)
        case "acryo":
            from gumnet.io.acryo import write_acryo

            return write_acryo(out, table, overwrite=overwrite)
        case "relion3.0":
            return write_relion(out, table, "3.0", overwrite=overwrite)
        case "relion3":
            return write_relion(out, table, "3.1", overwrite=overwrite)
        case "relion4":
            return write_relion(out, table, "4", overwrite=overwrite)
        case "relion5":
            return write_relion(out, table, "5", overwrite=overwrite)


def _with_reachable_images(table: PoseTable, out: Path) -> PoseTable:
    """Return the table with image names that lead from the new table to the images, if these are at hand.

    Names that are found from the folder of the source and not from that of ``out`` are made absolute.
    """
    from gumnet.io.relion import CTF_IMAGE, IMAGE, absolute_name, split_name
    from gumnet.io.relion_table import find_upwards

    extra = table.extra
    for column in (IMAGE, CTF_IMAGE):
        if column not in extra.columns:
            continue
        files = [split_name(str(name))[1] for name in extra[column].iloc[:_MOST_IMAGES]]
        found = ((file, find_upwards(table.path, file)) for file in files)
        file, root = next(((file, root) for file, root in found if root is not None), ("", None))
        if root is not None and find_upwards(out, file) != root:
            extra = extra.assign(**{column: [absolute_name(name, root) for name in extra[column]]})
    return replace(table, extra=extra)
