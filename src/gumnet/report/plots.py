"""Figures for the report, drawn by matplotlib without a display.

Text and axes are drawn in the colour of the page around them, so that one file is readable in light and in dark.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.io.atomic import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

INK = "#010203"
"""Stands for the text colour of the page while matplotlib draws; replaced by ``currentColor`` in the SVG."""

PAGE_INK = "#1b1f24"
"""Text colour of drawings on white, in files of their own."""

SERIES = ("#2b7bba", "#c8701c", "#1f8f6b", "#a0569b")
"""Colours of curves: told apart by the colour-blind, and dark and light enough for both kinds of page."""

WIDTH_INCHES = 4.6


@dataclass(frozen=True)
class Figure:
    """A drawing for the page.

    Parameters
    ----------
    svg
        As it goes into the page.
    alt
        What it shows, in words.
    caption
        Below it.
    name
        Of its files, without suffix; none are written where it is empty.
    drawing
        What the files are drawn from.
    """

    svg: str
    alt: str
    caption: str
    name: str = ""
    drawing: Drawing | None = field(default=None, repr=False, compare=False)


@contextmanager
def style(ink: str = INK) -> Iterator[None]:
    """Draw in the style of the report while the block runs."""
    import matplotlib

    settings: dict[Any, Any] = {
        "text.color": ink,
        "axes.edgecolor": ink,
        "axes.labelcolor": ink,
        "xtick.color": ink,
        "ytick.color": ink,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "savefig.facecolor": "none",
        "font.size": 9.5,
        "legend.frameon": False,
        "svg.fonttype": "none",
        "svg.hashsalt": "gumnet",
        "text.parse_math": False,
    }
    with matplotlib.rc_context(settings):
        yield


def new_drawing(height_inches: float = 3.0) -> tuple[Drawing, Axes]:
    """Return a drawing of the width of the report, and its axes. No window system is touched."""
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
    return drawing, drawing.add_subplot()


def legend_above(axes: Axes, columns: int = 3) -> None:
    """Put the legend above the axes, where it hides nothing."""
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, fontsize=8.5)


def finish(drawing: Drawing, alt: str, caption: str, name: str = "") -> Figure:
    """Return a drawing as SVG that takes its text colour and font from the page, without fixed size.

    With a name, `write_figures` can write it to files as well.
    """
    buffer = io.StringIO()
    drawing.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    svg = text[text.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(
        r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1), count=1
    )
    svg = re.sub(r"font: ([0-9.]+px) [^;\"]*", r"font-size: \1; font-family: inherit", svg)
    # Several drawings live in one page, and ids must not meet: each drawing gets a prefix of its own.
    prefix = "f" + hashlib.sha256(svg.encode()).hexdigest()[:8]
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{prefix}-", svg)
    return Figure(svg, alt, caption, name, drawing if name else None)


def write_figures(folder: Path, figures: Iterable[Figure], *, overwrite: bool = False) -> None:
    """Write the figures that have a name to ``folder`` as NAME.png and NAME.svg, on white, for a paper."""
    for figure in figures:
        if figure.drawing is None:
            continue
        with style():
            for suffix in ("png", "svg"):
                save(figure.drawing, folder / f"{figure.name}.{suffix}", dpi=200, overwrite=overwrite)


def save(drawing: Drawing, path: Path, *, dpi: int = 160, overwrite: bool = False) -> None:
    """Write a drawing to a file, on white, in the format of its suffix: .png or .svg; within the `style` it has."""
    # Without the date: the same data are to give the same file.
    metadata: dict[str, Any] = {"Date": None} if path.suffix.lower() == ".svg" else {}
    with write_whole(path, overwrite=overwrite) as temporary:
        drawing.savefig(temporary, dpi=dpi, facecolor="white", metadata=metadata)


def resolution_text(resolution_angstrom: float) -> str:
    """Return a resolution in words, also where the curve never crosses its threshold."""
    return f"{resolution_angstrom:.1f} Å" if math.isfinite(resolution_angstrom) else "no resolution"


def fsc_figure(
    curves: Mapping[str, Tensor],
    *,
    voxel_size_angstrom: float,
    box: int,
    thresholds: Mapping[str, tuple[float, float]],
    caption: str,
    name: str = "",
) -> Figure:
    """Return Fourier shell correlations against spatial frequency; see `draw_fsc`."""
    with style():
        drawing, words = draw_fsc(curves, voxel_size_angstrom=voxel_size_angstrom, box=box, thresholds=thresholds)
        return finish(drawing, words, caption, name)


def draw_fsc(
    curves: Mapping[str, Tensor],
    *,
    voxel_size_angstrom: float,
    box: int,
    thresholds: Mapping[str, tuple[float, float]],
) -> tuple[Drawing, str]:
    """Draw Fourier shell correlations against spatial frequency, within `style`; return the drawing, and it in words.

    Parameters
    ----------
    curves
        FSC of every shell from 0 on, shape (N // 2 + 1,), by name.
    voxel_size_angstrom, box
        Voxel size and side N of the maps.
    thresholds
        For a curve's name, its threshold and the resolution in Angstrom where it falls below that.
    """
    drawing, axes = new_drawing(2.9 + 0.2 * len(curves))
    seen = sorted({threshold for threshold, _ in thresholds.values()})
    for threshold in seen:
        axes.axhline(threshold, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), alpha=0.6)
        axes.text(0.01, threshold, f"FSC {threshold:g}", transform=axes.get_yaxis_transform(), va="bottom", fontsize=8)
    axes.axhline(0, color=INK, linewidth=0.6, alpha=0.4)
    words = []
    for (name, curve), colour in zip(curves.items(), SERIES, strict=False):
        # Shell 0 is the mean density, which holds no resolution.
        frequency = torch.arange(1, len(curve)) / (box * voxel_size_angstrom)
        label = name
        if name in thresholds:
            threshold, resolution = thresholds[name]
            label = f"{name}: {resolution_text(resolution)} at FSC {threshold:g}"
            if math.isfinite(resolution) and not bool((curve[1:] < threshold).any()):
                label = f"{name}: above FSC {threshold:g} to {resolution_text(resolution)}"
            elif math.isfinite(resolution):
                axes.plot([1 / resolution], [threshold], "o", color=colour, markersize=5)
        axes.plot(frequency.numpy(), curve[1:].cpu().numpy(), color=colour, linewidth=1.8, label=label)
        words.append(label)
    axes.set(xlabel="spatial frequency (1/Å)", ylabel="FSC", ylim=(-0.15, 1.05))
    axes.set_xlim(0, 1.02 / (2 * voxel_size_angstrom))
    axes.locator_params(axis="x", nbins=5)
    legend_above(axes, columns=1)
    return drawing, "Fourier shell correlation. " + ". ".join(words) + "."


def write_fsc_plot(
    path: Path,
    curves: Mapping[str, Tensor],
    *,
    voxel_size_angstrom: float,
    box: int,
    thresholds: Mapping[str, tuple[float, float]],
    overwrite: bool = False,
) -> None:
    """Write what `draw_fsc` draws to a file, on white, in the format of its suffix: .png or .svg."""
    check_plot_name(path)
    with style():
        drawing, _ = draw_fsc(curves, voxel_size_angstrom=voxel_size_angstrom, box=box, thresholds=thresholds)
        save(drawing, path, overwrite=overwrite)


def check_plot_name(path: Path) -> None:
    """Raise `InputError` unless a plot can be written under this name."""
    if path.suffix.lower() not in (".png", ".svg"):
        raise InputError("no such kind of plot", cure="give a name that ends in .png or .svg", path=path)


def histogram_figure(
    values: Tensor,
    *,
    limit: float,
    start: float = 0.0,
    bins: int = 24,
    xlabel: str,
    marks: Mapping[str, float],
    caption: str,
    name: str = "",
) -> Figure:
    """Return a histogram of ``values``; those beyond ``limit`` are counted in the last bar, and the axis says so.

    Parameters
    ----------
    start
        Where it starts; no value is below.
    marks
        Vertical lines by name, such as the mean and the median.
    """
    values = values.detach().cpu().to(torch.float64)
    beyond = int((values > limit).sum())
    edges = torch.linspace(start, limit, bins + 1, dtype=torch.float64)
    counts, _ = torch.histogram(values.clamp(max=limit), edges)
    with style():
        drawing, axes = new_drawing()
        axes.bar(
            edges[:-1].numpy(), counts.numpy(), width=(limit - start) / bins, align="edge", color=SERIES[0], linewidth=0
        )
        for (mark, value), colour, dash in zip(marks.items(), SERIES[1:], ("-", "--"), strict=False):
            axes.axvline(min(value, limit), color=colour, linewidth=1.6, linestyle=dash, label=f"{mark} {value:.2f}")
        if beyond:
            axes.annotate(
                f"{beyond} beyond", (limit, float(counts[-1])), ha="right", va="bottom", fontsize=8, color=INK
            )
        axes.set(xlabel=xlabel, ylabel="count", xlim=(start, limit))
        legend_above(axes)
        axes.locator_params(axis="y", integer=True)
        words = ", ".join(f"{mark} {value:.2f}" for mark, value in marks.items())
        alt = f"Histogram of {len(values)} values, {xlabel}: {words}; {beyond} beyond {limit:g}."
        return finish(drawing, alt, caption, name)


def line_figure(
    x: Sequence[float],
    series: Mapping[str, Sequence[float]],
    *,
    xlabel: str,
    ylabel: str,
    caption: str,
    name: str = "",
) -> Figure:
    """Return one line for each of ``series`` over ``x``, or over the first of ``x`` where it has fewer values."""
    with style():
        drawing, axes = new_drawing(2.6)
        many = max(map(len, series.values()), default=0) > 20
        for i, (line, values) in enumerate(series.items()):
            look = "." if many else "o"
            shade = 1.0 if i < len(SERIES) else 0.45
            axes.plot(
                list(x)[: len(values)],
                list(values),
                f"{look}-",
                color=SERIES[i % len(SERIES)],
                alpha=shade,
                linewidth=1.6,
                markersize=4,
                label=line,
            )
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.locator_params(axis="x", integer=True)
        if len(series) > 1:
            legend_above(axes)
        words = "; ".join(f"{line}: {', '.join(f'{v:.3g}' for v in values)}" for line, values in series.items())
        return finish(drawing, f"{ylabel} against {xlabel}. {words}.", caption, name)
