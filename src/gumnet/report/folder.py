"""Output folders that are complete or not there: files are made aside and moved in together."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gumnet.errors import InputError
from gumnet.io.atomic import claim_folder


@contextmanager
def whole_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a new folder beside ``path``; when the block succeeds, its files move to ``path``, else it is removed.

    ``path`` is claimed at once, so that hours of work do not end in a refusal. Files of other names that are in
    ``path`` already stay. The folder beside it is as deep, so that relative names inside files stay right.

    Raises
    ------
    InputError
        If ``path`` holds something and ``overwrite`` is false, or cannot be made.
    """
    path = Path(os.path.abspath(path))
    existed = path.is_dir()
    claim_folder(path, overwrite=overwrite)
    if not os.access(path.parent, os.W_OK):
        raise InputError(
            "the folder cannot be written to", cure="choose a folder that you may write to", path=path.parent
        )
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        yield aside
        _move_in(aside, path)
    except BaseException:
        if not existed and not any(path.iterdir()):
            path.rmdir()
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def remove_leftover_folders(path: Path) -> None:
    """Remove what killed runs left of making ``path``; nobody may be making it now."""
    path = Path(os.path.abspath(path))
    # Not by a wildcard, which takes in those of "path.b" as well.
    name = re.compile(re.escape(f".{path.name}.") + r"[a-z0-9_]+\.tmp")
    for left in path.parent.iterdir():
        if name.fullmatch(left.name) and left.is_dir():
            shutil.rmtree(left, ignore_errors=True)


def _move_in(source: Path, target: Path) -> None:
    """Move all files of ``source`` into ``target``, each replacing the one of its name, and folders one by one."""
    target.mkdir(exist_ok=True)
    for item in sorted(source.iterdir()):
        if item.is_dir():
            _move_in(item, target / item.name)
        else:
            os.replace(item, target / item.name)
