"""The training loop: random pairs, unsupervised loss, validation, checkpoints.

gumnet train particles.star --out run --preset small
gumnet train particles.star --out run --preset small --resume

On several processes see `gumnet.training.distributed`.
"""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor, nn

from gumnet.errors import InputError
from gumnet.io.atomic import claim_folder
from gumnet.model.consistency import consistency_loss
from gumnet.model.gumnet import GumNet
from gumnet.model.loss import alignment_loss
from gumnet.model.weights import load_model, save_model
from gumnet.particles import Particles
from gumnet.progress import Progress, progress
from gumnet.training import checkpoint
from gumnet.training.board import Board, board, check_board
from gumnet.training.config import TrainConfig
from gumnet.training.data import EPOCH, START, VALIDATION, Batch, PairReader, draw_pairs, split, stream
from gumnet.training.distributed import Group, joined


def train(
    particles: Particles,
    config: TrainConfig,
    *,
    out: str | Path,
    model: GumNet | None = None,
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: bool = False,
) -> GumNet:
    """Train a network to align pairs of ``particles``, and return the best one by validation, on the CPU.

    Poses and classes of the particles are not used.

    Parameters
    ----------
    out
        Folder of the run, see `gumnet.training.checkpoint`.
    model
        Start from these weights, as when fine-tuning on the target data; the model itself is not changed.
    resume
        Go on after the last whole epoch of the run in ``out``. On one machine, a run that was interrupted and resumed
        gives the same losses as one that was not.
    overwrite
        Start anew in a folder that holds something already.
    tensorboard
        Write the metrics for TensorBoard too, to ``out``/tensorboard.

    Raises
    ------
    InputError
        If TensorBoard is asked for and not installed, if there are too few particles, if the model is for another box,
        if ``out`` holds something and neither ``resume`` nor ``overwrite`` is set, or if it holds no run with these
        settings to resume.
    """
    check_board(tensorboard)
    with joined(config.device) as group:
        return _train(
            particles, config, Path(out), model, group, resume=resume, overwrite=overwrite, tensorboard=tensorboard
        )


def _train(
    particles: Particles,
    config: TrainConfig,
    folder: Path,
    model: GumNet | None,
    group: Group,
    *,
    resume: bool,
    overwrite: bool,
    tensorboard: bool,
) -> GumNet:
    group.check_batches(config.pairs_per_epoch, config.batch_size)
    chosen, held = split(len(particles), config.validation_fraction, config.seed)
    network = _starting_network(particles, config, model).to(group.device)
    run = checkpoint.describe_run(config, network, len(particles))

    def prepare() -> None:
        if resume:
            checkpoint.check_run(folder, run)
        else:
            claim_folder(folder, overwrite=overwrite)
            checkpoint.write_run(folder, run)
        checkpoint.remove_leftovers_of_run(folder)

    group.first(prepare)
    optimiser = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    state = checkpoint.load_checkpoint(folder, network, optimiser) if resume else None
    if state is None:
        state = {"epochs": 0, "step": 0, "best": math.inf}
    epochs_done = state["epochs"]
    group.first(lambda: checkpoint.cut_metrics(folder, epochs_done))
    reader = PairReader(particles, config.cache_gigabytes)
    fixed = None
    if len(held):
        fixed = draw_pairs(held, config.validation_pairs, stream(config.seed, VALIDATION))
    total = (config.epochs - state["epochs"]) * config.pairs_per_epoch
    with (
        (folder / checkpoint.METRICS if group.leads else Path(os.devnull)).open("a", encoding="utf-8") as metrics,
        progress("training", max(total, 0), unit="pairs", shown=None if group.leads else False) as display,
        board(folder, wanted=tensorboard and group.leads) as scalars,
    ):
        session = _Session(config, network, optimiser, reader, group, metrics, display, scalars, step=state["step"])
        for epoch in range(state["epochs"], config.epochs):
            pairs = draw_pairs(chosen, config.pairs_per_epoch, stream(config.seed, EPOCH, epoch))
            train_loss = session.train_epoch(epoch, pairs)
            validation_loss = None if fixed is None else session.validate(fixed)
            session.log(epoch=epoch, train_loss=train_loss, validation_loss=validation_loss)
            score = train_loss if validation_loss is None else validation_loss
            display.advance(0, note=f"epoch {epoch + 1} of {config.epochs}, loss {score:.4f}")
            better = score < state["best"]
            state = {"epochs": epoch + 1, "step": session.step, "best": min(score, state["best"])}
            if group.leads:
                if better:
                    save_model(folder / checkpoint.MODEL, network, overwrite=True)
                checkpoint.save_checkpoint(folder, network, optimiser, state)
    group.first(lambda: None)  # until it has written
    return load_model(folder / checkpoint.MODEL)


