"""Training of a matched filter: first to remove noise, then by contrast.

What noise looks like and what structures do is learned best from the noise-free volumes, which simulation has: every
voxel of every particle tells something, where a pair tells one choice among rotations. Contrast then makes of it what a
search needs.

A structure is new in every step, and so is the noise, so that only what sets any structure apart from any noise can be
learned.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gumnet.fingerprint import of_tensors
from gumnet.io.atomic import claim_folder, write_whole
from gumnet.model.matched_filter import MatchedFilter, save_filter
from gumnet.model.weights import check_tensors, read_tensors, write_tensors
from gumnet.progress import progress
from gumnet.training.board import board, check_board
from gumnet.training.checkpoint import CHECKPOINT, METRICS, MODEL, check_run, write_run
from gumnet.training.contrast import clean, contest, denoising_loss
from gumnet.training.contrast_config import ContrastConfig
from gumnet.training.contrast_data import ViewSource
from gumnet.training.contrast_judge import Judged, from_contest, from_search, judge_loss
from gumnet.training.contrast_structures import training_structures
from gumnet.training.data import stream
from gumnet.types import Volumes

_BOX = 32
_RECORD_EVERY = 20
_MICROSCOPES, _START, _STEP = range(10, 13)
_NETWORK, _AVERAGED, _OPTIMISER = "network.", "averaged.", "optimiser."


@dataclass(frozen=True)
class Lesson:
    """What a filter did at one step.

    Parameters
    ----------
    denoising
        How far its volumes are from those without noise, a scalar; see `gumnet.training.contrast.denoising_loss`.
    contrast, won
        Cross entropy (p,) of the true among wrong candidates, and whether it won; None where noise alone was learned.
    judged
        What the judge did; None for a filter without one.
    """

    denoising: Tensor
    contrast: Tensor | None = None
    won: Tensor | None = None
    judged: Judged | None = None


Teach = Callable[[MatchedFilter, torch.Generator, bool], Lesson]
"""Gives the lesson of a step: of a filter, with random numbers, about noise alone or not."""


def train_matched(
    config: ContrastConfig,
    out: str | Path,
    *,
    structures: Volumes | None = None,
    init: MatchedFilter | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: torch.device | str = "cpu",
    tensorboard: bool = False,
) -> MatchedFilter:
    """Train a matched filter on simulated particles, and return the running average of its weights.

    ``out`` gets run.json, metrics.jsonl (one JSON object every few steps), checkpoint.safetensors and, with every
    checkpoint, model.safetensors, the averaged filter. One seed gives one result, interrupted and resumed or not.

    Parameters
    ----------
    structures
        To train on, (k, N, N, N); those of `gumnet.training.contrast_structures` unless given.
    init
        To start from; it is not changed. Unless given, a filter that changes nothing.
    resume
        Go on after the last checkpoint of the run in ``out``.
    overwrite
        Start anew in a folder that holds something already.
    device
        Where to train; the filter that is returned is on the CPU.
    tensorboard
        Write the metrics for TensorBoard too, to ``out``/tensorboard.
    """
    check_board(tensorboard)
    run = {
        **asdict(config),
        "given_structures": 0 if structures is None else len(structures),
        "started_from": None if init is None else of_tensors(init.state_dict().values()),
    }
    folder = open_run(out, run, resume=resume, overwrite=overwrite)
    if structures is None:
        # A run of a few steps sees a few of them, and each takes half a second to draw.
        count = min(config.structures, 2 * config.steps * config.groups)
        structures = training_structures(count, _BOX, config.structure_seed)
    source = ViewSource(
        structures,
        config.network.grid,
        microscopes=config.microscopes,
        snr=config.snr,
        generator=stream(config.seed, _MICROSCOPES),
        device=device,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(config.seed, _START).initial_seed())
        model = MatchedFilter(config.network) if init is None else copy.deepcopy(init)

    def teach(model: MatchedFilter, generator: torch.Generator, noise_alone: bool) -> Lesson:
        # Noise is learned best from as many structures as a step can hold.
        shape = (config.groups * config.views, 1) if noise_alone else (config.groups, config.views)
        views = source.draw(*shape, generator)
        cleaned = clean(model, views, config)
        denoising = denoising_loss(cleaned, views)
        if noise_alone:
            return Lesson(denoising)
        found = contest(model, cleaned, views, config, generator)
        if model.judge is None:
            return Lesson(denoising, *found.losses())
        if config.judged_on == "search":
            poses = from_search(model, cleaned, views, config, found, generator)
        else:
            poses = from_contest(found, cleaned, views, config)
        return Lesson(denoising, *found.losses(), judge_loss(model, cleaned, views, config, poses))

    return fit(model.to(device), teach, config, folder, resume=resume, tensorboard=tensorboard)


def open_run(out: str | Path, run: dict[str, Any], *, resume: bool, overwrite: bool) -> Path:
    """Return the folder of a run that starts, or that goes on with the same description."""
    if resume:
        check_run(Path(out), run)
        return Path(out)
    folder = claim_folder(out, overwrite=overwrite)
    write_run(folder, run)
    return folder


def fit(
    model: MatchedFilter,
    teach: Teach,
    config: ContrastConfig,
    folder: Path,
    *,
    resume: bool,
    tensorboard: bool = False,
) -> MatchedFilter:
    """Train a filter, and return the running average of its weights; see `train_matched` for the files."""
    averaged = copy.deepcopy(model)
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate, betas=(0.9, 0.99))
    start = _load(folder, model, averaged, optimiser) if resume else 0
    device = next(model.parameters()).device
    begun, done = time.perf_counter(), start
    losses: list[dict[str, Tensor]] = []
    with (
        progress("training", config.steps) as display,
        (folder / METRICS).open("a", encoding="utf-8") as log,
        board(folder, wanted=tensorboard) as scalars,
    ):
        display.advance(start)
        for step in range(start, config.steps):
            spent = 0.0 if config.minutes is None else (time.perf_counter() - begun) / (60 * config.minutes)
            if spent >= 1:
                break
            at = max(float(step), spent * config.steps)
            drawn = stream(config.seed, _STEP, step, device)
            lesson = teach(model, drawn, at < config.noise_steps)
            # Kept as tensors: to read one waits for the GPU.
            entry = {"denoising": lesson.denoising.detach()}
            loss = lesson.denoising
            if lesson.contrast is not None and lesson.won is not None:
                loss = lesson.contrast.mean() + config.denoising * lesson.denoising
                entry |= {"contrast": lesson.contrast.mean().detach(), "right": lesson.won.mean()}
            if lesson.judged is not None:
                loss = loss + lesson.judged.loss
                entry |= {"judged": lesson.judged.loss.detach(), "judged_right": lesson.judged.right}
                entry |= {"judged_found": lesson.judged.found}
            losses.append(entry)
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(at, config)
            optimiser.step()
            _average(averaged, model, step)
            display.advance(1)
            done = step + 1
            last = step + 1 in (config.noise_steps, config.steps)
            if (step + 1) % _RECORD_EVERY == 0 or last:
                every = {key: [entry[key] for entry in losses if key in entry] for key in losses[-1]}
                means = {key: float(torch.stack(values).mean()) for key, values in every.items()}
                record = {"step": step + 1, **means, "seconds": round(time.perf_counter() - begun, 1)}
                log.write(json.dumps(record) + "\n")
                log.flush()
                scalars.add(record)
                losses = []
            if (step + 1) % config.save_every == 0 or last:
                _save(folder, model, averaged, optimiser, step + 1)
        if done < config.steps:
            _save(folder, model, averaged, optimiser, done)
    return averaged.cpu().eval()


def learning_rate(step: float, config: ContrastConfig) -> float:
    """Return the step size of one step, counted from 0; both parts of the training rise and fall by themselves.

    Parameters
    ----------
    step
        With a limit of time, the step that the run would be at were it as far through its steps as through its time.
    """
    done, steps = 0, min(config.noise_steps, config.steps)
    if step >= config.noise_steps:
        done, steps = config.noise_steps, config.steps - config.noise_steps
    rising = max(1, round(config.warmup * steps))
    if step - done < rising:
        return config.learning_rate * (step - done + 1) / rising
    through = (step - done - rising) / max(1, steps - rising)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * through))


@torch.no_grad()
def _average(averaged: MatchedFilter, model: MatchedFilter, step: int) -> None:
    """Move the running average of the weights, over the last 200 steps or a tenth of all, towards those of a step."""
    keep = min(1 - 1 / 200, 1 - 10 / (10 + step))
    for mean, now in zip(averaged.parameters(), model.parameters(), strict=True):
        mean.lerp_(now, 1 - keep)


def _save(
    folder: Path, model: MatchedFilter, averaged: MatchedFilter, optimiser: torch.optim.Optimizer, step: int
) -> None:
    tensors = {_NETWORK + name: tensor for name, tensor in model.state_dict().items()}
    tensors |= {_AVERAGED + name: tensor for name, tensor in averaged.state_dict().items()}
    for index, entry in optimiser.state_dict()["state"].items():
        tensors |= {f"{_OPTIMISER}{index}.{key}": tensor for key, tensor in entry.items()}
    with write_whole(folder / CHECKPOINT, overwrite=True) as temporary:
        write_tensors(temporary, tensors, {"step": str(step)})
    save_filter(folder / MODEL, averaged, overwrite=True)


def _load(folder: Path, model: MatchedFilter, averaged: MatchedFilter, optimiser: torch.optim.Optimizer) -> int:
    """Fill models and optimiser from the last checkpoint, if there is one, and return the steps done."""
    path = folder / CHECKPOINT
    if not path.exists():
        return 0
    tensors, header = read_tensors(path)
    for prefix, filled in ((_NETWORK, model), (_AVERAGED, averaged)):
        stored = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
        check_tensors(stored, filled.state_dict(), path)
        filled.load_state_dict(stored)
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        if name.startswith(_OPTIMISER):
            index, key = name.removeprefix(_OPTIMISER).split(".")
            state.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return int(header["step"])
