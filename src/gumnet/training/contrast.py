"""What a matched filter is trained for: to remove noise, and to tell the true relative rotation from wrong ones.

Two particles of one structure in known orientations, with noise, wedge and CTF of their own, are cleaned and scored at
the true rotation between them, at rotations close to it, and at random ones of which the hardest are kept: those that
the search itself, as it is at that step, prefers. The loss is the cross entropy of the true one, each rotation taken
with all its shifts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.alignment.spectrum import as_complex
from gumnet.devices import fast_bfloat16
from gumnet.geometry.fourier import to_fourier
from gumnet.geometry.so3 import angular_distance_degrees, random_rotations, rotation_from_vector
from gumnet.model.matched_filter import MatchedFilter
from gumnet.training.contrast_config import ContrastConfig
from gumnet.training.contrast_data import Views
from gumnet.training.contrast_score import (
    Cleaned,
    Pairs,
    log_likelihoods,
    read,
    scores,
    search_weights,
    shift_waves,
)
from gumnet.types import Rotations

_TINY = 1e-30
_GROUPS_AT_ONCE = {"cpu": 1, "cuda": 16}
"""Groups that are mined at once: on a CPU what stays in its cache, on a GPU what keeps it busy."""


def clean(model: MatchedFilter, views: Views, config: ContrastConfig) -> Cleaned:
    """Return the views as the filter leaves them."""
    device = views.volumes.device
    with torch.autocast(device.type, torch.bfloat16, enabled=in_halves(config, device)):
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


@dataclass(frozen=True)
class Contest:
    """The true rotation of p pairs among r that are compared; the true one is the first.

    Parameters
    ----------
    pairs
        The pairs.
    truth
        Their true rotations, (p, 3, 3).
    rotations, values, transfer
        Those that are compared, (p, r, 3, 3), and the references turned by them, (p, r, K).
    scores
        At all shifts, (p, r, s).
    rest
        Log of the summed likelihoods of those that were mined and not kept, (p, 1).
    """

    pairs: Pairs
    truth: Rotations
    rotations: Rotations
    values: Tensor
    transfer: Tensor
    scores: Tensor
    rest: Tensor

    def losses(self) -> tuple[Tensor, Tensor]:
        """Return the cross entropy (p,) of the true rotations, and whether each wins, (p,)."""
        logits = torch.logsumexp(self.scores * self.pairs.sharpness[:, None, None], dim=-1)
        whole = torch.cat([logits, self.rest], dim=1)
        return whole.logsumexp(dim=1) - whole[:, 0], (logits[:, 0] >= logits.amax(dim=1)).float().detach()


def contest(
    model: MatchedFilter, cleaned: Cleaned, views: Views, config: ContrastConfig, generator: torch.Generator
) -> Contest:
    """Return the contest of the true rotation of each pair of views with wrong ones.

    Parameters
    ----------
    cleaned
        The views after the filter ``model``, see `clean`.
    views
        Whole groups of ``config.views``.
    """
    n, v = len(views.volumes), config.views
    waves = shift_waves(cleaned.band, config.largest_shift * cleaned.band.box)
    reference, particle = (rows.to(views.volumes.device) for rows in _pairs(n, v))
    pairs = Pairs.of(model, cleaned, reference, particle)
    truth = views.rotations[particle] @ views.rotations[reference].mT

    wrong = random_rotations(n * config.mined, generator=generator, dtype=torch.float32).view(n, config.mined, 3, 3)
    with torch.no_grad():
        coarse = waves.to(torch.bfloat16) if in_halves(config, waves.device) else waves
        some = _GROUPS_AT_ONCE[views.volumes.device.type]
        parts = [range(i, min(i + some, n // v)) for i in range(0, n // v, some)]
        found = torch.cat([_mine(cleaned, pairs, wrong, coarse, part, v) for part in parts])
        close = angular_distance_degrees(wrong[reference], truth[:, None]) < config.near_degrees[0]
        found = found.masked_fill(close, -math.inf)
        kept = found.topk(config.hard, dim=1).indices
        rest = found.scatter(1, kept, -math.inf).logsumexp(dim=1, keepdim=True)
    jitter = random_turns(len(truth), 1, (0.0, config.jitter_degrees), generator)
    near = random_turns(len(truth), config.near, config.near_degrees, generator)
    hard = wrong[reference[:, None], kept]
    rotations = torch.cat([truth[:, None] @ jitter, truth[:, None] @ near, hard], dim=1)
    # The pairs of one reference are read together: a read copies the gradient of the whole spectrum.
    values, transfer = read(cleaned, rotations.view(n, -1, 3, 3))
    shape = (len(truth), rotations.shape[1], values.shape[-1])
    values, transfer = values.reshape(shape), transfer.reshape(shape)
    found = scores(cleaned, pairs, values, transfer, waves)
    return Contest(pairs, truth, rotations, values, transfer, found, rest)


def crossed_loss(
    model: MatchedFilter, cleaned: Cleaned, config: ContrastConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the cross entropy (2 n,) of each volume's other half among those of all, and whether it wins.

    All are compared in one frame, that of their tilts. There their wedges lie alike whoever is compared with whom, so
    that nothing but the particles tells: among rotations, the true one would be told by the wedges alone.

    Parameters
    ----------
    cleaned
        n volumes, and after them the other half of each.
    """
    n = len(cleaned.volumes) // 2
    waves = shift_waves(cleaned.band, config.largest_shift * cleaned.band.box)
    rows = torch.arange(n, device=cleaned.volumes.device)
    reference, particle = rows.repeat_interleave(n), n + rows.repeat(n)
    # One turn for all: what lies between two points of a grid.
    turn = random_turns(1, 1, (0.0, config.jitter_degrees), generator).expand(n, 1, 3, 3)
    values, transfer = cleaned.turned[:n].read(turn, cleaned.band)
    assert transfer is not None
    pairs = Pairs.of(model, cleaned, reference, particle)
    found = log_likelihoods(cleaned, pairs, as_complex(values)[reference], transfer[reference], waves).view(n, n)
    own = torch.cat([found, found.T])
    true = rows.repeat(2)
    won = (own.argmax(dim=1) == true).float().detach()
    return torch.nn.functional.cross_entropy(own, true, reduction="none"), won


