"""The files of a training run: what it needs to resume, the best weights, and its record of losses.

A run's folder holds
    run.json                 the configuration, to tell whether a run that resumes is the same run
    checkpoint.safetensors   weights and the state of the optimiser after the last whole epoch
    model.safetensors        the best weights by validation, for `gumnet align`
    metrics.jsonl            one JSON object a line, for every step and every epoch
No file is a pickle, so none can run code when it is opened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.io.atomic import remove_leftovers, write_whole
from gumnet.model.gumnet import GumNet
from gumnet.model.weights import check_tensors, config_to_json, read_tensors, write_tensors
from gumnet.training.config import TrainConfig

RUN, CHECKPOINT, MODEL, METRICS = "run.json", "checkpoint.safetensors", "model.safetensors", "metrics.jsonl"

# How far a run goes, and what it runs on, may change when it resumes.
_MAY_CHANGE = ("epochs", "device", "cache_gigabytes")
_NETWORK, _OPTIMISER = "network.", "optimiser."


def describe_run(config: TrainConfig, model: GumNet, particles: int) -> dict[str, Any]:
    """Return what makes a run the one it is, ready for JSON."""
    network = json.loads(config_to_json(model.config))
    return {**asdict(config), "network": network, "particles": particles}


def write_run(folder: Path, run: Mapping[str, Any]) -> None:
    """Write the description of a run that starts, and clear the results of one that was there."""
    for name in (CHECKPOINT, MODEL, METRICS):
        (folder / name).unlink(missing_ok=True)
    with write_whole(folder / RUN, overwrite=True) as temporary:
        temporary.write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")


def remove_leftovers_of_run(folder: Path) -> None:
    """Remove what runs that were killed left half-written."""
    for name in (RUN, CHECKPOINT, MODEL, METRICS):
        remove_leftovers(folder / name)


def check_run(folder: Path, run: Mapping[str, Any]) -> None:
    """Raise `InputError` unless ``folder`` holds a run with the same description."""
    path = folder / RUN
    if not path.is_file():
        raise InputError(
            "there is no run to resume here", cure="name the folder of a run, or leave --resume out", path=folder
        )
    try:
        before: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError("cannot be read as JSON", cure="start anew with --overwrite", path=path) from None
    now = json.loads(json.dumps(run))
    for name in now:
        if name not in _MAY_CHANGE and now[name] != before.get(name):
            raise InputError(
                f"the run was started with {name} {before.get(name)}, not {now[name]}",
                cure="resume with the same settings, or train into another folder with --init model.safetensors",
                path=path,
            )


def save_checkpoint(folder: Path, model: GumNet, optimiser: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Write weights, optimiser and ``state`` (plain numbers) so that a crash leaves the old file or the new one."""
    tensors = {_NETWORK + name: tensor for name, tensor in model.state_dict().items()}
    tensors |= _optimiser_tensors(optimiser)
    header = {"network": config_to_json(model.config), "state": json.dumps(dict(state))}
    with write_whole(folder / CHECKPOINT, overwrite=True) as temporary:
        write_tensors(temporary, tensors, header)


def load_checkpoint(folder: Path, model: GumNet, optimiser: torch.optim.Optimizer) -> dict[str, Any] | None:
    """Fill ``model`` and ``optimiser`` and return the state, or None if no epoch was completed yet."""
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    tensors, header = read_tensors(path)
    stored = {name.removeprefix(_NETWORK): t for name, t in tensors.items() if name.startswith(_NETWORK)}
    check_tensors(stored, model.state_dict(), path)
    model.load_state_dict(stored)
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(_OPTIMISER):
            index, key = name.removeprefix(_OPTIMISER).split(".", 1)
            moments.setdefault(int(index), {})[key] = tensor
    # The groups hold settings alone, and these come from the configuration.
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    state: dict[str, Any] = json.loads(header["state"])
    return state


def cut_metrics(folder: Path, epochs_done: int) -> None:
    """Drop the lines of an epoch that was not completed: resuming writes them again."""
    path = folder / METRICS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            break  # The line on which the run died.
        if record["epoch"] < epochs_done:
            kept.append(line + "\n")
    with write_whole(path, overwrite=True) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8")


def _optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the moments of the optimiser under the names of a checkpoint."""
    state: dict[int, dict[str, Tensor]] = optimiser.state_dict()["state"]
    return {f"{_OPTIMISER}{index}.{key}": tensor for index, entry in state.items() for key, tensor in entry.items()}
