"""A matched filter tuned on one's own particles, without poses or labels, and kept only where it proves better.

Trained on one volume against the other of each particle, of even and odd tilts or out of two half tomograms
(`gumnet.training.half_views`), for one half of the particles, it is judged on the others by the same measure as before:
how surely the other volume of a particle is told from those of other particles.
Views of the judgement are the same for both filters. The tuned one replaces the one it started from where it is better
by more than chance would have it.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.io.atomic import write_whole
from gumnet.model.matched_filter import MatchedFilter, save_filter
from gumnet.particles import Particles
from gumnet.progress import progress
from gumnet.training.board import check_board
from gumnet.training.checkpoint import MODEL
from gumnet.training.contrast import clean, crossed_loss, denoising_loss
from gumnet.training.contrast_config import ContrastConfig
from gumnet.training.contrast_loop import Lesson, fit, open_run
from gumnet.training.contrast_tilts import TiltViewSource, has_stacks
from gumnet.training.contrast_volumes import HalfParticles, VolumeViewSource
from gumnet.training.data import split, stream
from gumnet.training.half_views import HalfSource

TUNED, REPORT = "tuned.safetensors", "tuning.json"
_JUDGE = 13
_SHARE = 0.5
_ROUNDS, _LARGEST = 4, 24
"""How often held-out particles are looked at, in another frame and other company each time; and in what company."""
_CACHE_GIGABYTES = 2.0
_SURE = 1.64
"""Standard errors of a gain that are enough: chance has as much once in twenty times."""


def tuning_config(model: MatchedFilter) -> ContrastConfig:
    """Return the settings for tuning a filter: few and small steps, since the filter knows noise already.

    A step compares the halves of ``groups`` particles with one another.
    """
    return ContrastConfig(network=model.config, steps=400, denoising_steps=0, groups=12, learning_rate=3e-4)


@dataclass(frozen=True)
class Tuning:
    """What tuning gave.

    Parameters
    ----------
    model
        The filter to use: the tuned one, or the one it started from.
    adopted
        Whether it is the tuned one.
    before, after
        Mean cross entropy on held-out particles; lower is better, and a filter that tells nothing has that of chance.
    chance
        The cross entropy of a guess among as many.
    gain, gain_error
        Mean of ``before - after`` over held-out particles, and its standard error.
    right_before, right_after
        Share of held-out halves whose own other half scores highest.
    """

    model: MatchedFilter
    adopted: bool
    before: float
    after: float
    chance: float
    gain: float
    gain_error: float
    right_before: float
    right_after: float

    def in_words(self) -> str:
        """Return the verdict in a sentence."""
        measured = (
            f"Of particles that were held out, {self.right_after:.0%} of the halves found their other half by the "
            f"tuned filter, {self.right_before:.0%} before; the gain in log likelihood is {self.gain:.3f} +- "
            f"{self.gain_error:.3f}."
        )
        if self.adopted:
            return f"{measured} The tuned filter is better, and is the one that was written."
        return f"{measured} Chance may give as much: the filter that was written is the one it started from."


def tune_matched(
    particles: Particles,
    model: MatchedFilter,
    out: str | Path,
    config: ContrastConfig | None = None,
    *,
    other: Particles | None = None,
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: bool = False,
) -> Tuning:
    """Tune a filter on particles with tilt stacks, or with two volumes each, and return the better of the two.

    ``out`` gets model.safetensors, the filter to use; tuned.safetensors; tuning.json, the judgement; and the files of
    `gumnet.training.contrast_loop.train_matched`. Poses and classes of the particles are not used.

    Parameters
    ----------
    particles
        n particles, 8 or more; of those with half sets the first half is trained on and the second judges.
    model
        To start from; it is not changed.
    config
        How; `tuning_config` unless given.
    other
        Of particles that are volumes, the same again with independent noise, in the same order: out of the tomogram of
        the odd tilts, where the first are out of that of the even ones.
    tensorboard
        Write the metrics for TensorBoard too, to ``out``/tensorboard.

    Raises
    ------
    InputError
        If the particles are volumes without others, whose noise cannot be told from their signal; if the others do not
        fit them or share their noise; or if they are too few.
    """
    check_board(tensorboard)
    config = tuning_config(model) if config is None else config
    if config.network != model.config:
        raise InputError("the settings are for a filter of another architecture", cure="leave the network out of them")
    chosen, held = _halves(particles, config.seed)
    grid = model.config.grid
    source, judges = _sources(particles, other, (chosen, held), grid)
    run = {**asdict(config), "particles": len(particles), "halves": "tilts" if other is None else "volumes"}
    folder = open_run(out, run, resume=resume, overwrite=overwrite)

    def teach(filter_: MatchedFilter, generator: torch.Generator, noise_alone: bool) -> Lesson:
        views = source.draw(config.groups, generator)
        cleaned = clean(filter_, views, config)
        denoising = denoising_loss(cleaned, views)
        if noise_alone:
            return Lesson(denoising)
        return Lesson(denoising, *crossed_loss(filter_, cleaned, config, generator))

    tuned = fit(copy.deepcopy(model), teach, config, folder, resume=resume, tensorboard=tensorboard)
    found = judge(model, tuned, judges, config)
    save_filter(folder / TUNED, tuned, overwrite=True)
    save_filter(folder / MODEL, found.model, overwrite=True)
    with write_whole(folder / REPORT, overwrite=True) as temporary:
        temporary.write_text(json.dumps(_plain(found), indent=2) + "\n", encoding="utf-8")
    return found


def judge(before: MatchedFilter, after: MatchedFilter, source: HalfSource, config: ContrastConfig) -> Tuning:
    """Compare two filters on the particles of a source, each looked at several times in the same views."""
    count = len(source)
    company = -(-count // -(-count // _LARGEST))  # about equal parts, none larger than the largest
    settings = replace(config, half_precision=False)  # a measure, not a lesson
    loss, won = (torch.zeros(_ROUNDS, 2, count) for _ in range(2))
    with progress("judging", count * _ROUNDS) as display, torch.no_grad():
        for turn in range(_ROUNDS):
            generator = stream(config.seed, _JUDGE, turn)
            for number, some in enumerate(torch.split(torch.randperm(count, generator=generator), company)):
                views = source.of(some, generator)
                for which, model in enumerate((before, after)):
                    jitter = stream(config.seed + 1, _JUDGE, turn * count + number)
                    found = crossed_loss(model, clean(model, views, settings), settings, jitter)
                    loss[turn, which, some], won[turn, which, some] = (x.view(2, -1).mean(dim=0) for x in found)
                display.advance(len(some))
    # Rounds of one particle share its noise, so particles are what counts.
    loss, won = loss.mean(dim=0), won.mean(dim=0)
    gains = loss[0] - loss[1]
    error = float(gains.std() / count**0.5)
    adopted = float(gains.mean()) > _SURE * error
    (loss_before, loss_after), (right_before, right_after) = loss.mean(dim=1).tolist(), won.mean(dim=1).tolist()
    return Tuning(
        model=after if adopted else before,
        adopted=adopted,
        before=loss_before,
        after=loss_after,
        chance=math.log(company),
        gain=float(gains.mean()),
        gain_error=error,
        right_before=right_before,
        right_after=right_after,
    )


def _sources(particles: Particles, other: Particles | None, parts: Sequence[Tensor], grid: int) -> list[HalfSource]:
    """Return what draws both halves of some of the particles, for each of ``parts``."""
    if other is None:
        return [TiltViewSource(particles, rows, grid) for rows in parts]
    if has_stacks(particles) or has_stacks(other):
        problem = "particles with tilt stacks have even and odd tilts of their own"
        raise InputError(problem, cure="leave the other ones (--other) out")
    # Every step reads some again.
    halves = HalfParticles(particles.cached(_CACHE_GIGABYTES), other.cached(_CACHE_GIGABYTES))
    return [VolumeViewSource(halves, rows, grid) for rows in parts]


def _halves(particles: Particles, seed: int) -> tuple[Tensor, Tensor]:
    """Return rows to train on and rows that judge."""
    known = particles.half_sets
    if bool((known == 1).any()) and bool((known == 2).any()):
        rows = torch.nonzero(known == 1)[:, 0], torch.nonzero(known == 2)[:, 0]
    else:
        rows = split(len(particles), _SHARE, seed)
    if min(len(part) for part in rows) < 4:
        raise InputError(
            f"{len(particles)} particles are too few to tune a filter", cure="give 8 or more, in halves of 4 or more"
        )
    return rows


def _plain(found: Tuning) -> dict[str, Any]:
    return {name: value for name, value in vars(found).items() if name != "model"}
