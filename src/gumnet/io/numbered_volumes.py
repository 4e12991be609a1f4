"""Volumes that a table names by the numbers of its particles only.

As in particle_000012.em of Dynamo and subtomo_12.mrc of STOPGAP.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from gumnet.errors import InputError
from gumnet.io.mrc_header import read_header

SUFFIXES = (".em", ".mrc", ".rec", ".map")
_NUMBER = re.compile(r"(\d+)$")


def volume_names(numbers: Sequence[int], where: Path, table: Path) -> list[str]:
    """Return the image of each particle as a RELION table would name it.

    Parameters
    ----------
    numbers
        Numbers of the particles.
    where
        Folder of files whose names end in such a number, or a stack that holds the particles in the order of the table.
    table
        The table, for errors.

    Raises
    ------
    InputError
        If a particle has no file or several, or the stack holds another number of volumes.
    """
    if where.is_file():
        return _from_stack(len(numbers), where)
    if not where.is_dir():
        raise InputError("no such folder or stack", cure="check --volumes", path=where)
    found: dict[int, list[Path]] = {}
    for file in sorted(where.iterdir()):
        match = _NUMBER.search(file.stem)
        if match and file.suffix.lower() in SUFFIXES:
            found.setdefault(int(match[1]), []).append(file)
    wanted = set(numbers)
    missing = sorted(wanted - set(found))
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"the folder {where} holds no volume of particle {missing[0]}{others} (as in particle_{missing[0]:06d}.em)",
            cure="give the folder of the volumes with --volumes",
            path=table,
        )
    several = next((number for number in sorted(wanted) if len(found[number]) > 1), None)
    if several is not None:
        names = " and ".join(file.name for file in found[several][:2])
        raise InputError(f"particle {several} could be {names}", cure="keep one of them in the folder", path=where)
    return [str(found[number][0].absolute()) for number in numbers]


def _from_stack(count: int, stack: Path) -> list[str]:
    header = read_header(stack)
    held = header.shape[0] // header.volume_depth
    if held != count:
        raise InputError(
            f"the stack holds {held} volumes for {count} particles",
            cure="give a stack in the order of the table, or a folder of numbered files",
            path=stack,
        )
    name = str(stack.absolute())
    return [f"{i + 1:06d}@{name}" for i in range(count)] if count > 1 else [name]
