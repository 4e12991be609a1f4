"""STAR files as pandas tables: read by gemmi, written by starfile.

gemmi, and not starfile (0.5.13), reads them: starfile silently fills short rows with NaN, takes a block without columns
for the next one, cuts values at ``#``, ends a table at a comment, and does not say in which line a problem is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from gumnet.errors import InputError
from gumnet.io.atomic import write_whole
from gumnet.io.check import existing_file

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


def _table(block: gemmi.cif.Block, path: Path) -> pd.DataFrame:
    """Return a block that is one loop, or one list of values, as a table."""
    import pandas as pd

    items = list(block)
    loops = [item.loop for item in items if item.loop is not None]
    if not items:
        raise InputError(f"the block data_{block.name.strip()} has no columns", cure=_CURE, path=path)
    if len(loops) > 1 or (loops and len(items) > 1):
        raise InputError(f"the block data_{block.name.strip()} holds several tables", cure=_CURE, path=path)
    if loops:
        tags, values = list(loops[0].tags), list(loops[0].values)
    else:
        # gemmi's stubs call a pair an object; it is a tag and its value.
        pairs = [cast("tuple[str, str]", item.pair) for item in items]
        tags, values = [tag for tag, _ in pairs], [value for _, value in pairs]
    rows = np.array(values, dtype=object).reshape(-1, len(tags))
    return pd.DataFrame({tag[1:]: _column(tag[1:], rows[:, i]) for i, tag in enumerate(tags)})


def _column(name: str, values: np.ndarray[Any, np.dtype[np.object_]]) -> pd.Series:
    """Return one column, numeric if every entry is a number."""
    import gemmi
    import pandas as pd

    text = pd.Series([gemmi.cif.as_string(v) if v[0] in "\"';" else v for v in values], dtype=object)
    if name not in TEXT_COLUMNS:
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
