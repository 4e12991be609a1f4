"""How to sort particles into classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gumnet.alignment.to_reference import AlignConfig
from gumnet.clustering.hierarchy import LINKAGES
from gumnet.errors import InputError
from gumnet.types import Volume

if TYPE_CHECKING:
    from gumnet.alignment.aligner import Model

POSES = "poses"
"""The method that takes the poses of the table in place of those that a search finds."""


@dataclass(frozen=True)
class ClusterConfig:
    """How to sort particles into classes.

    Parameters
    ----------
    k
        How many classes; suggested (`gumnet.clustering.suggest`) unless given.
    method
        How the two particles of a pair are aligned: "exhaustive"; "matched", the same search on volumes that a learned
        filter cleaned; "gumnet"; the baselines "ht" and "fa"; "auto", the one that measurements advise
        (`gumnet.alignment.auto`), here "matched"; or "poses", which puts all particles on one reference by the poses
        they have and searches nothing.
    linkage
        Distance of two groups: that of their farthest particles ("complete", as in the Gum-Net paper), the mean of all
        their pairs ("average"), that of the nearest ("single"), or the growth of the variance ("ward").
    refine
        Whether poses are refined pair by pair. Unless given they are after a search, and not with "poses".
    max_shift
        Largest shift along each axis, in voxels, from the centre or, with "poses", from there; a quarter of the box
        unless given.
    low_pass_angstrom, high_pass_angstrom
        Finest and coarsest resolution that is used; no limits unless given, each shell weighted by its
        signal-to-noise.
    mask
        Soft mask (N, N, N), 0 to 1, about the centre of the first particle of a pair or, with "poses", on the
        reference; a soft sphere of a third of the box unless given.
    model
        Network, or path of its weights, for method "gumnet", or for "matched", which else takes the one that ships.
    device
        auto, cpu, cuda or cuda:N.
    batch_size
        Particles at a time; as many as memory allows comfortably unless given.
    memory_gigabytes
        Limit of the memory, particles that stay in it included; see `gumnet.alignment.batch`.
    seed
        Of the shuffled distances that a suggested number of classes is compared with.
    """

    k: int | None = None
    method: str = "exhaustive"
    linkage: str = "complete"
    refine: bool | None = None
    max_shift: float | None = None
    low_pass_angstrom: float | None = None
    high_pass_angstrom: float | None = None
    mask: Volume | None = None
    model: Model = None
    device: str = "auto"
    batch_size: int | None = None
    memory_gigabytes: float | None = None
    seed: int = 0

    @property
    def refines(self) -> bool:
        """Whether poses are refined pair by pair."""
        return self.method != POSES if self.refine is None else self.refine

    def alignment(self) -> AlignConfig:
        """Return how pairs are aligned, in the terms of `gumnet.align`; with "poses", how they are refined."""
        return AlignConfig(
            method="exhaustive" if self.method == POSES else self.method,
            refine=self.refines,
            local=self.method == POSES,
            max_shift=self.max_shift,
            low_pass_angstrom=self.low_pass_angstrom,
            high_pass_angstrom=self.high_pass_angstrom,
            mask=self.mask,
            model=self.model,
            device=self.device,
            batch_size=self.batch_size,
            memory_gigabytes=self.memory_gigabytes,
        )

    def check(self, n: int) -> None:
        """Raise `InputError` for settings that do not fit n particles."""
        if n < 2:
            raise InputError(f"{n} particles form no pair", cure="give a table with two or more")
        if self.k is not None and not 1 <= self.k <= n:
            raise InputError(f"{self.k} classes of {n} particles are not possible", cure=f"give 1 to {n} classes")
        if self.linkage not in LINKAGES:
            raise InputError(f"unknown linkage {self.linkage!r}", cure=f"use one of: {', '.join(LINKAGES)}")
