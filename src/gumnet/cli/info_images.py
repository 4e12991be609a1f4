"""Whether the images that a particle table names are there and fit: of each file the header is read, once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gumnet.errors import InputError

if TYPE_CHECKING:
    from gumnet.io.mrc_header import MrcHeader

Kind = Literal["volumes", "tilt stacks", "weights"]
"""What a table can name: 3D subtomograms, 2D tilt stacks, or Fourier weights (rlnCtfImage)."""

_NAMED = 3
"""Files that are named with what is wrong with them; the others are counted."""


def images_in_words(found: Iterable[str], named: Iterable[str], kind: Kind, box: int) -> str:
    """Return how many images are there, one a particle, and which files are missing or do not fit.

    Parameters
    ----------
    found
        Images with their whole path, ``1@/folder/stack.mrcs`` or ``/folder/file.mrc``.
    named
        The same images as the table itself calls them.
    box
        Side of the particles in voxels.
    """
    from gumnet.io.mrc_header import read_header
    from gumnet.io.relion import split_name

    # By file: what the table calls it, and how many particles ask for which number in it.
    files: dict[str, tuple[str, dict[str, int]]] = {}
    total = 0
    for image, name in zip(found, named, strict=True):
        number, file = split_name(str(image))
        _, numbers = files.setdefault(file, (split_name(str(name))[1], {}))
        numbers[number] = numbers.get(number, 0) + 1
        total += 1
    there, wrong = total, []
    for file, (name, numbers) in files.items():
        problem = ""
        try:
            header = read_header(Path(file))
            problem = _misfit(header, kind, box)
            bad = numbers if problem else {}
        except InputError as error:
            problem, bad = error.problem, numbers
        if not problem and kind != "tilt stacks":
            count = header.shape[0] // header.volume_depth
            bad = {number: rows for number, rows in numbers.items() if not _holds(count, number)}
            problem = f"no volume {next(iter(bad)) or 'on its own'} in it, it holds {count}" if bad else ""
        if bad:
            there -= sum(bad.values())
            wrong.append(f"{name}: {problem}")
    if not wrong:
        return f"all {total} there"
    others = len(wrong) - _NAMED
    more = [f"and {others} more file{'' if others == 1 else 's'}"] if others > 0 else []
    return "; ".join([f"{there} of {total} there", *wrong[:_NAMED], *more])


def _holds(count: int, number: str) -> bool:
    """Return whether a file of ``count`` volumes holds the one of a number from 1; without a number, the only one."""
    return count == 1 if not number else 1 <= int(number) <= count


def _misfit(header: MrcHeader, kind: Kind, box: int) -> str:
    """Return what is wrong with the size of the images of a file; empty if nothing is."""
    _, rows, columns = header.shape
    depth = header.volume_depth
    if kind == "tilt stacks":
        return "" if rows == columns == box else f"images of {columns} x {rows}, not {box} x {box}"
    half = box // 2 + 1
    fitting = {(box, box, box)}
    if kind == "weights":
        fitting |= {(box, box, half), (2 * box, box, half)}
    size = f"{columns} x {rows} x {depth} voxels"
    return "" if (depth, rows, columns) in fitting else f"{size} do not fit a box of {box}"
