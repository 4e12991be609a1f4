"""Long STAR files, read a piece at a time, so that no more than a few MB of text is ever held as words.

A word of text takes gemmi 32 bytes and Python 50 more, where the number in it takes 8: read as a whole, a table of a
million particles takes ten times its file. Here each piece of a table, its head and some of its lines, goes through
gemmi by itself. Only files that are written as all known programs write them are read so, a row a line and nothing
else on it; of any other, and of any with an error, None is returned, and the whole goes through gemmi as usual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gumnet.errors import InputError

if TYPE_CHECKING:
    import gemmi
    import pandas as pd

PIECE = 2**18
"""Characters of a piece: a thousand rows or so. Smaller ones take longer."""
_FEW = 10_000
"""Words of a column that are kept once, however often they come up: names of tomograms, and not those of particles."""
Table = Callable[["gemmi.cif.Block", frozenset[str]], "pd.DataFrame"]


class _OddError(ValueError):
    """The file is not written as a row a line, or holds an error: the whole of it is to be looked at."""


class _MixedError(ValueError):
    """A column that looked like numbers holds text: the file is to be read anew with it as text."""

    def __init__(self, column: str) -> None:
        self.column = column
        super().__init__(column)


def read_long(path: Path, table: Table) -> dict[str, pd.DataFrame] | None:
    """Return the blocks of a STAR file by name, or None if it has to be read as a whole.

    Parameters
    ----------
    table
        Makes a table of a block, with some of its columns as text whatever they hold.
    """
    text: frozenset[str] = frozenset()
    while True:
        try:
            return _blocks(path, table, text)
        except _MixedError as error:
            text |= {error.column}
        except (InputError, ValueError, RuntimeError):
            return None


def _blocks(path: Path, table: Table, text: frozenset[str]) -> dict[str, pd.DataFrame]:
    found: dict[str, _Pieces] = {}
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for name, is_new, piece in _pieces(file):
            if is_new and name in found:
                raise _OddError(name)
            found.setdefault(name, _Pieces()).add(table(_only_block(piece), text))
    return {name: pieces.whole() for name, pieces in found.items()}


def _only_block(text: str) -> gemmi.cif.Block:
    import gemmi

    if "\0" in text:
        raise _OddError("no text")
    document = gemmi.cif.read_string(text)
    if len(document) != 1:
        raise _OddError("several blocks in a piece")
    return document[0]


def _pieces(lines: Iterator[str]) -> Iterator[tuple[str, bool, str]]:
    """Yield the name of a block, whether this is its first piece, and its head with some of its rows."""
    name: str | None = None
    head: list[str] = []
    rows: list[str] = []
    size, first, in_loop = 0, True, False
    for line in lines:
        words = line.split("#", 1)[0].split() if line[0] not in ";'\"" else [line]
        start = words[0].lower() if words else ""
        if line.startswith(";") or start.startswith(("save_", "global_", "stop_")):
            raise _OddError(line)
        if start.startswith("data_"):
            if name is not None and (rows or first):
                yield name, first, "".join(head + rows)
            if len(words) > 1:
                raise _OddError(line)
            name, head, rows, size, first, in_loop = words[0][5:], [line], [], 0, True, False
        elif name is None:
            if words:
                raise _OddError(line)
        elif start.startswith(("_", "loop_")):
            # In a loop a name stands alone; rows end with their block.
            if (
                rows
                or (start.startswith("loop_") and (in_loop or start != "loop_"))
                or (len(words) > 1 and (in_loop or start == "loop_"))
            ):
                raise _OddError(line)
            in_loop |= start == "loop_"
            head.append(line)
        elif not in_loop:
            head.append(line)
        else:
            rows.append(line)
            size += len(line)
            if size > PIECE:
                yield name, first, "".join(head + rows)
                rows, size, first = [], 0, False
    if name is not None and (rows or first):
        yield name, first, "".join(head + rows)


@dataclass
class _Pieces:
    """The columns of a table, as its pieces come."""

    columns: dict[str, list[np.ndarray[Any, np.dtype[Any]]]] = field(default_factory=dict)
    known: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, piece: pd.DataFrame) -> None:
        for name in piece.columns:
            values = piece[name].to_numpy()
            if len(values) == 0:
                raise _OddError(name)
            parts = self.columns.setdefault(name, [])
            if values.dtype.kind not in "Oif":
                raise _OddError(name)
            if values.dtype == object:
                if not isinstance(values[0], str):  # whole numbers that are too large for any type
                    raise _OddError(name)
                values = self._once(name, values)
            if parts and (parts[0].dtype == object) != (values.dtype == object):
                raise _MixedError(name)
            parts.append(values)

    def whole(self) -> pd.DataFrame:
        """Return the table; its pieces go as its columns are made."""
        import pandas as pd

        made: dict[str, pd.Series] = {}
        for name in list(self.columns):
            values = np.concatenate(self.columns.pop(name))
            made[name] = pd.Series(values, dtype=values.dtype)
        return pd.DataFrame(made)

    def _once(self, name: str, values: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[Any]]:
        """Return words of a column, those that came up before being the same object."""
        known = self.known.setdefault(name, {})
        if len(known) > _FEW:
            return values
        out = np.empty_like(values)
        out[:] = [known.setdefault(word, word) for word in values]
        return out
