"""Training of a matched filter: first to remove noise, then by contrast, the true relative rotation against wrong ones.

What noise looks like and what structures do is learned best from the noise-free volumes, which simulation has: every
voxel of every particle tells something, where a pair tells one choice among rotations. Contrast then makes of it what a
search needs.

Two particles of one structure in known orientations, with noise, wedge and CTF of their own, are cleaned and scored at
the true rotation between them, at rotations close to it, and at random ones of which the hardest are kept: those that
the search itself, as it is at that step, prefers. The loss is the cross entropy of the true one, each rotation taken
with all its shifts. A structure is new in every step, and so is the noise, so that only what sets any structure apart
from any noise can be learned.
"""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gumnet.alignment.spectrum import as_complex
from gumnet.geometry.fourier import to_fourier
from gumnet.geometry.so3 import angular_distance_degrees, random_rotations, rotation_from_vector
from gumnet.io.atomic import claim_folder, write_whole
from gumnet.model.matched_filter import MatchedFilter, save_filter
from gumnet.model.weights import check_tensors, read_tensors, write_tensors
from gumnet.progress import progress
from gumnet.training.checkpoint import CHECKPOINT, METRICS, MODEL, check_run, write_run
from gumnet.training.contrast_config import ContrastConfig
from gumnet.training.contrast_data import Views, ViewSource
from gumnet.training.contrast_score import Cleaned, Pairs, log_likelihoods, read, search_weights, shift_waves
from gumnet.training.contrast_structures import training_structures
from gumnet.training.data import stream
from gumnet.types import Rotations, Volumes

_BOX = 32
_TINY = 1e-30
_RECORD_EVERY = 20
_MICROSCOPES, _START, _STEP = range(10, 13)
_NETWORK, _AVERAGED, _OPTIMISER = "network.", "averaged.", "optimiser."


def clean(model: MatchedFilter, views: Views, config: ContrastConfig) -> Cleaned:
    """Return the views as the filter leaves them."""
    with torch.autocast("cpu", torch.bfloat16, enabled=config.half_precision):
        return Cleaned.of(model, views.volumes, views.transfer)


def denoising_loss(cleaned: Cleaned, views: Views) -> Tensor:
    """Return 1 less the correlation of cleaned volumes with their noise-free ones, weighted as the search does.

    The scale of a volume means nothing to a search, so it means nothing here: an error in squares would have the filter
    damp whatever is mostly noise, all of a volume at the ratios that matter.
    """
    band = cleaned.band
    truth = band.take(to_fourier(views.clean))
    weights = search_weights(cleaned.power, cleaned.power, band.box)[:, band.shell]
    product = (weights * (cleaned.values * truth.conj()).real).sum(-1)
    norm = (weights * cleaned.values.abs().square()).sum(-1) * (weights * truth.abs().square()).sum(-1)
    return (1 - product * norm.clamp_min(_TINY).rsqrt()).mean()


