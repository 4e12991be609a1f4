"""What training by contrast does, in one plain record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from gumnet.errors import InputError
from gumnet.model.matched_filter import MatchedFilterConfig

JudgedOn = Literal["truth", "search"]


@dataclass(frozen=True)
class ContrastConfig:
    """A training run of a matched filter.

    A step looks at ``groups`` structures with ``views`` particles each, and compares all particles of a group.

    Parameters
    ----------
    network
        The architecture.
    steps
        Steps in all.
    denoising_steps
        How many of them, at the start, learn to remove noise alone; none where nothing of the network removes noise
        (``network.network`` is off), see `noise_steps`.
    denoising
        Weight of that in the loss from then on.
    groups, views
        Structures a step, and particles of each, an odd number: every particle is the reference of half of the others.
    mined
        Random rotations of every reference, of which each pair keeps the ``hard`` that score highest.
    hard
        Wrong rotations kept; the sum over the others counts as a constant.
    near
        Wrong rotations close to the true one, turned by ``near_degrees``.
    near_degrees
        Smallest and largest angle of those. Random rotations closer than the smallest are not held against a pair.
    jitter_degrees
        Largest angle by which the true rotation is off: what lies between two points of a grid.
    largest_shift
        Shifts up to this share of the box are searched on each axis.
    structures, structure_seed
        How many structures to train on, where none are given, and the seed of the first.
    microscopes
        How many ways of imaging are drawn: tilt range, CTF, colour of the noise.
    snr
        Lowest and highest signal-to-noise ratio, drawn evenly in its logarithm.
    learning_rate, warmup
        Largest step size of Adam, and the share of the steps until it is reached; it falls to 0 along a cosine, in both
        parts of the training.
    judged_on
        The poses that a judge learns from: "truth", the true one a little off among wrong ones, or "search", those that
        the search finds as the network is at that step; see `gumnet.training.contrast_judge`.
    both_ways
        Whether the judge learns from each pair in both directions.
    consistency
        With ``both_ways``, the weight of how far both directions are from agreeing; 0 for none.
    half_precision
        Whether the convolutions run in bfloat16, where the machine is fast at it.
    save_every
        Steps between checkpoints.
    minutes
        Time after which a run ends, whatever steps are left, as on a machine that is lent; None for no limit. The step
        size falls with the time, if that is nearer to its end than the steps are. Such a run is not one that its seed
        repeats.
    seed
        Of everything that is drawn.
    """

    network: MatchedFilterConfig = field(default_factory=MatchedFilterConfig)
    steps: int = 2100
    denoising_steps: int = 500
    denoising: float = 1.0
    groups: int = 5
    views: int = 3
    mined: int = 48
    hard: int = 10
    near: int = 0
    near_degrees: tuple[float, float] = (20.0, 40.0)
    jitter_degrees: float = 5.0
    largest_shift: float = 0.2
    structures: int = 512
    structure_seed: int = 10_000
    microscopes: int = 128
    snr: tuple[float, float] = (0.03, 0.3)
    learning_rate: float = 1.5e-3
    warmup: float = 0.03
    judged_on: JudgedOn = "truth"
    both_ways: bool = False
    consistency: float = 0.0
    half_precision: bool = True
    save_every: int = 100
    minutes: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        least = {
            "steps": 1,
            "denoising_steps": 0,
            "denoising": 0,
            "groups": 1,
            "views": 3,
            "mined": 1,
            "hard": 1,
            "near": 0,
            "consistency": 0,
            "structures": 1,
            "microscopes": 1,
            "save_every": 1,
            "seed": 0,
        }
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise InputError(f"{name} is {getattr(self, name)}", cure=f"give {minimum} or more")
        ranges = {
            "views": (self.views % 2 == 1, "give an odd number"),
            "hard": (self.hard <= self.mined, "keep at most as many as are mined"),
            "near_degrees": (
                0 < self.near_degrees[0] < self.near_degrees[1] <= 180,
                "give two angles, the lower first",
            ),
            "jitter_degrees": (0 <= self.jitter_degrees < self.near_degrees[0], "give less than near_degrees"),
            "largest_shift": (0 <= self.largest_shift < 0.5, "give 0 or more, below 0.5"),
            "snr": (0 < self.snr[0] <= self.snr[1], "give two numbers above 0, the lower first"),
            "learning_rate": (0 < self.learning_rate < float("inf"), "give a number above 0"),
            "minutes": (self.minutes is None or self.minutes > 0, "give minutes above 0, or leave them out"),
            "judged_on": (self.judged_on in ("truth", "search"), "use truth or search"),
            "consistency": (self.both_ways or self.consistency == 0, "give both_ways with it, or leave it 0"),
            "warmup": (0 <= self.warmup <= 1, "give a share from 0 to 1"),
        }
        for name, (fits, cure) in ranges.items():
            if not fits:
                raise InputError(f"{name} is {getattr(self, name)}", cure=cure)

    @property
    def noise_steps(self) -> int:
        """How many steps learn to remove noise alone."""
        # Weights of shells and a judge leave volumes as they are: such a step would have no gradient at all.
        return self.denoising_steps if self.network.network else 0


NETWORKS: Mapping[str, MatchedFilterConfig] = MappingProxyType(
    {
        # 42 thousand weights clean, half a million judge.
        "matched": MatchedFilterConfig(judged=16),
        # A tenth of the arithmetic in what cleans.
        "gumnet": MatchedFilterConfig(grid=20, channels=8, kernels=(5, 3, 3, 3), judged=16),
    }
)
"""The networks that ship, by the method that they are for."""
_JITTER_DEGREES = {"matched": 7.0, "gumnet": 10.0}
"""A judge sees poses as the search finds them: before refinement, which "gumnet" can do without, they are worse."""


def training_config(network: str, *, gpu: bool = False) -> ContrastConfig:
    """Return the settings with which a network that ships is trained.

    Parameters
    ----------
    gpu
        Larger steps, which keep a GPU busy and a CPU too long.
    """
    if network not in NETWORKS:
        raise InputError(f"unknown network {network!r}", cure=f"use {' or '.join(NETWORKS)}")
    config = ContrastConfig(network=NETWORKS[network], jitter_degrees=_JITTER_DEGREES[network])
    if not gpu:
        return config
    groups = 32 if network == "matched" else 48
    return replace(config, groups=groups, steps=3000, denoising_steps=400, structures=896, microscopes=512)