def _starting_network(particles: Particles, config: TrainConfig, model: GumNet | None) -> GumNet:
    """Return a fresh network for the box of the particles, or a copy of the model to start from."""
    if model is None:
        start = stream(config.seed, START)
        return GumNet(replace(config.network, box=particles.box), generator=start)
    if model.config.box != particles.box:
        raise InputError(
            f"this is a model for another box: it is for {model.config.box} voxels a side, "
            f"the particles have {particles.box}",
            cure="use particles of that box, or `GumNet.for_box` to go on from its weights at this one",
        )
    return copy.deepcopy(model)


@dataclass
class _Session:
    """One stretch of training, from its start or from where it resumed to its end."""

    config: TrainConfig
    network: GumNet
    optimiser: torch.optim.Optimizer
    reader: PairReader
    group: Group
    metrics: TextIO
    display: Progress
    scalars: Board
    step: int

    def __post_init__(self) -> None:
        self._trained = self.group.wrapped(self.network)

    def train_epoch(self, epoch: int, pairs: Tensor) -> float:
        """Take one step for every batch of pairs (m, 2), and return the mean loss."""
        rate = self.config.learning_rate * self.config.learning_rate_decay**epoch
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.network.train()
        total, seen = 0.0, 0
        bands = open_bands(self.config, epoch)
        start = time.perf_counter()
        whole, own = self._parts(pairs)
        for count, batch in zip(map(len, whole), self.reader.batches(own), strict=True):
            losses = self._losses(self._trained, batch, bands, self.config.consistency)
            value = self._finite(losses, count)
            self.optimiser.zero_grad(set_to_none=True)
            # Gradients become means over processes, whose shares may differ by a pair.
            torch.autograd.backward(losses.mean() * (len(losses) * self.group.size / count))
            self.optimiser.step()
            # Reading counts: it is part of what a run waits for.
            start, before = time.perf_counter(), start
            speed = count / (start - before)
            self.log(epoch=epoch, step=self.step, loss=value, learning_rate=rate, pairs_per_second=speed)
            self.step += 1
            total, seen = total + value * count, seen + count
            self.display.advance(count, note=f"epoch {epoch + 1} of {self.config.epochs}, loss {total / seen:.4f}")
        return total / seen

    @torch.no_grad()
    def validate(self, pairs: Tensor) -> float:
        """Return the mean loss over pairs (m, 2), with the running statistics of the batch norms."""
        self.network.eval()
        _, own = self._parts(pairs)
        batches = self.reader.batches(part for part in own if len(part))
        losses = [torch.zeros(0, device=self.group.device)]
        losses += [self._losses(self.network, batch, self.config.bands, 0.0) for batch in batches]
        return self._finite(torch.cat(losses), len(pairs))

    def _parts(self, pairs: Tensor) -> tuple[Sequence[Tensor], list[Tensor]]:
        """Return the batches of pairs (m, 2), and of each the share of this process."""
        whole = torch.split(pairs, self.config.batch_size)
        return whole, [self.group.share(part) for part in whole]

    def log(self, **record: Any) -> None:
        """Add one line to the metrics, so that it is on disk at once."""
        self.metrics.write(json.dumps(record) + "\n")
        self.metrics.flush()
        self.scalars.add(record)

    def _finite(self, losses: Tensor, count: int) -> float:
        """Return the mean loss of ``count`` pairs, or stop a run whose weights have blown up before it writes them."""
        value = self.group.mean(losses.detach(), count)
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value} at step {self.step}; train with a lower learning_rate")
        return value

    def _losses(self, network: nn.Module, batch: Batch, bands: Sequence[float], consistency: float) -> Tensor:
        """Return the loss (n,) of each pair of a batch; see `TrainConfig` for the settings."""
        device = self.group.device
        batch = batch.to(device)
        both = consistency > 0
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            rotations, shifts = network(batch.a, batch.b, both_ways=both)
        pairs = batch.both_ways() if both else batch
        weights = pairs.weights_a, pairs.weights_b
        losses = alignment_loss(
            pairs.a, pairs.b, rotations, shifts, *weights, unobserved=self.config.unobserved, bands=bands
        )
        if not both:
            return losses
        (there, back), (moved, moved_back) = rotations.chunk(2), shifts.chunk(2)
        apart = consistency_loss(there, moved, back, moved_back, batch.a.shape[-1])
        return losses.view(2, -1).mean(dim=0) + consistency * apart


def open_bands(config: TrainConfig, epoch: int) -> tuple[float, ...]:
    """Return the bands that count in an epoch, counted from 0: the lowest first, one more every few epochs."""
    if config.epochs_per_band == 0:
        return config.bands
    return config.bands[: 1 + epoch // config.epochs_per_band]
