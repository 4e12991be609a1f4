"""Outputs that are whole or not there: written to a temporary name, renamed when complete."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

from gumnet.errors import InputError

_OVERWRITE = "give another name, or --overwrite to replace it"


@contextmanager
def write_whole(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; when the block succeeds, rename it to ``path``, else remove it.

    The temporary name keeps the suffix, since some writers choose the format by it. Folders on the way are made.

    Raises
    ------
    InputError
        If ``path`` exists and ``overwrite`` is false, if it is a folder, or if nothing can be written there.
    """
    target = Path(path)
    check_free(target, overwrite=overwrite)
    _make_folder(target.parent)
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.tmp{target.suffix}")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(path: str | Path) -> None:
    """Remove what killed runs left of writing ``path``; nobody may be writing it now."""
    target = Path(path)
    for left in target.parent.glob(f".{escape(target.stem)}.*.tmp{escape(target.suffix)}"):
        left.unlink(missing_ok=True)


def check_free(path: str | Path, *, overwrite: bool = False) -> None:
    """Raise `InputError` if no file may be written at ``path``: to say so before the work, and not after it."""
    target = Path(path)
    if target.is_dir():
        raise InputError("is a folder, a file is to be written", cure="give the name of a file", path=target)
    if target.exists() and not overwrite:
        raise InputError("exists already", cure=_OVERWRITE, path=target)


def check_free_folder(path: str | Path, *, overwrite: bool = False) -> None:
    """Raise `InputError` if ``path`` is a file, or a folder that holds something and may not be overwritten."""
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise InputError("is a file, a folder is to be made", cure="give the name of a folder", path=folder)
    if folder.is_dir() and not overwrite and any(folder.iterdir()):
        raise InputError("the folder is not empty", cure=_OVERWRITE, path=folder)


def claim_folder(path: str | Path, *, overwrite: bool = False) -> Path:
    """Make the folder ``path`` and return it.

    Raises
    ------
    InputError
        If it holds something and ``overwrite`` is false, if it is a file, or if it cannot be made or written to.
    """
    folder = Path(path)
    check_free_folder(folder, overwrite=overwrite)
    _make_folder(folder)
    return folder


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, and check that files can be made in it."""
    cure = "choose a folder that you may write to"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder cannot be made ({error.strerror})", cure=cure, path=folder) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError("the folder cannot be written to", cure=cure, path=folder)
