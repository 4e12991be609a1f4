"""Records of results: what was measured, when, on what, of which code and by which command."""

from __future__ import annotations

import csv
import json
import math
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gumnet.benchmark.machine import hardware
from gumnet.errors import InputError
from gumnet.io.atomic import write_whole

FORMAT = "gumnet-benchmark-1"
"""Marks our files, and the meaning of their fields."""


def commit() -> str | None:
    """Return the commit of the code that runs, marked where the tree differs from it; None if it is in no git tree."""
    here = Path(__file__).resolve()
    try:
        top = Path(_git(here.parent, "rev-parse", "--show-toplevel"))
        # An installed package may lie in the tree of another project, whose commits say nothing of it.
        if not here.is_relative_to(top.resolve() / "src" / "gumnet"):
            return None
        return _git(here.parent, "describe", "--always", "--dirty")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def provenance(command: str) -> dict[str, Any]:
    """Return date, commit, version, hardware and command of a run that begins now, before its code can change."""
    from gumnet import __version__

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "version": __version__,
        "hardware": hardware(),
        "command": command,
    }


def provenance_words(record: Mapping[str, Any]) -> str:
    """Return in one sentence when and on what the figures of a record were measured; what it does not hold is said."""
    machine = record.get("hardware") or {}
    parts = [str(record.get("date", "no date"))[:10], _machine_words(machine)]
    made_by = record.get("commit")
    parts.append(f"commit {made_by}" if made_by else "commit not recorded")
    if record.get("command"):
        parts.append(f"`{record['command']}`")
    else:
        parts.append("command not recorded, its options are in the file")
    return "; ".join(parts)


def _machine_words(machine: Mapping[str, Any]) -> str:
    words = [f"{machine.get('cores', '?')} cores of {machine.get('cpu') or 'an unknown processor'}"]
    if machine.get("gpu"):
        words.append(str(machine["gpu"]))
    if "threads" in machine:
        words.append(f"{machine['threads']} thread{'s' * (machine['threads'] != 1)}")
    if "load" in machine:
        words.append(f"load {machine['load']:.1f}")
    return ", ".join(words)


def write_record(path: Path, record: Mapping[str, Any], *, overwrite: bool = False) -> None:
    """Write a record as JSON, on one line; numbers that are not finite become null, which JSON has."""
    text = json.dumps({"format": FORMAT, **_finite(record)}, allow_nan=False)
    with write_whole(path, overwrite=overwrite) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_record(path: Path) -> dict[str, Any]:
    """Return a record that a benchmark wrote.

    Raises
    ------
    InputError
        If the file is missing, or holds no such record.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", cure="check the name", path=path) from None
    except ValueError:
        raise InputError("is not JSON", cure="give a file that a benchmark wrote", path=path) from None
    if not isinstance(record, dict) or "date" not in record or "hardware" not in record:
        raise InputError("is no record of a benchmark", cure="give a file that a benchmark wrote", path=path)
    return record


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], *, overwrite: bool = False) -> None:
    """Write rows under the names of all their columns, in the order in which they first appear."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with write_whole(path, overwrite=overwrite) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
