"""What the writers of tables say of what they did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gumnet.io.pose_table import PoseTable
from gumnet.io.relion_poses import SUBTOMOGRAM_ANGLES


@dataclass(frozen=True)
class Written:
    """The files that were written, and what the format could not hold.

    Parameters
    ----------
    files
        All of them, the table first.
    left_out
        Reasons by what was left out: a column of the particles or of the optics, "half sets", and so on.
    notes
        What else one should know, a sentence each.
    """

    files: tuple[Path, ...]
    left_out: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, table: PoseTable, files: Sequence[Path], left_out: Mapping[str, str], notes: Sequence[str] = ()
    ) -> Written:
        """Return the account of a format that holds no optics of RELION: its columns are left out as well."""
        optics = {} if table.optics is None else {str(name): "no optics groups" for name in table.optics}
        turned = {name: "their rotation is in the angles" for name in SUBTOMOGRAM_ANGLES if name in left_out}
        return cls(tuple(files), {**left_out, **optics, **turned}, tuple(notes))
