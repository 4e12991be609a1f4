"""Particle tables from one program's format to another's; images are not opened, so they need not be at hand."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from gumnet.errors import InputError
from gumnet.io.check import existing_file, positive_voxel_size
from gumnet.io.pose_table import PoseTable
from gumnet.io.written import Written

Target = Literal["relion3.0", "relion3", "relion4", "relion5", "dynamo", "stopgap", "em", "eman2", "m"]
"""Formats that can be written; relion3 is version 3.1."""
TARGETS: tuple[Target, ...] = get_args(Target)
KNOWN = (
    "known are tables of RELION, Warp, M and STOPGAP (.star), Dynamo (.tbl), AV3 (.em) and EMAN2 (.lst, .json, .hdf)"
)
TABLE_SUFFIXES = (".star", ".tbl", ".em", ".lst", ".json", ".hdf")
_SUFFIXES: dict[Target, tuple[str, ...]] = {"dynamo": (".tbl",), "em": (".em",), "eman2": (".lst", ".json")}
"""What the names of files end in, where it is not ``.star``."""
_HEAD = 2**16
_MOST_IMAGES = 100
"""Images that are looked for, to see where their names start from."""
_NAMED = ("rlnImageName", "rlnCtfImage")


@dataclass(frozen=True)
class Converted:
    """What `convert` did: the table that it read, the format, and the account of what it wrote."""

    table: PoseTable
    target: Target
    written: Written


def read_pose_table(
    path: str | Path, *, voxel_size_angstrom: float | None = None, tomograms: str | Path | None = None
) -> PoseTable:
    """Return the particles of a table of any known format; no image has to be at hand.

    Parameters
    ----------
    path
        RELION 3.0 to 5, Warp, M or STOPGAP (``.star``), Dynamo (``.tbl``), AV3 (``.em``), EMAN2 (``.lst``, ``.json``,
        ``.hdf``), or a folder with ``particles.star``.
    voxel_size_angstrom
        Size of the voxels that the coordinates count, in place of what the table says.
    tomograms
        RELION's table of tomograms, for the sizes that coordinates from the centre need.

    Raises
    ------
    InputError
        If the format is not known, or the table is broken.
    """
    # Each reader is imported when it is needed: h5py and pandas take a while.
    path = Path(path)
    if path.is_dir() and (path / "particles.star").is_file():
        path = path / "particles.star"
    path = existing_file(path, "a particle table")
    size = None if voxel_size_angstrom is None else positive_voxel_size(voxel_size_angstrom)
    match path.suffix.lower():
        case ".star":
            return _read_star_table(path, size, tomograms)
        case ".tbl":
            from gumnet.io.dynamo import read_dynamo

            return read_dynamo(path, voxel_size_angstrom=size)
        case ".em":
            from gumnet.io.em_motive_list import read_em_motive_list

            return read_em_motive_list(path, voxel_size_angstrom=size)
        case ".lst" | ".json" | ".hdf":
            from gumnet.io.eman2 import read_eman2

            return read_eman2(path, voxel_size_angstrom=size)
    raise InputError(f"unknown format {path.suffix or 'without a suffix'}", cure=KNOWN, path=path)


def star_program(path: Path) -> Literal["RELION", "STOPGAP", "M"]:
    """Return whose table a STAR file is, by its first lines; RELION's if nothing speaks against it."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if re.search(rb"^data_stopgap_motivelist", head, re.MULTILINE):
        return "STOPGAP"
    return "M" if re.search(rb"^\s*_wrpCoordinateX", head, re.MULTILINE) else "RELION"


def _read_star_table(path: Path, size: float | None, tomograms: str | Path | None) -> PoseTable:
    match star_program(path):
        case "STOPGAP":
            from gumnet.io.stopgap import read_stopgap

            return read_stopgap(path, voxel_size_angstrom=size)
        case "M":
            from gumnet.io.warp_m import read_warp_m

            return read_warp_m(path, voxel_size_angstrom=size)
        case _:
            from gumnet.io.relion_pose_table import read_relion_pose_table

            return read_relion_pose_table(path, voxel_size_angstrom=size, tomograms=tomograms)


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
    overwrite: bool = False,
) -> Converted:
    """Convert a particle table to another format.

    Columns that the target can hold and nobody here understands are kept; the account names all others.

    Parameters
    ----------
    source, out
        Tables, see `read_pose_table`.
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
    if tomogram_size is not None:
        if min(tomogram_size) <= 0:
            raise InputError(f"a tomogram of {tomogram_size} voxels is not possible", cure="give x, y and z above 0")
        table = replace(table, tomogram_sizes=dict.fromkeys(table.tomograms, tomogram_size)).from_corner()
    if wedge_list is not None:
        from gumnet.io.stopgap import read_wedge_list, tilt_ranges_from

        ranges = tilt_ranges_from(read_wedge_list(wedge_list), table, Path(wedge_list))
        table = replace(table, tilt_ranges=ranges)
    if out_voxel_size_angstrom is not None:
        table = table.at_voxel_size(positive_voxel_size(out_voxel_size_angstrom))
    return Converted(table, target, _write(out, _with_reachable_images(table, out), target, overwrite))


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
    columns = set(table.extra)
    if table.stacks_2d or table.centred:
        return "relion5"
    return "relion4" if {"rlnTomoParticleName", "rlnTomoSubtomogramRot"} <= columns else "relion3"


def _write(out: Path, table: PoseTable, target: Target, overwrite: bool) -> Written:
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
    from gumnet.io.relion import absolute_name, split_name
    from gumnet.io.relion_table import find_upwards

    extra = table.extra
    for column in _NAMED:
        if column not in extra.columns:
            continue
        files = [split_name(str(name))[1] for name in extra[column].iloc[:_MOST_IMAGES]]
        file = next((file for file in files if find_upwards(table.path, file) is not None), None)
        if file is None or find_upwards(out, file) == find_upwards(table.path, file):
            continue
        root = find_upwards(table.path, file)
        assert root is not None
        extra = extra.assign(**{column: [absolute_name(name, root) for name in extra[column]]})
    return replace(table, extra=extra)
