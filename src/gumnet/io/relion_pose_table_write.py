"""`PoseTable` as particle tables of RELION 3.0, 3.1, 4 and 5."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from gumnet.io.atomic import check_free
from gumnet.io.pose_table import IMAGE, PoseTable
from gumnet.io.relion import CTF_IMAGE
from gumnet.io.relion_optics import GROUP, PIXEL_SIZE, PREMULTIPLIED, with_optics
from gumnet.io.relion_pose_table import (
    BINNING,
    CENTRED,
    CLASS,
    COORDINATES,
    HALF_SET,
    MICROGRAPH,
    NUMBER,
    OBJECT,
    TILT_PIXEL,
    TILTS,
    counts_particle_pixels,
)
from gumnet.io.relion_poses import ORIGINS, ORIGINS_PIXELS, box_rotations, put_poses
from gumnet.io.relion_write import set_path, write_set
from gumnet.io.star import write_star
from gumnet.io.tomograms import NAME
from gumnet.io.written import Written
from gumnet.particles import Poses

if TYPE_CHECKING:
    import pandas as pd

Version = Literal["3.0", "3.1", "4", "5"]
_IMAGES = (IMAGE, CTF_IMAGE)
_OF_STACKS = ["rlnImageDimensionality", "rlnImageSize"]


def write_relion(path: Path, table: PoseTable, version: Version, *, overwrite: bool = False) -> Written:
    """Write a RELION table; every column is kept, since RELION keeps those that it does not know.

    Images are left out where the version cannot read them: 2D tilt stacks before 5, multiplied by the CTF before 3.1.
    Boxes that were cut out turned (rlnTomoSubtomogramRot) stay so, and the particle's angles are relative to them.
    Version 5 gets coordinates from the centre where the sizes of the tomograms are known.
    """
    if version != "5":
        table = table.from_corner()
    size = table.voxel_size_angstrom
    if version != "3.0":
        size = table.needed_voxel_size(f"RELION {version} wants origins and pixel sizes in Angstrom")
    frame, left_out = _without_images(table, version)
    frame, notes = _placed(frame, table, version)
    frame = _posed(frame, table, size)
    optics = None
    if version == "3.0":
        frame = _as_3_0(frame, table)
    else:
        assert size is not None
        frame, optics, more = _optics(frame, table, size, version)
        notes += more
        if table.stacks_2d and version != "5":
            # Without its images the table must not say that they are 2D.
            optics = optics.drop(columns=_OF_STACKS, errors="ignore")
            left_out |= {name: left_out.get(IMAGE, "of 2D tilt stacks") for name in _OF_STACKS}
    blocks: dict[str, pd.DataFrame | dict[str, Any]] = {}
    if version == "5":
        blocks["general"] = {"rlnTomoSubTomosAre2DStacks": int(table.stacks_2d)}
    if optics is not None:
        blocks["optics"] = optics
    blocks["" if version == "3.0" else "particles"] = frame
    tomograms = table.tomograms_path if version in ("4", "5") else None
    if tomograms is not None:
        check_free(set_path(path), overwrite=overwrite)
    write_star(path, blocks, overwrite=overwrite)
    files = [path]
    if tomograms is not None:
        files.append(write_set(path, str(tomograms.absolute()), overwrite=overwrite))
    return Written(tuple(files), left_out, tuple(notes))


def relion_frame(table: PoseTable) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the particles and the optics as a table of RELION 3.1 in memory."""
    size = table.needed_voxel_size("it is needed to align and average")
    frame, _ = _placed(table.extra.copy(), table, "3.1")
    frame, optics, _ = _optics(_posed(frame, table, size), table, size, "3.1")
    return frame, optics


