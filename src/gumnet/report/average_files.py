"""An average as files."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gumnet.averaging.misfits import fits
from gumnet.io.mrc import write_map
from gumnet.io.relion_write import write_particles
from gumnet.io.star import write_star
from gumnet.report.chimerax import View, contour_level, write_view

if TYPE_CHECKING:
    from gumnet.averaging.result import Average
    from gumnet.particles import Particles

MAP, HALF_MAPS, FSC, PARTICLES = "map.mrc", ("half1.mrc", "half2.mrc"), "fsc.star", "particles.star"
FITS = "gumnetFits"
"""1 for a particle that fits its class and 0 for one that does not (`gumnet.averaging.misfits`)."""
_NO_RESOLUTION = 999.0
"""What RELION writes for the resolution of shell 0."""


def class_folder(number: int) -> str:
    """Return the name of the folder that holds the average of a class."""
    return f"class_{number:03d}"


def class_number(made: Average) -> int:
    """Return the number of the class that an average of one class is of."""
    return int(made.particles.classes[0]) if len(made.particles) else 0


def write_average(folder: Path, average: Average, *, overwrite: bool = False) -> None:
    """Write the map, the half maps, their correlation and the particles to ``folder``, and a view for ChimeraX.

    ``fsc.star`` has the columns of RELION: shell, 1/Å, Å and correlation. Several classes have a folder each, and the
    files of the largest also lie at the top, with the particles of all.
    """
    _write_maps(folder, average, overwrite)
    views = [View(MAP, contour_level(average.map))]
    for made in average.classes:
        name = class_folder(class_number(made))
        _write_maps(folder / name, made, overwrite)
        views.append(View(f"{name}/{MAP}", contour_level(made.map), shown=False))
    views += [View(name, contour_level(half), False) for name, half in zip(HALF_MAPS, average.half_maps, strict=True)]
    write_view(folder, views, overwrite=overwrite)
    write_particles(folder / PARTICLES, with_fits(average.particles), overwrite=overwrite)


def with_fits(particles: Particles) -> Particles:
    """Return particles whose table says in a column, by 1 and 0, which of them fit their class."""
    import pandas as pd

    found = fits(particles)
    table = pd.DataFrame(index=range(len(particles))) if particles.table is None else particles.table
    table = table.drop(columns=FITS, errors="ignore")
    if found is not None:
        table = table.assign(**{FITS: found.to(torch.int64).numpy()})
    return particles if particles.table is None and found is None else replace(particles, table=table)


def _write_maps(folder: Path, average: Average, overwrite: bool) -> None:
    """Write the map, the half maps and their correlation."""
    import pandas as pd

    size, box = average.particles.voxel_size_angstrom, average.particles.box
    folder.mkdir(parents=True, exist_ok=True)
    write_map(folder / MAP, average.map, size, overwrite=overwrite)
    for name, half in zip(HALF_MAPS, average.half_maps, strict=True):
        write_map(folder / name, half, size, overwrite=overwrite)
    shells = range(box // 2 + 1)
    table = pd.DataFrame(
        {
            "rlnSpectralIndex": list(shells),
            "rlnResolution": [shell / (box * size) for shell in shells],
            "rlnAngstromResolution": [box * size / shell if shell else _NO_RESOLUTION for shell in shells],
            "rlnFourierShellCorrelation": average.fsc.tolist(),
        }
    )
    blocks: dict[str, pd.DataFrame | dict[str, float]] = {"fsc": table}
    if math.isfinite(average.resolution_angstrom):
        blocks = {"general": {"rlnFinalResolution": average.resolution_angstrom}, **blocks}
    write_star(folder / FSC, blocks, overwrite=overwrite)
