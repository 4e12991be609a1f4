"""What all tests share: the folder of shared data, seeds, one thread a worker."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data that lies beside the project on some machines only."""
    root = Path(os.environ.get("GUMNET_SHARED", Path(__file__).parents[2] / "shared"))
    data = root / "data"
    if not data.is_dir():
        pytest.skip("the shared data is not here: set GUMNET_SHARED to the folder that holds it")
    return data


@pytest.fixture
def generator() -> torch.Generator:
    """Return a random generator that starts anew for every test."""
    return torch.Generator().manual_seed(20261122)
