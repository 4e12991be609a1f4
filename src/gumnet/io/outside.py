"""Image names that lead out of the project: a table from somebody else may name any file of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from gumnet.errors import InputError


def check_inside(names: Iterable[str], root: Path, table: Path) -> None:
    """Raise `InputError` for the first image name that leads out of the project folder.

    A relative name stays inside the folder that it starts from unless ``..`` leads out of it. An absolute name has to
    lie below the current folder if the table does too, or else beside the table or below. Symbolic links count as
    where they are and not as where they point: projects link to raw data on other disks.

    Parameters
    ----------
    names
        As they stand in the table, each with or without a number, ``1@stack.mrcs``.
    root
        Folder that relative names start from.
    table
        The file that names them.
    """
    here, beside = os.getcwd(), os.path.normpath(os.path.dirname(os.path.abspath(table)))
    project = here if _is_below(beside, here) else beside
    start = os.path.normpath(os.path.abspath(root))
    for row, name in enumerate(names, start=1):
        number, at, file = name.partition("@")  # as the readers part it: a folder may have an @ in its name
        file = file if at else number
        if os.path.isabs(file):
            folder = project
        elif ".." not in file:
            continue  # most names: nothing to compute for a million of them
        else:
            folder = start
        if not _is_below(os.path.normpath(os.path.join(start, file)), folder):
            raise InputError(
                f"row {row} names {file}, which is outside the project folder {folder}",
                cure="start from a folder above both, or add --allow-outside if you trust the table",
                path=table,
            )


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
