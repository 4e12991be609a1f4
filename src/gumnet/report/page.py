"""One self-contained HTML page: no network, every figure inside the file.

The only script is that of `gumnet.report.viewer`, and the page's security policy allows no other, and no fetching.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from gumnet.io.atomic import write_whole
from gumnet.report.plots import Figure
from gumnet.report.viewer import Viewer, policy, script, viewer_markup

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5a636e; --paper: #ffffff; --panel: #f5f6f8; --line: #d8dce1;
  --accent: #1f6fb2; --warn: #c8701c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --soft: #a2abb6; --paper: #14171b; --panel: #1d2126;
  --line: #363c44; --accent: #6fb1ea; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.6 system-ui, -apple-system, "Segoe UI",
  Roboto, "Noto Sans", sans-serif; -webkit-text-size-adjust: 100%; }
main { max-width: 66rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: clamp(1.6rem, 4vw, 2.2rem); line-height: 1.2; letter-spacing: -0.015em; margin: 0 0 .5rem; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 3rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
p { max-width: 42rem; margin: .6rem 0; }
.lead { font-size: 1.1rem; color: var(--soft); }
dl.key { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .75rem; margin: 1.75rem 0; }
dl.key div { background: var(--panel); border-radius: .6rem; padding: .8rem 1rem; }
dl.key dt { color: var(--soft); font-size: .85rem; line-height: 1.35; }
dl.key dd { margin: .15rem 0 0; font-size: 1.45rem; font-weight: 600; line-height: 1.25;
  font-variant-numeric: tabular-nums; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 1.5rem 2rem;
  align-items: start; margin: 1.25rem 0; }
figure { margin: 0; max-width: 34rem; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { color: var(--soft); font-size: .9rem; line-height: 1.5; margin-top: .4rem; }
.wide { overflow-x: auto; max-width: 100%; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .95rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); font-size: .9rem; padding-bottom: .4rem; }
th, td { text-align: right; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
thead th { font-weight: 600; border-bottom-width: 2px; }
tbody th { font-weight: 400; min-width: 4.5rem; }
thead th, td { white-space: nowrap; }
table.words th, table.words td { text-align: left; }
table.words td { white-space: normal; overflow-wrap: anywhere; min-width: 10rem; }
pre { background: var(--panel); border-radius: .6rem; padding: .9rem 1rem; overflow-x: auto;
  font: .88rem/1.55 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
details { margin: 1rem 0; }
summary { cursor: pointer; color: var(--accent); }
.notes { background: var(--panel); border-left: 4px solid var(--warn); border-radius: .3rem; margin: 1.25rem 0;
  padding: .6rem 1rem .6rem 2rem; max-width: 48rem; }
.notes li { margin: .3rem 0; overflow-wrap: anywhere; }
.viewer canvas { display: block; width: 100%; aspect-ratio: 4 / 3; touch-action: none; cursor: grab;
  background: var(--panel); border-radius: .6rem; }
.viewer .choice { display: flex; flex-wrap: wrap; gap: .4rem; margin-top: .5rem; }
.viewer .choice span { margin-left: auto; }
.viewer button { font: inherit; font-size: .88rem; color: var(--ink); background: var(--panel); cursor: pointer;
  border: 1px solid var(--line); border-radius: .4rem; padding: .25rem .7rem; min-height: 2.2rem; }
.viewer .choice span button { margin-left: .3rem; }
.viewer button[aria-pressed="true"] { border-color: var(--accent); box-shadow: inset 0 0 0 1px var(--accent); }
.still.printed { display: none; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
@media print { .viewer { display: none; } .still.printed { display: block; }
  details:not([open]) > :not(summary) { display: block; } }
"""


@dataclass(frozen=True)
class Table:
    """A table: a header and rows of cells that are text already.

    Parameters
    ----------
    folded
        Whether it starts folded away, as the values behind a figure do.
    words
        Whether cells are words, set to the left, in place of numbers.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    folded: bool = False
    words: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the page: paragraphs, then figures, commands to type, and tables."""

    title: str
    paragraphs: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    commands: tuple[str, ...] = ()
    viewers: tuple[Viewer, ...] = ()


def write_report(
    path: Path,
    *,
    title: str,
    lead: str,
    key_figures: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    notes: Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Write one HTML page that needs nothing else.

    Everything given is text, never HTML: it is escaped. Figures are the only markup that goes in as it is, and
    `gumnet.report.plots` makes them.

    Parameters
    ----------
    path
        File to write; whole or not at all.
    title, lead
        Heading, and the sentence below it.
    key_figures
        Names and values of the few numbers that matter most.
    sections
        What follows, in order.
    notes
        What to know before anything else, in sentences.
    overwrite
        Replace a file that exists.
    """
    with write_whole(path, overwrite=overwrite) as temporary:
        temporary.write_text(page(title, lead, key_figures, sections, notes), encoding="utf-8")


def page(
    title: str,
    lead: str,
    key_figures: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    notes: Sequence[str] = (),
) -> str:
    """Return the page that `write_report` writes."""
    moving = any(section.viewers for section in sections)
    warned = "".join(f"<li>{escape(note)}</li>" for note in notes)
    told = f'<ul class="notes" aria-label="What to know first">{warned}</ul>\n' if warned else ""
    keys = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in key_figures)
    body = "".join(_section(section) for section in sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy(moving)}">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n'
        f'{told}<dl class="key">{keys}</dl>\n{body}</main>\n'
        f"{f'<script>{script()}</script>' if moving else ''}</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    parts = [f"<section>\n<h2>{escape(section.title)}</h2>\n"]
    parts += [f"<p>{escape(paragraph)}</p>\n" for paragraph in section.paragraphs]
    if section.figures or section.viewers:
        viewers = "".join(viewer_markup(viewer, _figure(viewer.still)) for viewer in section.viewers)
        parts.append(f'<div class="figures">{viewers}{"".join(_figure(figure) for figure in section.figures)}</div>\n')
    if section.commands:
        lines = escape(chr(10).join(section.commands))
        # What scrolls can be reached by the keyboard.
        parts.append(f'<pre tabindex="0" role="region" aria-label="Commands"><code>{lines}</code></pre>\n')
    parts += [_table(table) for table in section.tables]
    return "".join([*parts, "</section>\n"])


def _figure(figure: Figure) -> str:
    # role and aria-label make the drawing one image with a text for those who do not see it.
    drawing = figure.svg.replace("<svg ", f'<svg role="img" aria-label="{escape(figure.alt)}" ', 1)
    return f"<figure>{drawing}<figcaption>{escape(figure.caption)}</figcaption></figure>"


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    rows = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in table.rows
    )
    kind = ' class="words"' if table.words else ""
    caption = "" if table.folded else f"<caption>{escape(table.caption)}</caption>"
    # What scrolls can be reached by the keyboard.
    scrolling = f'<div class="wide" tabindex="0" role="region" aria-label="{escape(table.caption)}">'
    inner = f"{scrolling}<table{kind}>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>\n"
    return f"<details><summary>{escape(table.caption)}</summary>{inner}</details>\n" if table.folded else inner
