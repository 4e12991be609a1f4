"""The versions that a result depends on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version


def versions() -> dict[str, str]:
    """Return the versions of what a result depends on, and the kind of machine, for reports."""
    return {
        "gumnet": version("gumnet"),
        "torch": version("torch"),
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
