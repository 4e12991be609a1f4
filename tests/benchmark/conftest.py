"""One structure for all tests of the benchmarks: to make a phantom takes a second."""

from __future__ import annotations

import pytest
import torch

from gumnet.benchmark.level import BOX
from gumnet.simulation.phantom import phantom


@pytest.fixture(scope="session")
def structure() -> torch.Tensor:
    return phantom(0, BOX)
