"""Alignment of pairs of volumes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy.typing as npt
import torch
from torch import Tensor

from gumnet.alignment.aligner import AlignerOptions, make_aligner, of_rows
from gumnet.alignment.auto import PAIRS, chosen
from gumnet.alignment.batch import batching_for
from gumnet.alignment.checks import as_stack, as_weights, check_max_shift, checked_volumes
from gumnet.devices import resolve_device
from gumnet.errors import InputError
from gumnet.particles import Poses
from gumnet.progress import progress
from gumnet.types import Weights

if TYPE_CHECKING:
    from typing import Any

    from gumnet.alignment.aligner import Model


def align_pairs(
    a: Tensor | npt.NDArray[Any],
    b: Tensor | npt.NDArray[Any],
    *,
    weights_a: Tensor | npt.NDArray[Any] | None = None,
    weights_b: Tensor | npt.NDArray[Any] | None = None,
    method: str = "exhaustive",
    model: Model = None,
    refine: bool = True,
    max_shift: float | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    memory_gigabytes: float | None = None,
) -> Poses:
    """Return the pose of each b on its a: ``x_b = R x_a + t``.

    Parameters
    ----------
    a, b
        n pairs of volumes, (n, N, N, N), [z, y, x], of any real type; density of the same sign in both.
    weights_a, weights_b
        Fourier weights in rfftn layout, 0 or more: (N, N, N // 2 + 1) for all or (n, N, N, N // 2 + 1); None where
        everything was observed. For a missing wedge see `gumnet.geometry.wedge.missing_wedge`.
    method
        "exhaustive"; "matched", the same search on volumes that a learned filter cleaned; "gumnet", a
        smaller network, or that of ``model``; the baselines "ht" (H-T align) and "fa" (F&A align); or "auto", the one
        that measurements advise (`gumnet.alignment.auto`), here "matched".
    model
        Network, or path of its weights; "matched" takes the shipped one unless given.
    refine
        Whether to refine the poses continuously.
    max_shift
        Largest shift along each axis, in voxels; a quarter of the box unless given.
    device
        auto, cpu, cuda or cuda:N.
    batch_size
        Pairs at a time; as many as memory allows comfortably unless given. It does not change the result.
    memory_gigabytes
        Limit of the memory that alignment takes beyond the volumes; see `gumnet.alignment.batch`.

    Returns
    -------
    Poses
        n poses in float64 on the CPU. The scores are constrained correlations on the shared observed region, with each
        shell weighted by its signal-to-noise (`gumnet.alignment.score`); 1 is a perfect match of two
        noise-free volumes whose density lies within the mask (a third of the box; `score.default_mask`). Poses
        of methods "exhaustive" and "matched" have confidences and angular spreads too (`gumnet.alignment.confidence`).
    """
    a, b = as_stack(a, "a"), as_stack(b, "b")
    if a.shape != b.shape:
        raise InputError(
            f"a has shape {tuple(a.shape)}, b has shape {tuple(b.shape)}", cure="give as many of the same box"
        )
    count, box = len(a), a.shape[-1]
    on = resolve_device(device)
    all_a, all_b = as_weights(weights_a, "weights_a", count, box), as_weights(weights_b, "weights_b", count, box)
    check_max_shift(max_shift, box)
    options = AlignerOptions(refine=refine, max_shift=max_shift, model=model)
    batching = batching_for(
        options, box, on, shared_reference=False, wanted=batch_size, memory_gigabytes=memory_gigabytes
    )
    size, options = batching.size, replace(options, at_once=batching.at_once)
    aligner = make_aligner(chosen(method, PAIRS, model), options, on)
    parts = []
    with progress("Aligning", count, unit="pairs") as display:
        for start in range(0, count, size):
            rows = slice(start, start + size)
            batch_a = checked_volumes(a[rows], "a", start).to(on)
            batch_b = checked_volumes(b[rows], "b", start).to(on)
            parts.append(aligner.align(batch_a, batch_b, _rows(all_a, rows, on), _rows(all_b, rows, on)))
            display.advance(len(batch_a))
    return Poses.concatenate(parts)


def _rows(weights: Weights | None, rows: slice, device: torch.device) -> Weights | None:
    """Return the weights of some rows, or the shared ones, on a device."""
    some = of_rows(weights, rows)
    return None if some is None else some.to(device)
