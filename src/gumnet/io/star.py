"""STAR files as pandas tables, read and written by starfile.

starfile reads a clean copy here, made while every line is checked, since by itself (0.5.13) it does not name the line
of a problem, fills short rows with NaN, takes a block without columns or with the name of another for that other, cuts
values at ``#``, changes ``'`` and a backslash in them, ends a table at a row that starts with ``data_``, stops at
comments after values and after an empty loop, overwrites a column called ``name``, and takes the first numbers of a
long column for numbers even where text follows.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gumnet.errors import InputError
from gumnet.io.atomic import write_whole
from gumnet.io.check import existing_file

if TYPE_CHECKING:
    import pandas as pd

TEXT_COLUMNS = frozenset(
    {
        "rlnImageName",
        "rlnCtfImage",
        "rlnMicrographName",
        "rlnOpticsGroupName",
        "rlnGroupName",
        "rlnTomoName",
        "rlnTomoParticleName",
        "rlnTomoVisibleFrames",
        "rlnTomoManifoldName",
    }
)
"""Columns that stay text even where every entry looks like a number: a tomogram named 007 is not number 7."""

_MISSING = ("nan", "NaN", "-nan", "<NA>")
_CURE = "check that it is a complete STAR file"
_TOKEN = re.compile(r""""[^"]*"(?=\s|$)|'[^']*'(?=\s|$)|\S+""")
_SPECIAL = "#'\"\\"
# Characters for private use stand for those that starfile would take for comments, quotes and escapes.
_STAND_INS = {ord(c): chr(0xE000 + i) for i, c in enumerate(_SPECIAL)}
_ORIGINALS = {0xE000 + i: c for i, c in enumerate(_SPECIAL)}


def read_star(path: str | Path) -> dict[str, pd.DataFrame]:
    """Return the blocks of a STAR file by name; a simple block becomes a table of one row.

    ``data_particles`` is called ``particles``; a block without a name is called the empty string. Columns in which
    every entry is a number are numeric, apart from `TEXT_COLUMNS`.

    Raises
    ------
    InputError
        If the file is missing, empty, not text, or not a STAR file that can be understood.
    """
    import pandas as pd
    import starfile

    path = existing_file(path, "a STAR file")
    columns: dict[str, list[str]] = {}
    with TemporaryDirectory(prefix="gumnet-") as folder:
        copy = Path(folder) / "clean.star"
        copy.write_text("\n".join(_clean_lines(_text(path), path, columns)) + "\n", encoding="utf-8")
        for name, found in columns.items():
            if not found:
                raise InputError(f"the block data_{name} has no columns", cure=_CURE, path=path)
        if not columns:
            raise InputError("there is no data_ block: this is no STAR file", cure=_CURE, path=path)
        # All as text: it would otherwise decide what is a number for each part of a long column by itself.
        as_text = [str(i) for i in range(max(map(len, columns.values())))]
        try:
            blocks = starfile.read(copy, always_dict=True, parse_as_string=as_text)
        finally:
            linecache.clearcache()  # starfile itself leaves its lines there when it fails
    tables = {}
    for (name, names), block in zip(columns.items(), blocks.values(), strict=True):
        text = pd.DataFrame([block]) if isinstance(block, dict) else block
        tables[name] = pd.DataFrame({column: _column(column, text[str(i)]) for i, column in enumerate(names)})
    return tables


def _clean_lines(text: str, path: Path, blocks: dict[str, list[str]]) -> Iterator[str]:
    """Yield lines that starfile reads as they are meant, with numbers for columns; put the names into ``blocks``."""
    columns: list[str] = []
    is_loop = has_rows = False
    for number, line in enumerate(text.splitlines(), start=1):
        values = _values(line)
        if not values:
            continue
        first, problem, clean = values[0], "", "\t".join(f'"{value}"' for value in values)
        if first.startswith("data_") and not (is_loop and len(columns) == len(values) > 1):
            name = first.removeprefix("data_").translate(_ORIGINALS)
            problem = f"starts a second block data_{name}" if name in blocks else ""
            clean = f"data_{len(blocks)}"
            columns, is_loop, has_rows = blocks.setdefault(name, []), False, False
        elif not blocks:
            problem = "comes before any data_ block: this is no STAR file"
        elif first == "loop_":
            problem = "starts a second loop_ in one block" if is_loop or columns else ""
            is_loop, clean = True, first
        elif first.startswith("_") and len(first) > 1 and not has_rows:
            name = first[1:].translate(_ORIGINALS)
            clean = f"_{len(columns)}"
            if name in columns:
                problem = f"names column _{name} a second time"
            elif not is_loop and len(values) != 2:
                problem = f"has {len(values) - 1} values for _{name}"
            elif not is_loop:
                clean += f'\t"{values[1]}"'
            columns.append(name)
        elif not is_loop:
            problem = f"has {first!r} where a column is wanted"
        elif len(values) != len(columns):
            problem = f"has {len(values)} values for {len(columns)} columns"
        else:
            has_rows = True
        if problem:
            raise InputError(f"line {number} {problem}", cure=_CURE, path=path)
        yield clean


def _values(line: str) -> list[str]:
    """Return the values of a line without quotes and comments, with stand-ins for what starfile would change."""
    if not any(character in line for character in _SPECIAL):
        return line.split()
    values = []
    for token in _TOKEN.findall(line):
        if token.startswith("#"):
            break
        is_quoted = len(token) > 1 and token[0] in "\"'" and token[-1] == token[0]
        values.append((token[1:-1] if is_quoted else token).translate(_STAND_INS))
    return values


def _column(name: str, text: pd.Series) -> pd.Series:
    """Return one column, numeric if every entry is a number; in loops, starfile has put NaN for most of `_MISSING`."""
    import pandas as pd

    if name not in TEXT_COLUMNS:
        try:
            return pd.to_numeric(text.mask(text.isin(_MISSING)))
        except (ValueError, TypeError):
            pass  # it is text
    return text.fillna("nan").astype(str).str.translate(_ORIGINALS).astype(object)


def _text(path: Path) -> str:
    """Return the text of a file that may be a STAR file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", cure="check its permissions", path=path) from None
    if not content.strip():
        raise InputError("the file is empty", cure="check how it was written", path=path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InputError("this is not text, so not a STAR file", cure="give a file that ends in .star", path=path)
    return text


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

    with write_whole(path, overwrite=overwrite) as temporary:
        plain = {name: _simple(block) if isinstance(block, Mapping) else _loop(block) for name, block in blocks.items()}
        text = starfile.to_string(plain, float_format="%.9g", na_rep="nan")
        # Its first lines say when it was written, but the same data are to give the same file.
        temporary.write_text(text.split("\n", 2)[2], encoding="utf-8")


def _simple(block: Mapping[str, Any]) -> dict[str, str]:
    return {name: _entry(f"{value:.9g}" if isinstance(value, float) else value) for name, value in block.items()}


def _loop(frame: pd.DataFrame) -> pd.DataFrame:
    text = {name: frame[name].map(_entry) for name in frame.columns if frame[name].dtype.kind not in "fiub"}
    return frame.assign(**text)


def _entry(value: Any) -> str:
    """Return text on one line, with the quotes that starfile does not put around what looks like a comment."""
    text = " ".join(str(value).split())
    return f'"{text}"' if text.startswith("#") and " " not in text else text
