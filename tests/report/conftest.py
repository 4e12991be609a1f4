from __future__ import annotations

from pathlib import Path

import pytest
import torch
from oracles.averages import classed_average

import gumnet


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[gumnet.Average, Path]:
    """An average of two classes and the folder that Python wrote of it, to be looked at and not changed."""
    made = classed_average(torch.Generator().manual_seed(3))
    folder = tmp_path_factory.mktemp("average") / "out"
    report = gumnet.write_average(folder, made, lead="Thirty-six <phantoms>.")
    assert report == folder / "report.html"
    return made, folder
