"""STAR files as pandas tables, with errors that a person can act on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gumnet.errors import InputError
from gumnet.io.atomic import write_whole

if TYPE_CHECKING:
    import pandas as pd

TEXT_COLUMNS = (
    "rlnImageName",
    "rlnCtfImage",
    "rlnMicrographName",
    "rlnOpticsGroupName",
    "rlnGroupName",
    "rlnTomoName",
    "rlnTomoParticleName",
    "rlnTomoVisibleFrames",
    "rlnTomoManifoldName",
)
"""Columns that stay text even where every entry looks like a number: a tomogram named 007 is not number 7."""

_CURE = "check that it is a complete STAR file"


def read_star(path: str | Path) -> dict[str, pd.DataFrame]:
    """Return the blocks of a STAR file by name; a simple block becomes a table of one row.

    ``data_particles`` is called ``particles``; a block without a name is called the empty string.

    Raises
    ------
    InputError
        If the file is missing, empty, not text, or not a STAR file that can be understood.
    """
    path = Path(path)
    text = _text(path)
    if not re.search(r"^\s*data_", text, re.MULTILINE) or not re.search(r"^\s*_\w", text, re.MULTILINE):
        raise InputError("no data_ block with columns was found, so this is not a STAR file", cure=_CURE, path=path)
    import pandas as pd
    import starfile

    try:
        blocks = starfile.read(path, always_dict=True, parse_as_string=list(TEXT_COLUMNS))
    except Exception as error:
        # The parser passes on whatever pandas and shlex raise, so no narrower class covers a malformed file.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"the STAR file cannot be read ({reason})", cure=_CURE, path=path) from None
    _check_last_row(text, path)
    return {name: pd.DataFrame([block]) if isinstance(block, dict) else block for name, block in blocks.items()}


def write_star(
    path: str | Path,
    blocks: Mapping[str, pd.DataFrame | Mapping[str, Any]],
    *,
    overwrite: bool = False,
) -> None:
    """Write blocks to a STAR file: a table as a loop, a mapping as a simple block; nine significant digits.

    Parameters
    ----------
    blocks
        By name, without ``data_``.
    overwrite
        Whether a file of that name may be replaced.
    """
    import starfile

    prepared = {name: dict(b) if isinstance(b, Mapping) else b for name, b in blocks.items()}
    text = starfile.to_string(prepared, float_format="%.9g", na_rep="nan")
    # The first line holds the time of day: without it, the same data gives the same file.
    body = text.split("\n", 1)[1].lstrip("\n")
    with write_whole(path, overwrite=overwrite) as temporary:
        temporary.write_text(f"\n{body}", encoding="utf-8")


def _text(path: Path) -> str:
    """Return the text of a file that may be a STAR file."""
    if not path.exists():
        raise InputError("no such file", cure="check the name", path=path)
    if path.is_dir():
        raise InputError("is a folder, a STAR file is wanted", cure="give the file in it", path=path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", cure="check its permissions", path=path) from None
    if not content.strip():
        raise InputError("the file is empty", cure="check how it was written", path=path)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InputError("this is not text, so not a STAR file", cure="give a file that ends in .star", path=path)
    return text


def _check_last_row(text: str, path: Path) -> None:
    """Raise `InputError` if the last loop ends in a row with too few values: the file was cut off.

    The parser would fill such a row with NaN.
    """
    columns, row, in_header = 0, "", False
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("data_"):
            columns, row, in_header = 0, "", False
        elif stripped.startswith("loop_"):
            in_header = True
        elif in_header and stripped.startswith("_"):
            columns += 1
        elif stripped and not stripped.startswith("#"):
            row = stripped
    quoted = "'" in row or '"' in row
    if columns and row and not quoted and len(row.split()) < columns:
        raise InputError(
            f"the last row has {len(row.split())} values for {columns} columns: the file was cut off",
            cure="write or copy it again",
            path=path,
        )
