"""Puts the cells of a notebook into the page that asks for them, so that the site needs no notebook software.

In a page, a line ``<!-- cells of notebook.ipynb -->`` becomes the cells of that file of docs/: text as it is, code in
fences. Headings go on below the page's own.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ASKS = re.compile(r"^<!-- cells of ([\w-]+\.ipynb) -->$", re.MULTILINE)


def cells(path: Path) -> str:
    """Return the cells of a notebook as Markdown, less its first heading, which is that of the page."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return re.sub(r"\A# .*\n", "", "\n\n".join(parts))


def on_page_markdown(markdown: str, /, config: Any, **_: object) -> str:
    """Fill a page; mkdocs calls this for each."""
    return ASKS.sub(lambda found: cells(Path(config.docs_dir) / found[1]), markdown)
