"""An average from Python as the folder that ``gumnet average`` writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gumnet.report.average import REPORT, write_average_report
from gumnet.report.average_files import write_average as write_files
from gumnet.report.folder import whole_folder
from gumnet.versions import versions

if TYPE_CHECKING:
    from gumnet.averaging.result import Average


def write_average(
    folder: str | Path, average: Average, *, lead: str | None = None, seed: int = 0, overwrite: bool = False
) -> Path:
    """Write an average as ``gumnet average`` does, all files or none, and return the path of its report.

    ``map.mrc``, ``half1.mrc``, ``half2.mrc``, ``fsc.star``, ``particles.star``, ``view.cxc`` for ChimeraX,
    ``report.html`` and ``figures/``; a folder for each of several classes. ``docs/notebook.ipynb`` uses it.

    Parameters
    ----------
    folder
        Made if it is not there.
    lead
        What was averaged, in a sentence, for the top of the report; the number of particles unless given.
    seed
        That of the `AverageConfig`, for the random phases of the curves within a mask.
    overwrite
        Replace files of these names.

    Raises
    ------
    InputError
        If the folder holds something and ``overwrite`` is false, or cannot be written.
    """
    folder = Path(folder)
    with whole_folder(folder, overwrite=overwrite) as aside:
        write_files(aside, average)
        write_average_report(
            aside,
            average,
            lead=f"{len(average.particles)} particles." if lead is None else lead,
            command="",
            versions=versions(),
            settings={"Seed": str(seed)},
            seconds={},
            seed=seed,
        )
    return folder / REPORT
