"""The parts of a report that several commands share."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from gumnet.evaluation.metrics import FAILURE_FROBENIUS, PairErrors
from gumnet.report.page import Section, Table
from gumnet.report.plots import histogram_figure

RANDOM_DEGREES, RANDOM_FROBENIUS = 126.5, 2.40
"""Mean error of uniformly random rotations, for comparison."""


def fsc_table(curves: Mapping[str, Tensor], *, voxel_size_angstrom: float, box: int) -> Table:
    """Return the values behind a plot of Fourier shell correlations, folded away."""
    rows = tuple(
        (
            str(shell),
            f"{box * voxel_size_angstrom / shell:.1f}",
            *(f"{float(curve[shell]):.3f}" for curve in curves.values()),
        )
        for shell in range(1, box // 2 + 1)
    )
    return Table("Values of the curves", ("Shell", "Å", *curves), rows, folded=True)


def errors_section(title: str, paragraph: str, errors: PairErrors) -> Section:
    """Return pose errors against the truth: histograms, and a table with mean and median."""
    summary = errors.summary()
    kinds = (
        ("degrees", "Rotation (degrees)", f"{RANDOM_DEGREES:.1f}"),
        ("frobenius", "Rotation (Frobenius norm)", f"{RANDOM_FROBENIUS:.2f}"),
        ("shifts", "Shift (voxels)", ""),
        ("shifts_rounded", "Shift, both rounded to voxels", ""),
    )
    rows = [
        (
            name,
            f"{summary[kind]['mean']:.2f}",
            f"{summary[kind]['median']:.2f}",
            f"{getattr(errors, kind).max():.2f}",
            chance,
        )
        for kind, name, chance in kinds
    ]
    failed = round(errors.failure_rate * len(errors))
    note = (
        f"Failed, with a Frobenius norm above {FAILURE_FROBENIUS:g}: {failed} of {len(errors)}. That norm, of the "
        "found minus the true rotation matrix, goes from 0 for the same rotation to 2.83 for half a turn between them. "
        f"At chance means rotations drawn at random, wrong by {RANDOM_DEGREES:.1f}° and {RANDOM_FROBENIUS:.2f} "
        "on average."
    )
    figures = tuple(
        histogram_figure(
            values,
            limit=limit,
            xlabel=xlabel,
            marks={"mean": summary[kind]["mean"], "median": summary[kind]["median"]},
            caption=caption,
        )
        for kind, values, limit, xlabel, caption in (
            (
                "degrees",
                errors.degrees,
                _limit(errors.degrees, 30.0),
                "rotation error (degrees)",
                "Rotation errors against the truth.",
            ),
            (
                "shifts",
                errors.shifts,
                _limit(errors.shifts, 3.0),
                "shift error (voxels)",
                "Shift errors against the truth, not rounded.",
            ),
        )
    )
    table = Table("Errors against the truth", ("Error", "Mean", "Median", "Largest", "At chance"), tuple(rows))
    return Section(title, (paragraph, note), figures, (table,))


def _limit(values: Tensor, largest: float) -> float:
    """Return the end of a histogram: a round number that all values are below, or else ``largest``."""
    return next(
        (share * largest for share in (0.05, 0.1, 0.2, 0.3, 0.5) if float(values.max()) < share * largest), largest
    )


def provenance_section(
    command: str, versions: Mapping[str, str], settings: Mapping[str, str], seconds: Mapping[str, float]
) -> Section:
    """Return how to get the same result again, and what took how long; without a command, that Python made it."""
    facts = Table("What made it", ("Setting", "Value"), (*settings.items(), *versions.items()), words=True)
    timing = Table(
        "Time",
        ("Step", "Seconds"),
        (*((name, f"{value:.1f}") for name, value in seconds.items()), ("all", f"{sum(seconds.values()):.1f}")),
    )
    words, commands = ("The command that made this page:", (command,)) if command else ("Written from Python.", ())
    return Section("How it was made", (words,), (), (facts, timing) if seconds else (facts,), commands)
