"""``gumnet convert``."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from gumnet.cli.options import COMMON, OUTPUT, Common, Flag, Output, TiltRange, say

# Those of gumnet.io.convert.Target, which would import torch for --help, and what else people call RELION 3.1.
Target = Literal[
    "relion3.0", "relion3.1", "relion3", "relion4", "relion5", "dynamo", "stopgap", "em", "eman2", "m", "acryo"
]


def convert(
    table: Path,
    out: Path,
    *,
    to: Target | None = None,
    voxel_size: float | None = None,
    out_voxel_size: float | None = None,
    tomograms: Path | None = None,
    tomogram_size: Annotated[tuple[float, float, float] | None, Parameter(negative="")] = None,
    wedge_list: Path | None = None,
    tilt_range: TiltRange = None,
    json: Flag = False,
    common: Common = COMMON,
    output: Output = OUTPUT,
) -> None:
    """Convert a particle table, or volumes, to the format of another program, and say what it cannot hold.

    Example
        gumnet convert crop.tbl particles.star --to relion5 --voxel-size 10
        gumnet convert run_optimisation_set.star particles.tbl
        gumnet convert mask.em mask.mrc --voxel-size 10

    Poses and columns are converted; images are not opened, and need not be there.
    What nobody here understands is kept where the format can hold it.

    Parameters
    ----------
    table
        Table of RELION, Warp, M or STOPGAP (.star), Dynamo (.tbl), AV3 (.em), EMAN2 (.lst,
        .json, .hdf) or acryo (.csv); or volumes (.mrc, .mrcs, .map, .rec, .em, .hdf).
    out
        Table or volumes to write.
    to
        Format; by the name of OUT unless given. relion3 is RELION 3.1 too. A .star file
        stays of the program it came from.
    voxel_size
        Size in Angstrom of the voxels that the coordinates of TABLE count, where it does
        not say or says it wrong.
    out_voxel_size
        Size in Angstrom of the voxels that those of OUT are to count, for tomograms that
        are binned otherwise.
    tomograms
        RELION's tomograms.star, for coordinates from the centre of tomograms. One beside
        TABLE is found without.
    tomogram_size
        X, Y and Z of all tomograms in voxels of TABLE, in place of --tomograms.
    wedge_list
        STOPGAP's wedge list, for the tilt range of each tomogram.
    tilt_range
        Lowest and highest tilt in degrees of all particles.
    json
        Print one JSON object.
    """
    common.start()
    from gumnet.io.convert import convert as run
    from gumnet.io.volumes import SUFFIXES, convert_volumes, holds_volumes

    if to is None and out.suffix.lower() in SUFFIXES and holds_volumes(table):
        count = convert_volumes(table, out, voxel_size_angstrom=voxel_size, overwrite=output.overwrite)
        facts = {"volumes": count, "files": [str(out)]}
        say(json_format.dumps(facts, indent=2) if json else f"{count} volume{'' if count == 1 else 's'} written: {out}")
        return
    done = run(
        table,
        out,
        to="relion3" if to == "relion3.1" else to,
        voxel_size_angstrom=voxel_size,
        out_voxel_size_angstrom=out_voxel_size,
        tomograms=tomograms,
        tomogram_size=tomogram_size,
        wedge_list=wedge_list,
        tilt_range=tilt_range,
        overwrite=output.overwrite,
    )
    written = done.written
    if json:
        facts = {
            "from": done.table.program,
            "to": done.target,
            "particles": len(done.table),
            "files": [str(file) for file in written.files],
            "left_out": dict(written.left_out),
            "notes": list(written.notes),
        }
        say(json_format.dumps(facts, indent=2))
        return
    say(f"{len(done.table)} particles of {done.table.program} written as {done.target}:")
    for file in written.files:
        say(f"  {file}")
    by_reason: dict[str, list[str]] = {}
    for name, reason in written.left_out.items():
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        say(f"left out ({reason}): {', '.join(names)}")
    if not by_reason:
        say("nothing was left out")
    for note in written.notes:
        say(note)
