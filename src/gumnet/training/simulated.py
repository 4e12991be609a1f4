"""Training of the network that regresses poses on simulated pairs, made anew for every step on the device.

Every pair is of another structure, or of the same in another view, with noise, wedge and CTF of each side its own
(`gumnet.training.contrast_data`), so nothing has to be read or kept. The true pose is known because it is simulated:
that truth enters pre-training here, with a weight that may be 0; no truth of real data ever does. Noise grows as the
training goes, from nearly none: a network that has not learned what a rotation is learns nothing of noisy pairs.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from gumnet.devices import fast_bfloat16
from gumnet.errors import InputError
from gumnet.io.atomic import claim_folder
from gumnet.model.consistency import consistency_loss, inverse_poses
from gumnet.model.gumnet import PRESETS, GumNet, GumNetConfig
from gumnet.model.loss import alignment_loss
from gumnet.model.weights import save_model
from gumnet.progress import progress
from gumnet.training.checkpoint import METRICS, MODEL, write_run
from gumnet.training.config import rising
from gumnet.training.contrast_data import Views, ViewSource
from gumnet.training.contrast_structures import training_structures
from gumnet.training.data import Batch, stream
from gumnet.types import Volumes

_MICROSCOPES, _START, _STEP = range(20, 23)
_CLEAN = 30.0
"""Signal-to-noise ratio that a curriculum begins with."""
_CARRIED_MIB = 12
"""Weights of small networks are stored in half precision, 11 MiB; those of "paper" are not meant to be carried."""


@dataclass(frozen=True)
class SimulatedConfig:
    """A training run on simulated pairs.

    Parameters
    ----------
    network
        The architecture; its box is that of the pairs.
    steps, pairs
        Steps in all, and pairs in each.
    learning_rate, warmup
        Largest step size of Adam, and the share of the steps until it is reached; it falls to 0 along a cosine.
    correlation, bands
        Weight of the correlation loss, without labels, and its bands as in `gumnet.training.config.TrainConfig`.
    consistency
        Weight of how far both directions are from being inverse; above 0 both are trained.
    truth
        Weight of how far poses are from the true ones, in the same measure.
    snr
        Lowest and highest signal-to-noise ratio at the end.
    curriculum
        Share of the steps in which the lowest ratio falls to that, evenly in its logarithm; 0 for none.
    structures, structure_seed, microscopes
        As in `gumnet.training.contrast_config.ContrastConfig`.
    half_precision
        Whether the network runs in bfloat16, where the machine is fast at it.
    minutes
        Time after which a run ends, whatever steps are left; step size and noise then follow the time.
    record_every
        Steps between lines of metrics.jsonl.
    seed
        Of everything that is drawn.
    """

    network: GumNetConfig = field(default_factory=lambda: PRESETS["small"])
    steps: int = 20_000
    pairs: int = 128
    learning_rate: float = 1e-3
    warmup: float = 0.02
    correlation: float = 1.0
    bands: tuple[float, ...] = (0.25, 0.5, 1.0)
    consistency: float = 0.3
    truth: float = 3.0
    snr: tuple[float, float] = (0.03, 0.3)
    curriculum: float = 0.5
    structures: int = 896
    structure_seed: int = 10_000
    microscopes: int = 512
    half_precision: bool = True
    minutes: float | None = None
    record_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"steps": 1, "pairs": 2, "correlation": 0, "consistency": 0, "truth": 0, "structures": 1}
        least |= {"microscopes": 1, "record_every": 1, "seed": 0}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise InputError(f"{name} is {getattr(self, name)}", cure=f"give {minimum} or more")
        possible = {
            "correlation": (self.correlation + self.truth > 0, "give it or truth a weight: consistency alone is idle"),
            "bands": (rising(self.bands), "give rising numbers above 0, up to 1"),
            "snr": (0 < self.snr[0] <= self.snr[1], "give two numbers above 0, the lower first"),
            "curriculum": (0 <= self.curriculum <= 1, "give a share from 0 to 1"),
            "minutes": (self.minutes is None or self.minutes > 0, "give minutes above 0, or leave them out"),
        }
        for name, (fits, cure) in possible.items():
            if not fits:
                raise InputError(f"{name} is {getattr(self, name)}", cure=cure)


def train_simulated(
    config: SimulatedConfig,
    out: str | Path,
    *,
    structures: Volumes | None = None,
    overwrite: bool = False,
    device: torch.device | str = "cpu",
) -> GumNet:
    """Train a network on simulated pairs, and return it, on the CPU and in evaluation mode.

    ``out`` gets run.json, metrics.jsonl and, at the end, model.safetensors. Without ``minutes`` one seed gives one
    result. A run that is stopped cannot be resumed.

    Parameters
    ----------
    structures
        To train on, (k, N, N, N); those of `gumnet.training.contrast_structures` unless given.
    """
    folder, box = claim_folder(out, overwrite=overwrite), config.network.box
    write_run(folder, asdict(config))
    if structures is None:
        # A run of a few steps sees a few of them.
        count = min(config.structures, 2 * config.steps * config.pairs)
        structures = training_structures(count, box, config.structure_seed)
    source = ViewSource(
        structures,
        box,
        microscopes=config.microscopes,
        snr=config.snr,
        generator=stream(config.seed, _MICROSCOPES),
        device=device,
    )
    network = GumNet(config.network, generator=stream(config.seed, _START)).to(device).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    begun, sums = time.perf_counter(), dict[str, Tensor]()
    with progress("training", config.steps) as display, (folder / METRICS).open("a", encoding="utf-8") as log:
        for step in range(config.steps):
            spent = 0.0 if config.minutes is None else (time.perf_counter() - begun) / (60 * config.minutes)
            if spent >= 1:
                break
            through = max(step / config.steps, spent)
            drawn = stream(config.seed, _STEP, step, device)
            views = source.draw(config.pairs, 2, drawn, snr=snr_range(config, through))
            parts = lesson(network, views, config)
            loss = torch.stack(list(parts.values())).sum()
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(config, through)
            optimiser.step()
            # Kept as tensors: to read one waits for the GPU.
            sums = {name: sums.get(name, 0) + value.detach() for name, value in parts.items()}
            display.advance(1)
            if (step + 1) % config.record_every == 0 or step + 1 == config.steps:
                count = (step % config.record_every) + 1
                means = {name: float(value) / count for name, value in sums.items()}
                if not all(map(math.isfinite, means.values())):
                    raise FloatingPointError(f"the loss is no number at step {step}; train with a lower learning_rate")
                seconds = round(time.perf_counter() - begun, 1)
                log.write(json.dumps({"step": step + 1, **means, "seconds": seconds}) + "\n")
                log.flush()
                sums = {}
    network = network.cpu().eval()
    small = network.count_parameters() * 2 <= _CARRIED_MIB * 2**20
    save_model(folder / MODEL, network, overwrite=True, half=small)
    return network


def lesson(network: GumNet, views: Views, config: SimulatedConfig) -> dict[str, Tensor]:
    """Return the parts of the loss, weighted, each a scalar, of views of which two and two are a pair."""
    volumes, weights = views.volumes, views.transfer.square()
    batch = Batch(volumes[0::2], volumes[1::2], weights[0::2], weights[1::2])
    first = torch.arange(0, len(volumes), 2, device=volumes.device)
    rotation, shift = views.poses_on(first, first + 1)
    device, n, box = batch.a.device, len(batch.a), batch.a.shape[-1]
    both = config.consistency > 0
    with torch.autocast(device.type, torch.bfloat16, enabled=config.half_precision and fast_bfloat16(device)):
        rotations, shifts = network(batch.a, batch.b, both_ways=both)
    parts = {}
    if config.correlation > 0:
        pairs = batch.both_ways() if both else batch
        seen = pairs.weights_a, pairs.weights_b
        losses = alignment_loss(pairs.a, pairs.b, rotations, shifts, *seen, bands=config.bands)
        parts["correlation"] = config.correlation * losses.mean()
    if both:
        apart = consistency_loss(rotations[:n], shifts[:n], rotations[n:], shifts[n:], box)
        parts["consistency"] = config.consistency * apart.mean()
    if config.truth > 0:
        back = inverse_poses(rotation, shift)
        if both:
            # The inverse of the true pose of a on b is the true pose of b on a.
            back = torch.cat([back[0], rotation]), torch.cat([back[1], shift])
        parts["truth"] = config.truth * consistency_loss(rotations, shifts, *back, box).mean()
    return parts


def snr_range(config: SimulatedConfig, through: float) -> tuple[float, float]:
    """Return the lowest and highest signal-to-noise ratio of a step, so far through the training, 0 to 1."""

    def falling(end: float) -> float:
        if through >= config.curriculum or end >= _CLEAN:
            return end
        return _CLEAN * math.pow(end / _CLEAN, through / config.curriculum)

    low, high = config.snr
    return falling(low), falling(high)


def learning_rate(config: SimulatedConfig, through: float) -> float:
    """Return the step size, so far through the training, 0 to 1."""
    if through < config.warmup:
        return config.learning_rate * max(through / config.warmup, 0.02)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (through - config.warmup) / (1 - config.warmup)))
