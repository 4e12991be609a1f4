"""The symmetry that an average was found to have: the groups that were tried and how far each fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gumnet.report.average_files import class_number
from gumnet.report.page import Section, Table

if TYPE_CHECKING:
    from gumnet.averaging.result import Average

_SHOWN = 12
_VERDICTS = {"holds": "holds", "fails": "fails", "unsure": "noise may do as well", "round": "as any turn"}


def symmetry_name(average: Average) -> str | None:
    """Return the group that was found, in a word or several classes' words; None where it was not looked for."""
    parts = average.classes or (average,)
    names = [part.symmetry.name or "undetermined" for part in parts if part.symmetry is not None]
    return ", ".join(names) if names else None


def symmetry_section(average: Average) -> Section:
    """Return what was found, and a table of the groups that were tried, of each class by itself."""
    parts = [part for part in average.classes or (average,) if part.symmetry is not None]
    words, tables = [], []
    for part in parts:
        found = part.symmetry
        assert found is not None
        which = f"Class {class_number(part)}: " if average.classes else ""
        words.append(f"{which}{found.words()} {found.setting_words()}")
        rows = tuple(
            (
                candidate.group.name,
                f"{candidate.weakest:.2f}",
                _VERDICTS[candidate.verdict] if candidate.refined else "",
                ", ".join(axis.words() for axis in candidate.axes),
            )
            for candidate in found.candidates[:_SHOWN]
        )
        header = ("Group", "Weakest", "Verdict", "What each kind of axis reaches")
        tables.append(Table(f"{which}Groups that were tried", header, rows, folded=True, words=True))
    words.append(
        "One half map against the other one turned: 1 is what the half maps reach with each other, 0 what any turn "
        "gives. Groups without a verdict were far off, or are part of the one that holds."
    )
    return Section("Symmetry", tuple(words), (), tuple(tables))
