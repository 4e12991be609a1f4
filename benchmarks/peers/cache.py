"""What peers found before, so that a rerun reads it: their code does not change, and equal volumes have equal keys."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gumnet.benchmark.machine import cpu_name
from gumnet.benchmark.seconds import Seconds
from gumnet.particles import Poses


class Cache:
    """Poses and their cost by key, in a file of one JSON object a line that grows.

    Parameters
    ----------
    path
        The file; None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._found: dict[str, dict[str, Any]] = {}
        self.hits = 0
        """How many poses were read instead of computed."""
        if path is not None and path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            self._found = {entry["key"]: entry for entry in map(json.loads, lines)}

    def get(self, key: str) -> tuple[Poses, Seconds] | None:
        """Return one pose and what it cost, or None where it is not known."""
        if key not in self._found:
            return None
        self.hits += 1
        entry = self._found[key]
        parts = (torch.tensor([entry[name]], dtype=torch.float64) for name in ("rotation", "shift", "score"))
        return Poses(*parts), Seconds(**entry["seconds"])

    def put(self, key: str, pose: Poses, seconds: Seconds) -> None:
        """Keep one pose and what it cost."""
        if self._path is None:
            return
        entry = {
            "key": key,
            "rotation": pose.rotations[0].tolist(),
            "shift": pose.shifts[0].tolist(),
            "score": float(pose.scores[0]),
            "seconds": asdict(seconds),
        }
        self._found[key] = entry
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def key_of(settings: str, arguments: dict[str, Any], tensors: list[Tensor | None]) -> str:
    """Return the key of a run: program and settings, arguments, the bytes of its volumes, and the processor."""
    digest = hashlib.sha256(json.dumps([settings, arguments, cpu_name()], sort_keys=True).encode())
    for tensor in tensors:
        digest.update(b"none" if tensor is None else tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]
