"""The benchmarks are scripts that import each other from their own folder."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="package")
def benchmarks():
    """Put the folder of the benchmarks on the path for these tests, and forget its modules after them."""
    before = set(sys.modules)
    sys.path.insert(0, str(HERE))
    yield HERE
    sys.path.remove(str(HERE))
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(HERE)):
            del sys.modules[name]