def contrast_loss(
    model: MatchedFilter, cleaned: Cleaned, views: Views, config: ContrastConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the cross entropy of the true rotations of all pairs of views, a scalar, and how often they win, (p,).

    Parameters
    ----------
    cleaned
        The views after the filter ``model``, see `clean`.
    views
        Whole groups of ``config.views``.
    """
    n, v = len(views.volumes), config.views
    waves = shift_waves(cleaned.band, config.largest_shift * cleaned.band.box)
    reference, particle = _pairs(n, v)
    pairs = Pairs.of(model, cleaned, reference, particle)
    truth = views.rotations[particle] @ views.rotations[reference].mT

    wrong = random_rotations(n * config.mined, generator=generator, dtype=torch.float32).view(n, config.mined, 3, 3)
    with torch.no_grad():
        coarse = waves.to(torch.bfloat16) if config.half_precision else waves
        found = torch.cat([_mine(cleaned, pairs, wrong, coarse, group, v) for group in range(n // v)])
        close = angular_distance_degrees(wrong[reference], truth[:, None]) < config.near_degrees[0]
        found = found.masked_fill(close, -math.inf)
        kept = found.topk(config.hard, dim=1).indices
        rest = found.scatter(1, kept, -math.inf).logsumexp(dim=1, keepdim=True)
    jitter = _turns(len(truth), 1, (0.0, config.jitter_degrees), generator)
    near = _turns(len(truth), config.near, config.near_degrees, generator)
    hard = wrong[reference[:, None], kept]
    rotations = torch.cat([truth[:, None] @ jitter, truth[:, None] @ near, hard], dim=1)
    # The pairs of one reference are read together: a read copies the gradient of the whole spectrum.
    values, transfer = read(cleaned, rotations.view(n, -1, 3, 3))
    shape = (len(truth), rotations.shape[1], values.shape[-1])
    logits = log_likelihoods(cleaned, pairs, values.reshape(shape), transfer.reshape(shape), waves)
    whole = torch.cat([logits, rest], dim=1)
    loss = (whole.logsumexp(dim=1) - whole[:, 0]).mean()
    return loss, (logits[:, 0] >= logits.amax(dim=1)).float().detach()


def train_matched(
    config: ContrastConfig,
    out: str | Path,
    *,
    structures: Volumes | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> MatchedFilter:
    """Train a matched filter on simulated particles, and return the running average of its weights.

    ``out`` gets run.json, metrics.jsonl (one JSON object every few steps), checkpoint.safetensors and, with every
    checkpoint, model.safetensors, the averaged filter. One seed gives one result, interrupted and resumed or not.

    Parameters
    ----------
    structures
        To train on, (k, N, N, N); those of `gumnet.training.contrast_structures` unless given.
    resume
        Go on after the last checkpoint of the run in ``out``.
    overwrite
        Start anew in a folder that holds something already.
    """
    folder = Path(out)
    run = {**asdict(config), "given_structures": 0 if structures is None else len(structures)}
    if resume:
        check_run(folder, run)
    else:
        folder = claim_folder(folder, overwrite=overwrite)
        write_run(folder, run)
    if structures is None:
        structures = training_structures(config.structures, _BOX, config.structure_seed)
    source = ViewSource(
        structures,
        config.network.grid,
        microscopes=config.microscopes,
        snr=config.snr,
        generator=stream(config.seed, _MICROSCOPES),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(config.seed, _START).initial_seed())
        model = MatchedFilter(config.network)
        averaged = copy.deepcopy(model)
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate, betas=(0.9, 0.99))
    start = _load(folder, model, averaged, optimiser) if resume else 0
    begun = time.perf_counter()
    losses: list[dict[str, float]] = []
    with progress("training", config.steps) as display, (folder / METRICS).open("a", encoding="utf-8") as log:
        display.advance(start)
        for step in range(start, config.steps):
            generator = stream(config.seed, _STEP, step)
            first = step < config.denoising_steps
            # Noise is learned best from as many structures as a step can hold.
            shape = (config.groups * config.views, 1) if first else (config.groups, config.views)
            views = source.draw(*shape, generator)
            cleaned = clean(model, views, config)
            denoising = denoising_loss(cleaned, views)
            optimiser.zero_grad(set_to_none=True)
            if first:
                torch.autograd.backward(denoising)
                losses.append({"denoising": float(denoising.detach())})
            else:
                contrast, won = contrast_loss(model, cleaned, views, config, generator)
                torch.autograd.backward(contrast + config.denoising * denoising)
                losses.append(
                    {
                        "denoising": float(denoising.detach()),
                        "contrast": float(contrast.detach()),
                        "right": float(won.mean()),
                    }
                )
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, config)
            optimiser.step()
            _average(averaged, model, step)
            display.advance(1)
            last = step + 1 in (config.denoising_steps, config.steps)
            if (step + 1) % _RECORD_EVERY == 0 or last:
                means = {key: sum(entry[key] for entry in losses) / len(losses) for key in losses[-1]}
                record = {"step": step + 1, **means, "seconds": round(time.perf_counter() - begun, 1)}
                log.write(json.dumps(record) + "\n")
                log.flush()
                losses = []
            if (step + 1) % config.save_every == 0 or last:
                _save(folder, model, averaged, optimiser, step + 1)
    return averaged.eval()


def learning_rate(step: int, config: ContrastConfig) -> float:
    """Return the step size of one step, counted from 0; both parts of the training rise and fall by themselves."""
    done, steps = 0, min(config.denoising_steps, config.steps)
    if step >= config.denoising_steps:
        done, steps = config.denoising_steps, config.steps - config.denoising_steps
    rising = max(1, round(config.warmup * steps))
    if step - done < rising:
        return config.learning_rate * (step - done + 1) / rising
    through = (step - done - rising) / max(1, steps - rising)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * through))


def _pairs(n: int, views: int) -> tuple[Tensor, Tensor]:
    """Return rows of reference and particle, each (n (v - 1) / 2,): all pairs of each group, once, by reference.

    Views sit in a ring, and each is the reference of the next (v - 1) / 2: every one of as many as any other.
    """
    ahead = (views - 1) // 2
    reference = torch.arange(n).repeat_interleave(ahead)
    place = reference % views
    return reference, reference - place + (place + torch.arange(1, ahead + 1).repeat(n)) % views


def _mine(cleaned: Cleaned, pairs: Pairs, wrong: Rotations, waves: Tensor, group: int, views: int) -> Tensor:
    """Return the log likelihoods (v (v - 1) / 2, r) of the pairs of one group at its references' wrong rotations."""
    rows = slice(group * views, (group + 1) * views)
    values, transfer = cleaned.turned[rows].read(wrong[rows], cleaned.band)
    assert transfer is not None
    mine = pairs[rows.start * (views - 1) // 2 : rows.stop * (views - 1) // 2]
    at = mine.reference - rows.start
    return log_likelihoods(cleaned, mine, as_complex(values)[at], transfer[at], waves)


def _turns(n: int, count: int, degrees: tuple[float, float], generator: torch.Generator) -> Rotations:
    """Return rotations (n, count, 3, 3) about random axes by angles between two limits."""
    axes = torch.nn.functional.normalize(torch.randn(n, count, 3, generator=generator), dim=-1)
    angles = degrees[0] + (degrees[1] - degrees[0]) * torch.rand(n, count, 1, generator=generator)
    return rotation_from_vector(axes * torch.deg2rad(angles))


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
