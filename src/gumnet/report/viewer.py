"""A surface that turns in the page: meshes in attributes, a few lines of WebGL, and a still picture without it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files

from gumnet.report.chimerax import COLOURS
from gumnet.report.plots import Figure

HELP = "Drag to turn, or use the arrow keys; + and - change the size, Home turns it back."


@dataclass(frozen=True)
class Viewer:
    """Surfaces to turn, one at a time.

    Parameters
    ----------
    meshes
        By name, from `gumnet.report.surface.packed_surfaces`; the first is shown at first.
    still
        What is shown without WebGL or scripts, and on paper.
    caption
        Below it.
    """

    meshes: Mapping[str, str]
    still: Figure
    caption: str


@cache
def script() -> str:
    """Return the script of all viewers of a page."""
    return files("gumnet.report").joinpath("viewer.js").read_text(encoding="utf-8")


def policy(with_script: bool) -> str:
    """Return the content security policy of a page: nothing is fetched, and no script runs but ours, by its hash."""
    allowed = "'none'"
    if with_script:
        allowed = f"'sha256-{base64.b64encode(hashlib.sha256(script().encode()).digest()).decode('ascii')}'"
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {allowed}"


def viewer_markup(viewer: Viewer, still: str) -> str:
    """Return the markup of a viewer, with that of its still picture."""
    chosen = "".join(
        f'<button type="button" aria-pressed="false" data-colour="{COLOURS[i % len(COLOURS)]}" '
        f'data-mesh="{escape(mesh)}">{escape(name)}</button>'
        for i, (name, mesh) in enumerate(viewer.meshes.items())
    )
    acts = "".join(
        f'<button type="button" data-act="{act}" aria-label="{words}">{sign}</button>'
        for act, words, sign in (
            ("closer", "larger", "+"),
            ("further", "smaller", "−"),
            ("reset", "turn back", "reset"),
        )
    )
    return (
        f'<div class="surface"><figure class="viewer" hidden><canvas tabindex="0" role="application" '
        f'aria-label="Surface that can be turned. {HELP}"></canvas>'
        f'<div class="choice">{chosen}<span>{acts}</span></div>'
        f"<figcaption>{escape(viewer.caption)} {HELP}</figcaption></figure>"
        f'<div class="still">{still}</div></div>\n'
    )
