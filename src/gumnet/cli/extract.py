"""``gumnet extract``."""

from __future__ import annotations

import csv
import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from gumnet.cli.options import COMMON, OUTPUT, Common, Flag, Output, say
from gumnet.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gumnet.extraction.extract import Extraction
    from gumnet.io.picks import Picks
    from gumnet.io.tomogram_volume import Tomogram

LEFT_OUT, BAD = "left_out.txt", "bad_particles.txt"
"""Files in the output that list particles with a reason: at the edge of their tomogram, or not readable."""


def extract(
    table: Path,
    *,
    tomograms: Annotated[list[Path], Parameter(consume_multiple=True, negative="")],
    box: int,
    out: Path,
    bin: int = 1,
    edge: Literal["skip", "pad"] = "skip",
    invert: Flag = False,
    no_normalise: Flag = False,
    background_diameter: float | None = None,
    tilt_min: float | None = None,
    tilt_max: float | None = None,
    first_voxel: float = 0.0,
    coordinate_voxel_size: float | None = None,
    level: int = 0,
    filament_step: float | None = None,
    filament_twist: float = 0.0,
    random_in_plane: Flag = False,
    voxel_size: float | None = None,
    skip_bad: Flag = False,
    json: Flag = False,
    common: Common = COMMON,
    output: Output = OUTPUT,
) -> None:
    """Cut particles out of tomograms, at picked places or along filaments.

    Example
        gumnet extract picks.star --tomograms tomograms.star --box 64 --bin 2 \\
          --invert --tilt-max 60 --out particles
        gumnet extract points.csv --tomograms tomo.mrc --box 32 --out segments \\
          --filament-step 82

    OUT gets particles.star, volumes.mrcs and, with --tilt-max, weights.mrc. Boxes
    that reach over the edge of a tomogram are listed in left_out.txt, or padded
    and marked in the column gumnetPadded; which and how many is always said.

    Parameters
    ----------
    table
        Coordinates: a table of RELION (3.0 to 5), Dynamo, STOPGAP, AV3, EMAN2 or
        M, or CSV or text with x, y, z. Orientations in it are kept, as they are
        in the tomogram.
    tomograms
        MRC files, Zarr stores, folders of these, or tomograms.star of RELION 5.
        Their names have to hold the names that the table uses.
    box
        Side of the box in voxels, after --bin.
    out
        Folder to write.
    bin
        How many voxels of the tomogram become one, by Fourier crop.
    edge
        Leave out boxes that reach over the edge, or fill what is missing with
        the mean.
    invert
        Invert the contrast: for tomograms in which protein is dark.
    no_normalise
        Keep grey values; else the background gets mean 0 and deviation 1.
    background_diameter
        In Angstrom: background is outside a sphere of this diameter, or a
        cylinder along a filament; three quarters of the box unless given.
    tilt_min
        Lowest tilt in degrees; -TILT_MAX unless given.
    tilt_max
        Highest tilt in degrees, for the missing wedge as Fourier weights;
        tilt axis y. No weights unless given.
    first_voxel
        What CSV, text or a RELION table calls the first voxel: 0, or 1, or
        0.5 in models of IMOD.
    coordinate_voxel_size
        Voxel size in Angstrom that coordinates are counted in, where it is
        neither the tomogram's nor in the table.
    level
        Which resolution of an OME-Zarr tomogram; 0 is the finest.
    filament_step
        The table holds points on filaments: cut every so many Angstrom along
        them, with z of the pose along the filament.
    filament_twist
        Degrees that each particle is turned about its filament from the one
        before, right-handed.
    random_in_plane
        Turn each particle about its filament at random.
    voxel_size
        Voxel size of the tomograms in Angstrom, where the files do not hold it or
        hold it wrong.
    skip_bad
        Leave out particles that cannot be read, and list them with the reason in
        bad_particles.txt.
    json
        Print one JSON object.
    """
    if filament_step is None and (filament_twist or random_in_plane):
        raise InputError("--filament-twist and --random-in-plane turn about filaments", cure="add --filament-step")
    if filament_twist and random_in_plane:
        raise InputError("--filament-twist and --random-in-plane do not go together", cure="give one of them")
    if tilt_max is None and tilt_min is not None:
        raise InputError("--tilt-min is one end of a range", cure="give --tilt-max as well")
    common.start()
    from gumnet.extraction.extract import ExtractConfig
    from gumnet.extraction.extract import extract as run
    from gumnet.io.picks import read_picks
    from gumnet.io.read import drop_unreadable
    from gumnet.io.relion_write import write_particles
    from gumnet.io.tables import FOLDER_TABLE
    from gumnet.report.folder import whole_folder

    config = ExtractConfig(
        box=box,
        binning=bin,
        edge=edge,
        invert=invert,
        normalise=not no_normalise,
        background_diameter_angstrom=background_diameter,
        tilt_range_degrees=None if tilt_max is None else (-tilt_max if tilt_min is None else tilt_min, tilt_max),
        along_z=filament_step is not None,
    )
    picks = read_picks(table, first_voxel=first_voxel, coordinate_voxel_size_angstrom=coordinate_voxel_size)
    opened = _open(picks, tomograms, voxel_size, level)
    if filament_step is not None:
        picks = _filaments(picks, opened, filament_step, filament_twist, random_in_plane, common.first_seed)
    with whole_folder(out, overwrite=output.overwrite) as folder:
        made = run(picks, [opened[name] for name in picks.tomograms], config)
        if made.left_out:
            _write_list(folder / LEFT_OUT, made)
        particles = made.particles
        if skip_bad:
            particles = drop_unreadable(particles, folder / BAD, overwrite=True)
        write_particles(folder / FOLDER_TABLE, particles, overwrite=True)
    if json:
        facts = {
            "particles": len(particles),
            "box": box,
            "voxel_size_angstrom": particles.voxel_size_angstrom,
            "at_the_edge": len(made.left_out),
            "unreadable": len(made.particles) - len(particles),
            "padded": made.padded,
            "folder": str(out),
        }
        say(json_format.dumps(facts, indent=2))
        return
    said = [f"{len(particles)} particles of box {box} at {particles.voxel_size_angstrom:.4g} A"]
    if made.left_out:
        said.append(f"{len(made.left_out)} at the edge left out, listed in {out / LEFT_OUT}")
    if len(particles) < len(made.particles):
        said.append(f"{len(made.particles) - len(particles)} that cannot be read left out, listed in {out / BAD}")
    if made.padded:
        said.append(f"{made.padded} filled at the edge, marked in gumnetPadded")
    say(f"{'; '.join(said)}: {out}")


def _open(picks: Picks, paths: Sequence[Path], voxel_size: float | None, level: int) -> dict[str | None, Tomogram]:
    """Return the tomograms that the picks name, each opened once."""
    from gumnet.io.tomogram_files import tomogram_files
    from gumnet.io.tomogram_volume import open_tomogram

    files = tomogram_files(paths)
    return {
        name: open_tomogram(files.find(name), voxel_size_angstrom=voxel_size, level=level)
        for name in dict.fromkeys(picks.tomograms)
    }


def _filaments(
    picks: Picks, opened: dict[str | None, Tomogram], step: float, twist: float, at_random: bool, seed: int
) -> Picks:
    """Return places along the filaments that the picks are points on."""
    from gumnet.devices import seeded
    from gumnet.extraction.filament import FilamentConfig, along_filaments

    config = FilamentConfig(step, twist, at_random)
    return along_filaments(picks, [opened[name] for name in picks.tomograms], config, generator=seeded(seed))


def _write_list(path: Path, made: Extraction) -> None:
    """Write which particles were left out, and why."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(("row", "name", "reason"))
        writer.writerows(made.left_out)