def in_halves(config: ContrastConfig, device: torch.device) -> bool:
    """Return whether to compute in bfloat16 where that is harmless."""
    return config.half_precision and fast_bfloat16(device)


def _pairs(n: int, views: int) -> tuple[Tensor, Tensor]:
    """Return rows of reference and particle, each (n (v - 1) / 2,): all pairs of each group, once, by reference.

    Views sit in a ring, and each is the reference of the next (v - 1) / 2: every one of as many as any other.
    """
    ahead = (views - 1) // 2
    reference = torch.arange(n).repeat_interleave(ahead)
    place = reference % views
    return reference, reference - place + (place + torch.arange(1, ahead + 1).repeat(n)) % views


def _mine(cleaned: Cleaned, pairs: Pairs, wrong: Rotations, waves: Tensor, groups: range, views: int) -> Tensor:
    """Return the log likelihoods (g v (v - 1) / 2, r) of the pairs of g groups at their references' wrong rotations."""
    rows = slice(groups.start * views, groups.stop * views)
    values, transfer = cleaned.turned[rows].read(wrong[rows], cleaned.band)
    assert transfer is not None
    mine = pairs[rows.start * (views - 1) // 2 : rows.stop * (views - 1) // 2]
    at = mine.reference - rows.start
    return log_likelihoods(cleaned, mine, as_complex(values)[at], transfer[at], waves)


def random_turns(n: int, count: int, degrees: tuple[float, float], generator: torch.Generator) -> Rotations:
    """Return rotations (n, count, 3, 3) about random axes by angles between two limits."""
    device = generator.device
    axes = torch.nn.functional.normalize(torch.randn(n, count, 3, generator=generator, device=device), dim=-1)
    angles = degrees[0] + (degrees[1] - degrees[0]) * torch.rand(n, count, 1, generator=generator, device=device)
    return rotation_from_vector(axes * torch.deg2rad(angles))
