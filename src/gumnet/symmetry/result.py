"""What a search for symmetry found, and how to say it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gumnet.geometry.rigid import relion_from_matrix
from gumnet.geometry.symmetry import PointGroup
from gumnet.particles import Poses
from gumnet.symmetry.judge import Axis, Verdict

SETTINGS = {
    "C": "its axis along z",
    "D": "its main axis along z and a 2-fold one along x",
    "T": "a 3-fold axis along z and a 2-fold one along (0, 1.414, 1)",
    "O": "4-fold axes along x, y and z",
    "I": "2-fold axes along x, y and z, and 5-fold ones in the xz plane (I2)",
}
"""RELION's settings by the first letter of a group; see `gumnet.geometry.symmetry`."""


@dataclass(frozen=True)
class Candidate:
    """A point group in the frame where it fits a map best.

    Parameters
    ----------
    group
        The group.
    pose
        Pose (1) of the map on a reference in the setting of `gumnet.geometry.symmetry`.
    axes
        Its kinds of axes.
    refined
        Whether the frame was refined, and judged in all shells that count; if not, it was far off in low shells.
    """

    group: PointGroup
    pose: Poses
    axes: tuple[Axis, ...]
    refined: bool

    @property
    def weakest(self) -> float:
        """Agreement of the kind of axis that agrees least; one whose fold does not show counts with what is round."""
        return min(axis.raw if math.isnan(axis.agreement) else axis.agreement for axis in self.axes)

    def axes_words(self) -> str:
        """Return the axes that define the setting, in the frame of the map: "7-fold along (0, 0, 1)"."""
        return ", ".join(f"{axis.fold}-fold along {axis.direction_words()}" for axis in self.axes)

    @property
    def verdict(self) -> Verdict:
        """Whether the map has this symmetry: as the axis that speaks most against it."""
        verdicts = {axis.verdict for axis in self.axes} if self.refined else {"fails"}
        against: tuple[Verdict, ...] = ("fails", "round", "unsure")
        return next((verdict for verdict in against if verdict in verdicts), "holds")


@dataclass(frozen=True)
class Symmetry:
    """The point group of a map.

    Parameters
    ----------
    name
        As `gumnet.geometry.symmetry.point_group` knows it; C1 where no other group fits, None where the map does not
        tell.
    reason
        Why, in words.
    pose
        Pose (1) of the map on a reference in RELION's setting: ``warp(map, R, t)`` has its axes there. The identity for
        C1 and None.
    candidates
        All groups that were tried, the one that holds and has the highest order first.
    deviation
        Standard deviation that noise gives the agreement under one turn.
    resolution_angstrom
        Finest detail that was judged by; infinity if there is none.
    """

    name: str | None
    reason: str
    pose: Poses
    candidates: tuple[Candidate, ...]
    deviation: float
    resolution_angstrom: float

    @property
    def found(self) -> Candidate | None:
        """The group that was found, None for C1 and where the map does not tell."""
        return self.candidates[0] if self.name not in (None, "C1") else None

    def words(self) -> str:
        """Return what was found, in a sentence or two."""
        if self.name is None:
            return f"Symmetry undetermined: {self.reason}."
        return f"Symmetry {self.name}: {self.reason}."

    @property
    def angles_degrees(self) -> list[float]:
        """RELION's rot, tilt and psi of the map on its setting, as if the map were a particle."""
        return [float(angle) for angle in relion_from_matrix(self.pose.rotations)[0]]

    def setting_words(self) -> str:
        """Return how the map lies in the setting of its group, and what the hand is."""
        found = self.found
        if found is None:
            return "The map stays in the frame it has."
        rot, tilt, psi = self.angles_degrees
        x, y, z = self.pose.shifts[0].tolist()
        return (
            f"RELION's setting of {self.name} has {SETTINGS.get(found.group.name[0], '')}: the map lies on it at rot "
            f"{rot:.2f}, tilt {tilt:.2f}, psi {psi:.2f} degrees, about a point ({x:.2f}, {y:.2f}, {z:.2f}) voxels from "
            "the centre of the box. Its hand is what it was: turns do not change it, and symmetry does not tell it."
        )
