"""Weights that ship with the package, each with a model card beside it."""

from __future__ import annotations

from pathlib import Path

MATCHED = "matched"
"""The learned matched filter, see ``matched.md``."""
GUMNET = "gumnet"
"""The Gum-Net of method "gumnet", see ``gumnet.md``."""


def shipped_weights(name: str) -> Path:
    """Return the file of weights that ship under a name."""
    return Path(__file__).parent / f"{name}.safetensors"
