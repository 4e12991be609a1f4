"""Exhaustive search on volumes that a learned matched filter cleaned first (`gumnet.model.matched_filter`).

The network runs once a volume and not once a rotation, so the search costs little more than without it.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from gumnet.alignment.aligner import AlignerOptions
from gumnet.alignment.exhaustive import ExhaustiveAligner
from gumnet.devices import fast_bfloat16
from gumnet.errors import InputError
from gumnet.model.gumnet import GumNet
from gumnet.model.matched_filter import MatchedFilter, load_filter
from gumnet.model.shipped import MATCHED, shipped_weights

if TYPE_CHECKING:
    from gumnet.alignment.aligner import Model


def matched_aligner(options: AlignerOptions, device: torch.device) -> ExhaustiveAligner:
    """Return the search with the filter that the options name, or with the one that ships with the package.

    Raises
    ------
    InputError
        If a file is named that holds no matched filter.
    """
    cleaner = copy.deepcopy(as_filter(options.model)).to(device).eval()
    # What it adds is known to a hundredth at best; bfloat16 changes that by half a percent (docs/matched.md).
    cleaner.half_precision = fast_bfloat16(device)
    return ExhaustiveAligner(options, device, cleaner)


def as_filter(model: Model) -> MatchedFilter:
    """Return a matched filter: itself, that of a file, or the shipped one for None."""
    if isinstance(model, GumNet):
        raise InputError("method 'matched' takes a matched filter, not a Gum-Net", cure="use method 'gumnet'")
    if isinstance(model, MatchedFilter):
        return model
    return load_filter(shipped_weights(MATCHED) if model is None else model)
