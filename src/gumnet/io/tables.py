"""Particle tables of any known program, told by their names and first lines, as `PoseTable`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from gumnet.errors import InputError
from gumnet.io.check import existing_file, positive_voxel_size
from gumnet.io.pose_table import PoseTable

FOLDER_TABLE = "particles.star"
"""The table in a folder of particles."""
SUFFIXES = (".star", ".tbl", ".em", ".lst", ".json", ".hdf", ".csv")
"""What the names of tables end in."""
_KNOWN = (
    "known are tables of RELION, Warp, M and STOPGAP (.star), Dynamo (.tbl), AV3 (.em), EMAN2 (.lst, .json, .hdf) and "
    "acryo (.csv), and folders with particles.star"
)
_VOLUMES = (".mrc", ".mrcs", ".map", ".rec", ".st", ".tif", ".tiff")
_NAMED = 3
_HEAD = 2**16


def table_path(path: str | Path) -> Path:
    """Return the table at a path, or in the folder there.

    Raises
    ------
    InputError
        If there is none, or its name is that of no known format.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / FOLDER_TABLE).exists():
            raise InputError(f"the folder holds no {FOLDER_TABLE}", cure=_one_of(path), path=path)
        path = path / FOLDER_TABLE
    existing_file(path, "a particle table")
    if path.suffix.lower() not in SUFFIXES:
        if path.suffix.lower() in _VOLUMES:
            raise InputError("these are volumes, and no table of particles", cure="give the table of them", path=path)
        raise InputError(f"unknown format {path.suffix or 'without a suffix'}", cure=_KNOWN, path=path)
    return path


def _one_of(folder: Path) -> str:
    """Return what to give in place of a folder: the STAR files and tables in it, or what is known at all."""
    names = sorted(file.name for file in folder.iterdir() if file.suffix.lower() in (".star", ".tbl"))
    if not names:
        return f"give a table; {_KNOWN}"
    # An optimisation set first: it names the particles and the tomograms.
    names.sort(key=lambda name: "optimisation_set" not in name)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"give a table, of those in it for example {', '.join(names[:_NAMED])}{more}"


def star_program(path: Path) -> Literal["RELION", "STOPGAP", "M"]:
    """Return whose table a STAR file is, by its first lines; RELION's if nothing speaks against it."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if re.search(rb"^data_stopgap_motivelist", head, re.MULTILINE):
        return "STOPGAP"
    return "M" if re.search(rb"^\s*_wrpCoordinateX", head, re.MULTILINE) else "RELION"


def read_pose_table(
    path: str | Path, *, voxel_size_angstrom: float | None = None, tomograms: str | Path | None = None
) -> PoseTable:
    """Return the particles of a table of any known format; no image has to be at hand.

    Parameters
    ----------
    path
        RELION 3.0 to 5, Warp, M or STOPGAP (``.star``), Dynamo (``.tbl``), AV3 (``.em``), EMAN2 (``.lst``, ``.json``,
        ``.hdf``), acryo (``.csv``), or a folder with ``particles.star``.
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
    path = table_path(path)
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
        case ".csv":
            from gumnet.io.acryo import read_acryo

            return read_acryo(path, voxel_size_angstrom=size)
        case _:
            from gumnet.io.eman2 import read_eman2

            return read_eman2(path, voxel_size_angstrom=size)


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