def _without_images(table: PoseTable, version: Version) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the other columns without the images that a version cannot read, and why these were left out."""
    reason = ""
    if table.stacks_2d and version != "5":
        reason = f"2D tilt stacks, RELION {version} wants 3D subtomograms: extract them again"
    elif version == "3.0" and table.optics is not None and _has_multiplied(table.optics):
        reason = "multiplied by the CTF, which RELION 3.0 does not know: extract them again"
    columns = [c for c in _IMAGES if c in table.extra.columns] if reason else []
    return table.extra.drop(columns=columns), dict.fromkeys(columns, reason)


def _has_multiplied(optics: pd.DataFrame) -> bool:
    return PREMULTIPLIED in optics.columns and bool((optics[PREMULTIPLIED] == 1).any())


def _placed(frame: pd.DataFrame, table: PoseTable, version: Version) -> tuple[pd.DataFrame, list[str]]:
    """Return the columns with tomogram and coordinates in front of them, and notes."""
    import pandas as pd

    columns: dict[str, Any] = {}
    notes = []
    if any(table.tomograms):
        tomo = version in ("4", "5") or MICROGRAPH in frame.columns
        columns[NAME if tomo else MICROGRAPH] = list(table.tomograms)
    halves = None if version != "5" or table.voxel_size_angstrom is None else table.halves_of_tomograms()
    if table.centred or halves is not None:
        size = table.needed_voxel_size("RELION 5 wants coordinates in Angstrom")
        centred = table.coordinates if table.centred or halves is None else table.coordinates - halves
        columns |= dict(zip(CENTRED, (centred * size).T.numpy(), strict=True))
    elif bool((table.coordinates != 0).any()):
        columns |= dict(zip(COORDINATES, table.coordinates.T.numpy(), strict=True))
        if version == "5":
            notes.append(
                "The sizes of the tomograms are not known (--tomograms, --tomogram-size): coordinates are "
                "rlnCoordinateX, Y, Z from the corner, which RELION 5 reads too."
            )
    frame = pd.concat([pd.DataFrame(columns, index=frame.index), frame], axis=1)
    return frame, notes


def _posed(frame: pd.DataFrame, table: PoseTable, size: float | None) -> pd.DataFrame:
    """Return the columns with angles, origins and labels; origins are in Angstrom, or in voxels without a size."""
    import pandas as pd

    turned = box_rotations(frame, table.path).mT
    shifts = (turned @ table.shifts[..., None])[..., 0]
    places = [c for c in (NAME, MICROGRAPH, *COORDINATES, *CENTRED) if c in frame.columns]
    poses = Poses.of(turned @ table.rotations, shifts, table.scores)
    own = put_poses(frame[places], poses, 1.0 if size is None else size)
    if bool(table.classes.any()):
        own[CLASS] = table.classes.numpy()
    if bool(table.half_sets.any()):
        own[HALF_SET] = table.half_sets.numpy()
    if bool(table.objects.any()):
        own[OBJECT] = table.objects.numpy()
    if not torch.equal(table.numbers, torch.arange(1, len(table) + 1)):
        own[NUMBER] = table.numbers.numpy()
    if table.tilt_ranges is not None:
        own[TILTS[0]], own[TILTS[1]] = table.tilt_ranges.T.numpy()
    return pd.concat([own, frame.drop(columns=places)], axis=1)


def _optics(
    frame: pd.DataFrame, table: PoseTable, size: float, version: Version
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Return the columns, the optics groups, and notes."""
    notes = []
    told = table.optics is not None or "rlnVoltage" in frame.columns
    image = _image_size(table, size)
    frame, optics = with_optics(frame, table.optics, image)
    if not told:
        notes.append("The microscope is not known: the optics have 300 kV, Cs 2.7 mm, amplitude contrast 0.1.")
    known = TILT_PIXEL in optics.columns
    if version in ("4", "5") and IMAGE in frame.columns and "rlnImageDimensionality" not in optics.columns:
        optics["rlnImageDimensionality"] = 3
    changed = known and abs(float(optics[TILT_PIXEL].iloc[0]) / size - 1) > 1e-3
    wanted = changed and not counts_particle_pixels(table.tomograms)
    if (version in ("4", "5") and not known) or wanted:
        optics[TILT_PIXEL], optics[BINNING] = size, image / size
    return frame, optics, notes


def _image_size(table: PoseTable, size: float) -> float:
    """Return the pixel size of the images: that of the optics, or that of the coordinates where these do not say."""
    optics = table.optics
    if optics is None:
        return size
    if PIXEL_SIZE in optics.columns:
        return float(optics[PIXEL_SIZE].iloc[0])
    if {TILT_PIXEL, BINNING} <= set(optics.columns):
        return float(optics[TILT_PIXEL].iloc[0]) * float(optics[BINNING].iloc[0])
    return size


def _as_3_0(frame: pd.DataFrame, table: PoseTable) -> pd.DataFrame:
    """Return the columns with those of the optics, the pixel size and origins in pixels, as version 3.0 has them."""
    size = table.voxel_size_angstrom
    if table.optics is not None:
        optics = table.optics.drop(columns=PIXEL_SIZE, errors="ignore")
        if GROUP in frame.columns and GROUP in optics.columns:
            frame = frame.merge(optics, on=GROUP, how="left", suffixes=("", "_optics"))
        else:
            frame = frame.assign(**{str(c): optics[c].iloc[0] for c in optics if c != GROUP})
    image = None if size is None else _image_size(table, size)
    frame = frame.rename(columns=dict(zip(ORIGINS, ORIGINS_PIXELS, strict=True)))
    if image is not None:
        for column in ORIGINS_PIXELS:
            frame[column] /= image
        # In micrometres at a magnification of 10,000 the detector's pixels are as many as Angstrom in the specimen.
        frame["rlnMagnification"], frame["rlnDetectorPixelSize"], frame["rlnPixelSize"] = 10000.0, image, image
    return frame
