"""STAR files as pandas tables: read by gemmi, written by starfile.

gemmi, and not starfile (0.5.13), reads them: starfile silently fills short rows with NaN, takes a block without columns
for the next one, cuts values at ``#``, ends a table at a comment, and does not say in which line a problem is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from gumnet.errors import InputError
from gumnet.io.atomic import write_whole
from gumnet.io.check import existing_file
from gumnet.io.star_long import PIECE, read_long

if TYPE_CHECKING:
    import gemmi
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
_ROWS_AT_ONCE = 10_000
_HEAD_LINES = 3
"""Lines of a table before the names of its columns: data_, an empty one, loop_."""
_CURE = "check that it is a complete STAR file"


def read_star(path: str | Path) -> dict[str, pd.DataFrame]:
    """Return the blocks of a STAR file by name; a simple block becomes a table of one row.

    ``data_particles`` is called ``particles``; a block without a name is called the empty string. Columns in which
    every entry is a number are numeric, apart from `TEXT_COLUMNS`.

    Raises
    ------
    InputError
        If the file is missing, empty, not text, or not a STAR file that can be understood.
    """
    import gemmi

    path = existing_file(path, "a STAR file")
    if path.stat().st_size > PIECE:
        blocks = read_long(path, lambda block, text: _table(block, path, text))
        if blocks:
            return blocks
    text = _text(path)
    try:
        document = gemmi.cif.read_string(text)
    except (ValueError, RuntimeError) as error:
        # As in "string:12:0(345): parse error": line, column, byte.
        found = re.match(r"string:(\d+)\S*:? *(.*)", str(error))
        reason = f"line {found[1]}: {found[2]}" if found else str(error).split(": ", 1)[-1]
        raise InputError(f"the STAR file cannot be read ({reason})", cure=_CURE, path=path) from None
    if len(document) == 0:
        raise InputError("there is no data_ block: this is no STAR file", cure=_CURE, path=path)
    return {block.name.strip(): _table(block, path) for block in document}


def _table(block: gemmi.cif.Block, path: Path, as_text: frozenset[str] = frozenset()) -> pd.DataFrame:
    """Return a block that is one loop, or one list of values, as a table; some columns are text whatever they hold."""
    import pandas as pd

    items = list(block)
    loops = [item.loop for item in items if item.loop is not None]
    if not items:
        raise InputError(f"the block data_{block.name.strip()} has no columns", cure=_CURE, path=path)
    if len(loops) > 1 or (loops and len(items) > 1):
        raise InputError(f"the block data_{block.name.strip()} holds several tables", cure=_CURE, path=path)
    text = TEXT_COLUMNS | as_text
    if loops:
        # A column at a time: as words of Python all of them together take far more than as numbers.
        tags = list(loops[0].tags)
        return pd.DataFrame({tag[1:]: _column(list(block.find_loop(tag)), tag[1:] in text) for tag in tags})
    # gemmi's stubs call a pair an object; it is a tag and its value.
    pairs = [cast("tuple[str, str]", item.pair) for item in items]
    return pd.DataFrame({tag[1:]: _column([value], tag[1:] in text) for tag, value in pairs})


def _column(values: list[str], is_text: bool) -> pd.Series:
    """Return one column, numeric if every entry is a number and it is not to be text."""
    import gemmi
    import pandas as pd

    text = pd.Series([gemmi.cif.as_string(v) if v[0] in "\"';" else v for v in values], dtype=object)
    if not is_text:
        try:
            return pd.to_numeric(text.mask(text.isin(_MISSING)))
        except (ValueError, TypeError):
            pass  # it is text
    return text


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
        file.write("\n")
        for name, block in blocks.items():
            if isinstance(block, Mapping):
                file.write(_text_of(name, _simple(block)))
                continue
            # The text of a whole table would take as much memory as all else that is known of the particles.
            for start in range(0, max(len(block), 1), _ROWS_AT_ONCE):
                text = _text_of(name, _loop(block.iloc[start : start + _ROWS_AT_ONCE]))
                file.write((text.split("\n", _HEAD_LINES + block.shape[1])[-1] if start else text).removesuffix("\n\n"))
            file.write("\n\n")


def _text_of(name: str, block: dict[str, str] | pd.DataFrame) -> str:
    """Return the text of one block, which ends in two empty lines."""
    import starfile

    text: str = starfile.to_string({name: block}, float_format="%.9g", na_rep="nan")
    # Its first lines say when it was written, but the same data are to give the same file.
    return text.split("\n", 3)[3]


def _simple(block: Mapping[str, Any]) -> dict[str, str]:
    return {name: _entry(f"{value:.9g}" if isinstance(value, float) else value) for name, value in block.items()}


def _loop(frame: pd.DataFrame) -> pd.DataFrame:
    text = {name: frame[name].map(_entry) for name in frame.columns if frame[name].dtype.kind not in "fiub"}
    return frame.assign(**text)


def _entry(value: Any) -> str:
    """Return text on one line, with the quotes that starfile does not put around what looks like a comment."""
    text = " ".join(str(value).split())
    return f'"{text}"' if text.startswith("#") and " " not in text else text
