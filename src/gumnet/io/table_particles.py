"""`Particles` of tables that name no images as RELION does: Dynamo, STOPGAP, AV3 and EMAN2."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from gumnet.errors import InputError
from gumnet.io.check import positive_voxel_size
from gumnet.io.mrc import MrcSource
from gumnet.io.numbered_volumes import volume_names
from gumnet.io.outside import check_inside
from gumnet.io.pose_table import IMAGE, PoseTable
from gumnet.io.relion import CTF_IMAGE, absolute_name, first_readable, image_entry, images_root
from gumnet.io.relion_pose_table_write import relion_frame
from gumnet.io.relion_poses import poses_from_table
from gumnet.io.tables import read_pose_table
from gumnet.io.wedge_list import with_tilts
from gumnet.io.wedge_weights import wedge_source
from gumnet.particles import Particles


@dataclass(frozen=True)
class Beside:
    """What a table does not say and its program keeps elsewhere.

    Parameters
    ----------
    volumes
        Folder of volumes whose names end in the number of a particle, or a stack in the order of the table; the folder
        of the table unless given.
    wedge_list
        STOPGAP's wedge list.
    tilt_range
        Lowest and highest tilt of all particles in degrees, in place of what tables say; -90 and 90 for no wedge.
    """

    volumes: Path | None = None
    wedge_list: Path | None = None
    tilt_range: tuple[float, float] | None = None


def table_particles(
    path: str | Path, *, voxel_size_angstrom: float | None, beside: Beside, allow_outside: bool = True
) -> Particles:
    """Return the particles of a table; volumes are read later, batch by batch.

    Weights are the missing wedges of the tilt ranges. The table of the result is RELION's, with all other columns.

    Parameters
    ----------
    allow_outside
        Whether images that the table names may lie outside the project folder; see `gumnet.io.outside`.

    Raises
    ------
    InputError
        If the volumes, the voxel size or the tilt ranges are not known, naming the option that gives them.
    """
    table = read_pose_table(path, voxel_size_angstrom=voxel_size_angstrom)
    if table.stacks_2d or CTF_IMAGE in table.extra:
        raise InputError(
            "the table names its images and their Fourier weights",
            cure="leave out --volumes, --wedge-list and --tilt-range",
            path=table.path,
        )
    table = with_tilts(table, beside.wedge_list, beside.tilt_range)
    names = _names(table, beside.volumes, allow_outside)
    entries = tuple(image_entry(name, table.path) for name in names)
    header = first_readable(entries)
    # A table of M counts Angstrom, which says nothing of the volumes.
    size = None if table.program == "M" else table.voxel_size_angstrom
    if voxel_size_angstrom is not None:
        size = positive_voxel_size(voxel_size_angstrom)
    elif size is None:
        size = header.voxel_size_angstrom
    if size is None:
        raise InputError(
            "neither the table nor the volumes say the voxel size",
            cure="give it in Angstrom with --voxel-size",
            path=table.path,
        )
    if table.tilt_ranges is None:
        raise InputError(
            "the tilt ranges are not known",
            cure="give STOPGAP's --wedge-list, or --tilt-range LOW HIGH (-90 90 if nothing is missing)",
            path=table.path,
        )
    tilt_ranges = table.tilt_ranges
    # Which voxels the coordinates count does not matter here: the poses are those in the volumes.
    table = replace(table, voxel_size_angstrom=size, extra=table.extra.assign(**{IMAGE: names}))
    frame, optics = relion_frame(table)
    volumes = MrcSource(entries, header.shape[-1])
    return Particles(
        volumes=volumes,
        poses=poses_from_table(frame, size, table.path),
        voxel_size_angstrom=size,
        weights=wedge_source(tilt_ranges, volumes.box, table.extra, table.path),
        half_sets=table.half_sets,
        classes=table.classes.clamp(min=0),
        names=tuple(f"particle {number}" for number in table.numbers.tolist()),
        table=frame,
        optics=optics,
    )


def _names(table: PoseTable, volumes: Path | None, allow_outside: bool) -> list[str]:
    """Return the whole paths of the images, as RELION tables name them."""
    if IMAGE in table.extra and volumes is None:
        root = images_root(table.extra, IMAGE, table.path)
        if not allow_outside:
            check_inside(table.extra[IMAGE].astype(str), root, table.path)
        return [absolute_name(name, root) for name in table.extra[IMAGE]]
    return volume_names(table.numbers.tolist(), table.path.parent if volumes is None else volumes, table.path)
