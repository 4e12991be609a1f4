"""The notebook runs from its first cell to its last, on few particles, and is committed without what a run leaves."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import matplotlib
import pytest

DOCS = Path(__file__).parents[1] / "docs"
NOTEBOOK = json.loads((DOCS / "notebook.ipynb").read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
QUICK = {"count": 6, "snr": 10.0, "box": 16, "voxel_size": 20.0, "iterations": 1}


def test_it_runs_and_finds_the_structure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plots = matplotlib.get_backend()
    matplotlib.use("Agg")
    names: dict[str, Any] = {}
    try:
        for cell in CODE:
            exec("".join(cell["source"]), names)
            if "parameters" in cell["metadata"].get("tags", []):
                assert names.keys() >= QUICK.keys()
                names |= QUICK
    finally:
        names["plt"].close("all")
        matplotlib.use(plots)
    assert names["count"] == len(names["result"].particles) == 6
    assert names["report"].is_file()
    assert float(names["errors"].degrees.median()) < 10, "measured 1.8"
    assert len(names["gumnet"].read_particles(tmp_path / "notebook-output" / "sure.star")) == len(names["sure"]) > 3


def test_it_holds_no_outputs_and_no_counts() -> None:
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CODE)
    assert set(NOTEBOOK["metadata"]) == {"kernelspec", "language_info"}
    ids = [cell["id"] for cell in NOTEBOOK["cells"]]
    assert len(set(ids)) == len(ids)


def test_its_page_shows_every_cell_once() -> None:
    spec = importlib.util.spec_from_file_location("hook", DOCS / "hooks" / "notebook.py")
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    page = (DOCS / "notebook.md").read_text(encoding="utf-8")
    shown = hook.on_page_markdown(page, config=type("Config", (), {"docs_dir": str(DOCS)}))
    assert "<!--" not in shown
    assert shown.count("\n# ") == 0, "the page has its own heading"
    for cell in NOTEBOOK["cells"][1:]:
        text = "".join(cell["source"])
        fenced = f"```python\n{text}\n```" if cell["cell_type"] == "code" else text
        assert shown.count(fenced) == 1
