"""A ChimeraX script beside maps, so that a double click shows them: the map as a surface, its halves hidden.

ChimeraX runs a script in the folder that it lies in, so names are relative and the folder can be moved. Model numbers
are those of a session in which nothing is open yet.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.io.atomic import write_whole
from gumnet.types import Vectors, Volume

VIEW, MARKERS = "view.cxc", "particles.cmm"
COLOURS = ("#4f81bd", "#e6a23c", "#67a96b", "#c05c5c", "#8a6fb0", "#4aa5b5")
"""Of the maps that are shown, in turn; hidden ones have that of the map before."""
ENCLOSED = 0.03
"""Share of the box that the surface encloses, unless a level is given."""
# ChimeraX takes ~ and $ for the home folder and variables; quotes and backslashes do not survive its parser in names.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\"'\\$`]|^~|^\s|\s$")


@dataclass(frozen=True)
class View:
    """One map in the script.

    Parameters
    ----------
    file
        Its name, relative to the folder of the script.
    level
        Density at which the surface is drawn; see `contour_level`.
    shown
        Whether it is visible at first.
    """

    file: str
    level: float
    shown: bool = True


def contour_level(volume: Volume) -> float:
    """Return the density above which `ENCLOSED` of the voxels of a volume (N, N, N) lie."""
    values = volume.detach().flatten().double()
    return float(values.kthvalue(max(1, math.ceil((1 - ENCLOSED) * len(values)))).values)


def write_view(
    folder: str | Path, views: Sequence[View], *, markers: str | None = None, overwrite: bool = False
) -> Path:
    """Write ``view.cxc`` into a folder and return its path.

    Parameters
    ----------
    views
        The maps, which lie in the folder or below; the first one shown is what the view is centred on.
    markers
        Name of a file of markers, from `write_markers`: opened, and hidden, since particles in a tomogram and their
        average share no frame.

    Raises
    ------
    InputError
        If there is no map, a level is not finite, or a name cannot be given to ChimeraX safely.
    """
    if not views:
        raise InputError("there are no maps to view", cure="give at least one")
    lines = ["# Open this file with ChimeraX, in a session in which nothing else is open.", "set bgColor white"]
    colour = -1
    for number, view in enumerate(views, start=1):
        if not math.isfinite(view.level):
            raise InputError(f"a level of {view.level} is not possible", cure="give a number", path=view.file)
        colour += view.shown or number == 1
        lines.append(f"open {quoted(view.file)}")
        look = f"style surface step 1 level {view.level:.6g} color {COLOURS[colour % len(COLOURS)]}"
        lines.append(f"volume #{number} {look}")
    if markers is not None:
        lines.append(f"open {quoted(markers)}")
    hidden = [number for number, view in enumerate(views, start=1) if not view.shown]
    hidden += [len(views) + 1] if markers is not None else []
    if hidden:
        lines.append(f"hide #{','.join(map(str, hidden))} models")
    lines += ["lighting soft", "view"]
    path = Path(folder) / VIEW
    with write_whole(path, overwrite=overwrite) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def quoted(name: str) -> str:
    """Return a file name as an argument of a ChimeraX command.

    Raises
    ------
    InputError
        If it holds what ChimeraX would take for something else: quotes, a backslash, a line break, $, or ~ or a space
        at its start.
    """
    if not name or _UNSAFE.search(name) or Path(name).is_absolute():
        raise InputError(
            f"the file name {name!r} cannot be used in a ChimeraX script",
            cure="give a relative name of letters, digits, spaces and . _ -",
        )
    return f'"{name}"'


def write_markers(
    path: str | Path,
    positions_angstrom: Vectors,
    *,
    values: Tensor | None = None,
    notes: Sequence[str] | None = None,
    radius_angstrom: float = 50.0,
    name: str = "particles",
    overwrite: bool = False,
) -> None:
    """Write particles as markers (CMM), which ChimeraX shows as balls in their tomogram.

    Parameters
    ----------
    positions_angstrom
        (n, 3), (x, y, z), from the centre of the first voxel, as ChimeraX places an MRC file without origin.
    values
        One a particle, (n,), such as scores: blue where lowest, red where highest, grey where not finite.
    notes
        One text a particle, shown as its label.

    Raises
    ------
    InputError
        If there are no particles, a position is not finite, or numbers differ.
    """
    n = len(positions_angstrom)
    if n == 0 or not bool(positions_angstrom.isfinite().all()):
        raise InputError("markers need positions, all of them finite", path=path)
    for what, given in (("values", values), ("notes", notes)):
        if given is not None and len(given) != n:
            raise InputError(f"there are {len(given)} {what} for {n} markers", cure="give one for each", path=path)
    colours = _colours(torch.full((n,), math.nan) if values is None else values.detach().cpu().double())
    lines = [f"<marker_set name={_attribute(name)}>"]
    for i, ((x, y, z), (r, g, b)) in enumerate(zip(positions_angstrom.tolist(), colours.tolist(), strict=True)):
        note = "" if notes is None else f" note={_attribute(notes[i])}"
        place = f'x="{x:.4f}" y="{y:.4f}" z="{z:.4f}" r="{r:.3f}" g="{g:.3f}" b="{b:.3f}"'
        lines.append(f'<marker id="{i + 1}" {place} radius="{radius_angstrom:g}"{note}/>')
    with write_whole(path, overwrite=overwrite) as temporary:
        temporary.write_text("\n".join([*lines, "</marker_set>"]) + "\n", encoding="utf-8")


def _attribute(text: str) -> str:
    """Return text as a quoted XML attribute, without the characters that XML cannot hold."""
    return quoteattr(re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]", "", text))


def _colours(values: Tensor) -> Tensor:
    """Return colours (n, 3) from blue over white to red by values (n,), grey where not finite or all alike."""
    colours = torch.full((len(values), 3), 0.6, dtype=torch.float64)
    finite = values.isfinite()
    low, high = (float(values[finite].min()), float(values[finite].max())) if bool(finite.any()) else (0.0, 0.0)
    if high > low:
        share = (values[finite] - low) / (high - low)
        colours[finite] = torch.stack(
            [(2 * share).clamp(max=1), 1 - (2 * share - 1).abs(), (2 - 2 * share).clamp(max=1)], 1
        )
    return colours
