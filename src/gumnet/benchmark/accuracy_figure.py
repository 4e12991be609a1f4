"""The figure of the accuracy table: rotation error against signal-to-noise, a panel for each colour of noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gumnet.benchmark.rows import BOUND, label
from gumnet.report.plots import PAGE_INK, SERIES, save, style

_MARKS = "os^Dv<>P*X"
_CHANCE = 2.40


def write_accuracy_figure(path: Path, record: Mapping[str, Any], *, overwrite: bool = False) -> None:
    """Write it, in the format of the suffix of ``path``: .png or .svg."""
    from matplotlib.figure import Figure

    colours = list(dict.fromkeys(cell["colour"] for cell in record["cells"]))
    methods = list(dict.fromkeys(cell["method"] for cell in record["cells"]))
    snrs = sorted({cell["snr"] for cell in record["cells"]}, reverse=True)
    with style(PAGE_INK):
        drawing = Figure(figsize=(3.1 * len(colours) + 0.8, 4.2), layout="constrained")
        panels = drawing.subplots(1, len(colours), sharey=True, squeeze=False)[0]
        for panel, colour in zip(panels, colours, strict=True):
            panel.axhline(_CHANCE, color=PAGE_INK, linewidth=0.7, linestyle=(0, (4, 3)), alpha=0.6)
            for i, method in enumerate(methods):
                _draw(panel, record, colour, method, i, snrs)
            panel.set(xlabel="SNR", title=f"{colour} noise", ylim=(0, 2.83), xlim=(-0.4, len(snrs) - 0.6))
            panel.set_xticks(range(len(snrs)), [f"{snr:g}" for snr in snrs])
        panels[0].set_ylabel("rotation error (Frobenius), 95 %")
        drawing.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
        save(drawing, path, overwrite=overwrite)


def _draw(panel: Any, record: Mapping[str, Any], colour: str, method: str, number: int, snrs: Sequence[float]) -> None:
    cells = [cell for cell in record["cells"] if (cell["colour"], cell["method"]) == (colour, method)]
    means = [cell["mean"]["frobenius"] for cell in cells]
    ends = [cell["interval_95"]["frobenius"] for cell in cells]
    below = [mean - low for mean, (low, _) in zip(means, ends, strict=True)]
    above = [high - mean for mean, (_, high) in zip(means, ends, strict=True)]
    panel.errorbar(
        # Beside each other, so that intervals at the same level can be told apart.
        [snrs.index(cell["snr"]) + 0.03 * (number % 7 - 3) for cell in cells],
        means,
        [below, above],
        color=PAGE_INK if method == BOUND else SERIES[number % len(SERIES)],
        marker=_MARKS[number % len(_MARKS)],
        linestyle="--" if method == BOUND else "-" if number < len(SERIES) else ":",
        linewidth=1.4,
        markersize=4,
        elinewidth=0.8,
        label=label(method).partition(":")[0],
    )
