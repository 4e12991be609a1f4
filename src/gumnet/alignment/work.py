"""Alignment against one reference as work in batches, for `gumnet.engine`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gumnet.alignment.aligner import AlignerOptions, make_aligner
from gumnet.alignment.checks import checked_volumes
from gumnet.engine.work import Result, Run, join_rows
from gumnet.particles import Poses, Source
from gumnet.types import Volumes, Weights


@dataclass(frozen=True)
class AlignWork:
    """Finds the poses of particles on one reference.

    Parameters
    ----------
    volumes, weights
        Sources of n particles, which travel as the names of their files.
    priors
        Poses (n) to start from, or None.
    reference, weights_reference
        Shapes (1, N, N, N) and (1, N, N, N // 2 + 1) or None, on the CPU.
    method, options
        How to align.
    """

    volumes: Source
    weights: Source | None
    priors: Poses | None
    reference: Volumes
    weights_reference: Weights | None
    method: str
    options: AlignerOptions

    def start(self, device: torch.device) -> Run:
        """Return what aligns some of the particles on a device."""
        aligner = make_aligner(self.method, self.options, device)
        reference = self.reference.to(device)
        weights_reference = None if self.weights_reference is None else self.weights_reference.to(device)

        def run(rows: Sequence[int]) -> Result:
            names = tuple(f"particle {row + 1}" for row in rows)
            volumes = checked_volumes(self.volumes.read(rows), "volume of", names=names).to(device)
            weights = None if self.weights is None else self.weights.read(rows).to(device)
            prior = None if self.priors is None else self.priors[list(rows)]
            return result_of(aligner.align(reference, volumes, weights_reference, weights, prior))

        return run

    def join(self, parts: Sequence[Result]) -> Result:
        """Return the poses of all parts."""
        return join_rows(parts)


def result_of(poses: Poses) -> Result:
    """Return poses as what a batch gives."""
    columns = vars(poses)
    return {name: values for name, values in columns.items() if values is not None}


def poses_of(result: Result) -> Poses:
    """Return the poses that `result_of` took apart."""
    return Poses(**result)
