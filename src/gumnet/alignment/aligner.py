"""The protocol of an alignment method, and the registry of methods by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor

from gumnet.alignment.auto import AUTO
from gumnet.alignment.near import Near
from gumnet.engine.threads import side_by_side
from gumnet.errors import InputError
from gumnet.geometry.symmetry import PointGroup
from gumnet.particles import Poses
from gumnet.types import Volume, Volumes, Weights

if TYPE_CHECKING:
    from gumnet.alignment.known_power import KnownPower
    from gumnet.model.gumnet import GumNet
    from gumnet.model.matched_filter import MatchedFilter

    Model: TypeAlias = GumNet | MatchedFilter | str | Path | None

Given = TypeVar("Given", Tensor, Tensor | None)

DEFAULT_MAX_SHIFT = 0.25
"""Largest shift along each axis, in boxes, unless another is asked for.

Simulated particles lie within 0.2 boxes of the centre along each axis, and picked ones closer. Beyond a quarter a
particle that fills half of its box, as is usual, would be cut.
"""


@dataclass(frozen=True)
class AlignerOptions:
    """What every method is told.

    Parameters
    ----------
    refine
        Whether the poses of the search, or of the network, are refined continuously.
    max_shift
        Largest shift along each axis, in voxels, from the centre or from a prior; a quarter of the box unless given.
    max_frequency
        Highest frequency that is used, in cycles per voxel; all below Nyquist unless given, each shell weighted by its
        signal-to-noise.
    model
        Network, or path of its weights, for "gumnet" and "matched"; the one that ships with the package unless given.
    min_frequency
        Lowest frequency that is used, in cycles per voxel; all but the mean unless given.
    mask
        Soft mask of the reference, (N, N, N), 0 to 1; a soft sphere of a third of the box unless given.
    symmetry
        Point group of the reference; None where each has an orientation of its own, as in pairs.
    near
        With priors: how far from them to search. Unless given they are only refined.
    known
        Powers of the particles' set and of the reference that they share, where they are known.
    at_once
        Parts that the particles of a call are dealt to, to be aligned side by side on the threads of a CPU, at most.
    to_map
        Whether the reference is a map with little noise, that all particles share, and not another particle.
    """

    refine: bool = True
    max_shift: float | None = None
    max_frequency: float | None = None
    model: Model = None
    min_frequency: float | None = None
    mask: Volume | None = None
    symmetry: PointGroup | None = None
    near: Near | None = None
    known: KnownPower | None = None
    at_once: int = 1
    to_map: bool = False

    def max_shift_voxels(self, box: int) -> float:
        """Return the largest shift along each axis, in voxels, for a box of ``box`` voxels."""
        return DEFAULT_MAX_SHIFT * box if self.max_shift is None else self.max_shift

    def max_shell(self, box: int) -> int:
        """Return the highest shell that is used in a box of ``box`` voxels, below Nyquist."""
        highest = (box - 1) // 2
        if self.max_frequency is None:
            return highest
        return max(1, min(highest, round(self.max_frequency * box)))

    def min_shell(self, box: int) -> int:
        """Return the lowest shell that is used in a box of ``box`` voxels, 1 or more."""
        return 1 if self.min_frequency is None else max(1, round(self.min_frequency * box))


class Aligner(Protocol):
    """Finds the poses of particles on a reference; stateless between calls, and ready on one device."""

    def align(
        self,
        reference: Volumes,
        particles: Volumes,
        weights_reference: Weights | None,
        weights_particles: Weights | None,
        prior: Poses | None = None,
    ) -> Poses:
        """Return the poses of n particles, ``x_particle = R x_reference + t``, with their scores.

        Parameters
        ----------
        reference
            Shape (1, N, N, N), shared by all particles, or (n, N, N, N), one each. float32, on the method's device.
        particles
            Shape (n, N, N, N).
        weights_reference
            Shape (1, N, N, N // 2 + 1) or, with one reference each, (n, N, N, N // 2 + 1); None where all was observed.
        weights_particles
            Shape (1 or n, N, N, N // 2 + 1), or None.
        prior
            Poses (n) to start from: only their neighbourhood is searched (`AlignerOptions.near`), and shifts are
            limited relative to theirs. None searches all rotations.
        """


@dataclass(frozen=True)
class SideBySide:
    """An aligner that does parts of the particles on threads of their own.

    Torch's own threads share out each small sum by itself, and two of them are hardly faster than one there.

    Parameters
    ----------
    aligner
        What aligns each part.
    most
        How many parts, at most.
    """

    aligner: Aligner
    most: int

    def align(
        self,
        reference: Volumes,
        particles: Volumes,
        weights_reference: Weights | None,
        weights_particles: Weights | None,
        prior: Poses | None = None,
    ) -> Poses:
        """Return the poses of particles on a reference; see `Aligner.align`."""
        n = len(particles)
        count = max(1, min(self.most, n, torch.get_num_threads()))
        bounds = [n * i // count for i in range(count + 1)]

        def part(i: int) -> Poses:
            rows = slice(bounds[i], bounds[i + 1])
            return self.aligner.align(
                of_rows(reference, rows),
                particles[rows],
                of_rows(weights_reference, rows),
                of_rows(weights_particles, rows),
                None if prior is None else prior[rows],
            )

        return Poses.concatenate(side_by_side(part, range(count), count))


def of_rows(of: Given, rows: slice) -> Given:
    """Return volumes or weights of some of n particles: those of ``rows``, or the one that is for all; None of None."""
    return of if of is None or len(of) == 1 else of[rows]


METHODS: dict[str, Callable[[AlignerOptions, torch.device], Aligner]] = {}
"""Methods by name. A new one is a file here that defines an `Aligner`, and one line in `_fill`."""


def _fill() -> None:
    # In a function: the methods import this module for the protocol's types.
    from gumnet.alignment.baselines import BaselineAligner
    from gumnet.alignment.exhaustive import ExhaustiveAligner
    from gumnet.alignment.learned import gumnet_aligner
    from gumnet.alignment.matched import matched_aligner

    METHODS.setdefault("exhaustive", ExhaustiveAligner.make)
    METHODS.setdefault("matched", matched_aligner)
    METHODS.setdefault("gumnet", gumnet_aligner)
    METHODS.setdefault("ht", BaselineAligner.ht)
    METHODS.setdefault("fa", BaselineAligner.fa)


def method_names() -> tuple[str, ...]:
    """Return the names of all methods, in the order in which they were registered."""
    _fill()
    return tuple(METHODS)


def make_aligner(method: str, options: AlignerOptions, device: torch.device) -> Aligner:
    """Return the aligner of a method; an unknown name is an `InputError` that lists the known ones."""
    _fill()
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}", cure=f"use one of: {', '.join(sorted((*METHODS, AUTO)))}")
    if options.max_shift is not None and not 0 <= options.max_shift < float("inf"):
        raise InputError(f"max_shift of {options.max_shift} voxels is not possible", cure="give 0 or more voxels")
    low, high = options.min_frequency, options.max_frequency
    if low is not None and not (0 <= low < (0.5 if high is None else high)):
        raise InputError(f"a lowest frequency of {low} leaves nothing", cure="give one below the highest")
    if options.max_frequency is not None and not options.max_frequency > 0:
        raise InputError(f"a highest frequency of {options.max_frequency} leaves nothing", cure="give one above 0")
    aligner = METHODS[method](options, device)
    return SideBySide(aligner, options.at_once) if options.at_once > 1 and device.type == "cpu" else aligner
