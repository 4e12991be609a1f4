"""STAR files as pandas tables, with errors that name the line.

Only what RELION and its relatives use of STAR: blocks that are one loop or one list of values, values on one line.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
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


def read_star(path: str | Path) -> dict[str, pd.DataFrame]:
    """Return the blocks of a STAR file by name; a simple block becomes a table of one row.

    ``data_particles`` is called ``particles``; a block without a name is called the empty string. Columns in which
    every entry is a number are numeric, apart from `TEXT_COLUMNS`.

    Raises
    ------
    InputError
        If the file is missing, empty, not text, or not a STAR file that can be understood.
    """
    path = existing_file(path, "a STAR file")
    blocks: dict[str, _Block] = {}
    block: _Block | None = None
    for number, line in enumerate(_text(path).splitlines(), start=1):
        tokens = _tokens(line)
        if not tokens:
            continue
        if tokens[0].startswith("data_") and not (block and block.takes_row(tokens)):
            name = tokens[0].removeprefix("data_")
            if name in blocks:
                raise InputError(f"line {number} starts a second block data_{name}", cure=_CURE, path=path)
            block = blocks[name] = _Block()
        elif block is None:
            raise InputError(f"line {number} comes before any data_ block: this is no STAR file", cure=_CURE, path=path)
        else:
            problem = block.add(tokens)
            if problem:
                raise InputError(f"line {number} {problem}", cure=_CURE, path=path)
    for name, block in blocks.items():
        if not block.columns:
            raise InputError(f"the block data_{name} has no columns", cure=_CURE, path=path)
    if not blocks:
        raise InputError("there is no data_ block: this is no STAR file", cure=_CURE, path=path)
    return {name: block.table() for name, block in blocks.items()}


class _Block:
    """One data block while it is read."""

    def __init__(self) -> None:
        self.columns: list[str] = []
        self.rows: list[list[str]] = []
        self.values: list[str] = []
        self.is_loop = False

    def takes_row(self, tokens: list[str]) -> bool:
        """Return whether ``tokens`` can be a row of this loop, even if its first value looks like a keyword."""
        return self.is_loop and len(self.columns) > 1 and len(tokens) == len(self.columns)

    def add(self, tokens: list[str]) -> str:
        """Take one line, and return what is wrong with it, if anything."""
        if tokens[0] == "loop_":
            if self.is_loop or self.columns:
                return "starts a second loop_ in one block"
            self.is_loop = True
        elif tokens[0].startswith("_") and len(tokens[0]) > 1 and not self.rows:
            self.columns.append(tokens[0][1:])
            if not self.is_loop:
                return self._add_value(tokens)
        elif not self.is_loop:
            return f"has {tokens[0]!r} where a column is wanted"
        elif len(tokens) != len(self.columns):
            return f"has {len(tokens)} values for {len(self.columns)} columns"
        else:
            self.rows.append(tokens)
        return ""

    def _add_value(self, tokens: list[str]) -> str:
        """Take a line of a simple block: the name of a column and its value."""
        if len(tokens) != 2:
            return f"has {len(tokens) - 1} values for {tokens[0]}"
        self.values.append(tokens[1])
        return ""

    def table(self) -> pd.DataFrame:
        """Return the block as a table, columns of numbers as numbers."""
        import pandas as pd

        rows = self.rows if self.is_loop else [self.values]
        values = list(zip(*rows, strict=True)) if rows else [()] * len(self.columns)
        return pd.DataFrame({c: _column(c, v) for c, v in zip(self.columns, values, strict=True)})


def _column(name: str, values: tuple[str, ...]) -> pd.Series:
    """Return one column, numeric if every entry is a number."""
    import pandas as pd

    text = pd.Series(values, dtype=object)
    if name in TEXT_COLUMNS:
        return text
    missing = text.isin(_MISSING)
    try:
        return pd.to_numeric(text.mask(missing, math.nan) if missing.any() else text)
    except (ValueError, TypeError):
        return text


def _tokens(line: str) -> list[str]:
    """Return the values of a line, without quotes and comments."""
    if '"' in line or "'" in line:
        tokens = [t[1:-1] if len(t) > 1 and t[0] in "\"'" and t[-1] == t[0] else t for t in _TOKEN.findall(line)]
    else:
        tokens = line.split()
    if "#" in line:
        comment = next((i for i, token in enumerate(tokens) if token.startswith("#")), len(tokens))
        return tokens[:comment]
    return tokens


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
    with write_whole(path, overwrite=overwrite) as temporary, temporary.open("w", encoding="utf-8") as file:
        for name, block in blocks.items():
            file.write(f"\ndata_{name}\n\n")
            lines = _simple(block) if isinstance(block, Mapping) else _loop(block)
            file.writelines(lines)
            file.write("\n")


def _simple(block: Mapping[str, Any]) -> Iterator[str]:
    width = max((len(name) for name in block), default=0)
    for name, value in block.items():
        yield f"_{name:{width}} {_quoted(f'{value:.9g}' if isinstance(value, float) else str(value))}\n"


def _loop(frame: pd.DataFrame) -> Iterator[str]:
    yield "loop_\n"
    for i, name in enumerate(frame.columns):
        yield f"_{name} #{i + 1}\n"
    text = frame.copy()
    for name in text.columns:
        if text[name].dtype.kind not in "fiub":
            text[name] = [_quoted(str(value)) for value in text[name]]
    buffer = io.StringIO()
    # Tabs, since a quoted value may hold spaces; nothing is left to be escaped.
    text.to_csv(buffer, sep="\t", header=False, index=False, float_format="%.9g", na_rep="nan", quoting=csv.QUOTE_NONE)
    yield buffer.getvalue()


def _quoted(value: str) -> str:
    """Return a value with quotes if it would not be read back as one value without them."""
    plain = " ".join(value.split())
    return f'"{plain}"' if " " in plain or plain.startswith("#") or not plain else plain
