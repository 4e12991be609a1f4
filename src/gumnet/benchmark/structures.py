"""The structures that a benchmark simulates: those of files, or the built-in phantoms, and the record says which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gumnet.benchmark.level import BOX, VOXEL_SIZE_ANGSTROM
from gumnet.simulation.phantom import phantoms
from gumnet.simulation.structure import from_files
from gumnet.types import Volumes

PHANTOMS = 5
"""How many built-in phantoms stand for the five complexes of the paper."""


@dataclass(frozen=True)
class Structures:
    """Structures with their names.

    Parameters
    ----------
    volumes
        Shape (k, N, N, N).
    names
        File names without folders, or "phantom 0" and so on.
    built_in
        Whether they are phantoms.
    """

    volumes: Volumes
    names: tuple[str, ...]
    built_in: bool

    @classmethod
    def load(cls, paths: Sequence[Path], map_voxel_size_angstrom: float | None, count: int = PHANTOMS) -> Structures:
        """Return the structures of files of maps or atoms; without files, ``count`` phantoms."""
        if not paths:
            made = phantoms(count, BOX, VOXEL_SIZE_ANGSTROM)
            return cls(made, tuple(f"phantom {i}" for i in range(count)), True)
        read = from_files(paths, BOX, VOXEL_SIZE_ANGSTROM, map_voxel_size_angstrom=map_voxel_size_angstrom)
        return cls(read, tuple(path.name for path in paths), False)

    def __len__(self) -> int:
        return len(self.names)

    def words(self) -> str:
        """Return what they are, for tables."""
        several = "s" * (len(self) > 1)
        what = f"built-in phantom{several}, not the paper's complexes" if self.built_in else f"given structure{several}"
        return f"{len(self)} {what}: {', '.join(self.names)}"
