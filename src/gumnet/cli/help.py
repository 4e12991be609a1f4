"""How ``--help`` looks: docstrings break lines for those who read the code, help fills the terminal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cyclopts.help import DefaultFormatter
from cyclopts.help.inline_text import InlineText
from rich.text import Text

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions


class FlowingHelp(DefaultFormatter):
    """The help of cyclopts, with paragraphs that fill the terminal; examples, which are indented, stay as they are."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print one panel of options."""
        for entry in panel.entries:
            _flow(entry.description)
        super().__call__(console, options, panel)

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        """Print what a command does."""
        _flow(description)
        super().render_description(console, options, description)


def flowing(text: str) -> str:
    """Return text whose paragraphs are one line each, unless lines in them are indented."""
    parts = re.split(r"(\n\n+)", text)
    return "".join(part if re.search(r"\n\s", part) else re.sub(r"(?<=\S)\n(?=\S)", " ", part) for part in parts)


def _flow(description: Any) -> None:
    if isinstance(description, InlineText) and isinstance(description.primary_renderable, Text):
        description.primary_renderable.plain = flowing(description.primary_renderable.plain)
