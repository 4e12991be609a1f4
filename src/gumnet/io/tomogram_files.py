"""Which file is the tomogram that a table of coordinates names."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gumnet.errors import InputError
from gumnet.io.relion_table import find_upwards, require_columns
from gumnet.io.star import read_star
from gumnet.io.tomogram_volume import MRC_SUFFIXES, is_zarr
from gumnet.io.tomograms import NAME

RECONSTRUCTION = "rlnTomoReconstructedTomogram"
_CURE = "name one file a tomogram with --tomograms, called as the table calls it"


@dataclass(frozen=True)
class TomogramFiles:
    """Files of tomograms, by the name that is given in a table of tomograms, or by their own."""

    named: dict[str, Path]
    files: tuple[Path, ...]

    def find(self, name: str | None) -> Path:
        """Return the file of the tomogram called ``name``; None where the coordinates name none.

        In this order: the name in a table of tomograms; the file's whole path, name or name without suffix; the one
        file whose name holds it between characters that are no letters or digits, as rec_TS_01_bin4.mrc does TS_01.

        Raises
        ------
        InputError
            If there is none, or more than one.
        """
        choices = [*self.named.values(), *self.files]
        if name is None:
            if len(choices) == 1:
                return choices[0]
            raise InputError(
                f"the coordinates name no tomogram, and there are {len(choices)}",
                cure="give one, or a column with the names of the tomograms",
            )
        if name in self.named:
            return self.named[name]
        wanted = bare_name(name)
        as_a_word = re.compile(rf"(?<![A-Za-z0-9]){re.escape(wanted)}(?![A-Za-z0-9])")
        for found in (
            [file for file in self.files if str(file) == name],
            [file for file in self.files if file.name == Path(name).name],
            [file for file in self.files if bare_name(file.name) == wanted],
            [file for file in self.files if as_a_word.search(file.name)],
        ):
            if len(found) == 1:
                return found[0]
            if found:
                names = ", ".join(file.name for file in found)
                raise InputError(f"several files may be the tomogram {name}: {names}", cure=_CURE)
        known = ", ".join([*self.named, *(file.name for file in self.files)][:5])
        raise InputError(f"there is no file for the tomogram {name}, only for {known}", cure=_CURE)


def bare_name(name: str) -> str:
    """Return the name of a tomogram without folder and known suffixes."""
    name = Path(name).name
    for suffix in (*MRC_SUFFIXES, ".zarr", ".ome", ".tomostar"):
        name = name.removesuffix(suffix)
    return name


def tomogram_files(paths: Sequence[Path]) -> TomogramFiles:
    """Return the tomograms in ``paths``: MRC files, Zarr stores, folders of these, or tables of tomograms (STAR).

    Raises
    ------
    InputError
        If there are none.
    """
    named: dict[str, Path] = {}
    files: list[Path] = []
    for path in paths:
        if not os.path.exists(path):
            raise InputError("no such file", cure="check the name and the folder", path=path)
        if path.suffix.lower() == ".star":
            named.update(_from_table(path))
        elif path.is_dir() and not is_zarr(path):
            inside = sorted(p for p in path.iterdir() if is_zarr(p) or p.suffix.lower() in MRC_SUFFIXES)
            if not inside:
                raise InputError("the folder holds no tomograms (.mrc, .rec, .zarr)", cure="check it", path=path)
            files += inside
        else:
            files.append(path)
    return TomogramFiles(named, tuple(dict.fromkeys(files)))


def _from_table(path: Path) -> dict[str, Path]:
    """Return the reconstructions that ``tomograms.star`` of RELION 5 names."""
    blocks = read_star(path)
    table = blocks.get("global", next(iter(blocks.values())))
    if RECONSTRUCTION not in table.columns:
        raise InputError(
            f"it names no reconstructed tomograms (column {RECONSTRUCTION})",
            cure="give the tomograms themselves or their folder with --tomograms",
            path=path,
        )
    require_columns(table, [NAME], path)
    found = {}
    for name, file in zip(table[NAME], table[RECONSTRUCTION], strict=True):
        folder = find_upwards(path, str(file))
        if folder is None:
            raise InputError(
                f"no such file: {RECONSTRUCTION} {file}",
                cure="keep the table in its project folder, or start from there",
                path=path,
            )
        found[str(name)] = folder / str(file)
    return found
