"""Tomograms as numbers, for formats that have no names, and the file that says which number is which tomogram.

Dynamo keeps such a file beside a table: lines of a number and a name, ending in ``.doc``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from gumnet.errors import InputError
from gumnet.io.atomic import check_free, write_whole
from gumnet.types import Labels

_NUMBERED = re.compile(r"(?:[A-Za-z]+[_-]?)?0*(\d{1,9})(?:\.tomostar|\.mrc|\.rec|\.st|\.em)?")
"""Names that are a number, with a prefix at most: 12, TS_012, Position_12.mrc."""
_DYNAMO_DOC = "indices_column20.doc"
"""What Dynamo itself calls the file."""


def numbers_of(names: tuple[str, ...]) -> tuple[Labels, dict[int, str]]:
    """Return the number of each particle's tomogram (n,), and the name of each number.

    The numbers are those in the names (12 of TS_012) where all names have one and no two share it; else tomograms are
    counted from 1 as they occur.
    """
    distinct = list(dict.fromkeys(names))
    found = [_NUMBERED.fullmatch(name.rsplit("/", 1)[-1]) for name in distinct]
    told = [int(match[1]) for match in found if match]
    values = told if len(set(told)) == len(distinct) else list(range(1, len(distinct) + 1))
    number = dict(zip(distinct, values, strict=True))
    return torch.tensor([number[name] for name in names], dtype=torch.int64), {n: name for name, n in number.items()}


def document_path(table: Path) -> Path:
    """Return where the names of a table's tomograms are kept."""
    return table.with_suffix(".doc")


def check_names(table: Path, names: Mapping[int, str], *, overwrite: bool) -> None:
    """Raise `InputError` if a file beside a table that is to be written would give its tomograms other names."""
    path = document_path(table)
    if path.exists() and not (path.is_file() and _text(names) == path.read_text(encoding="utf-8", errors="replace")):
        check_free(path, overwrite=overwrite)


def write_names(table: Path, names: Mapping[int, str]) -> list[Path]:
    """Write the file beside a table, or remove one where every name is its number; return the files written.

    `check_names` says before whether that may be done.
    """
    path, text = document_path(table), _text(names)
    if not text:
        path.unlink(missing_ok=True)
        return []
    with write_whole(path, overwrite=True) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return [path]


def _text(names: Mapping[int, str]) -> str:
    """Return the lines of the file; none where every name is its number, or a table names no tomogram."""
    if all(name in ("", str(number)) for number, name in names.items()):
        return ""
    return "".join(f"{number} {name}\n" for number, name in sorted(names.items()) if name)


def names_of(numbers: Iterable[int], table: Path) -> tuple[str, ...]:
    """Return the names of tomograms by the file beside a table; the number itself, as text, where there is no name."""
    candidates = (document_path(table), table.with_name(_DYNAMO_DOC))
    path = next((path for path in candidates if path.is_file()), None)
    known = {} if path is None else _read(path)
    return tuple(known.get(number, str(number)) for number in numbers)


def _read(path: Path) -> dict[int, str]:
    known: dict[int, str] = {}
    for i, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines()):
        number, _, name = line.strip().partition(" ")
        if not number:
            continue
        if not (number.isdecimal() and name.strip()):
            raise InputError(
                f"line {i + 1} is not a number and the name of a tomogram", cure="mend or remove it", path=path
            )
        known[int(number)] = name.strip()
    return known
