"""What a training run does, in one plain record."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from gumnet.errors import InputError
from gumnet.model.gumnet import PRESETS, GumNetConfig
from gumnet.model.loss import WHOLE_BAND, Unobserved

Precision = Literal["float32", "bfloat16"]


def rising(bands: tuple[float, ...]) -> bool:
    """Return whether upper ends of bands are shares of the Nyquist frequency from low to high."""
    return len(bands) > 0 and all(low < high for low, high in pairwise((0.0, *bands))) and bands[-1] <= 1


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Parameters
    ----------
    network
        The architecture, see `gumnet.model.gumnet.PRESETS`. Its box becomes that of the particles. Not used where
        training starts from a model.
    epochs
        Epochs in all, counted from the start of the run, also when it resumes.
    pairs_per_epoch
        Random pairs in an epoch; 5000 in the paper.
    batch_size
        Pairs in a step; 2 or more, for the batch norms.
    learning_rate
        Step size of Adam in the first epoch. 1e-7 is the paper's for fine-tuning on the target data.
    learning_rate_decay
        Factor of the learning rate from one epoch to the next; 0.9 in the paper's demonstration.
    validation_fraction
        Part of the particles that training never sees, at least two; 0 for none: then the training loss chooses the
        best epoch.
    validation_pairs
        Pairs of these particles, the same ones after every epoch.
    unobserved
        What the loss does with coefficients that only one of a pair observed: "leave-out", or "impute" as in the paper,
        which is sound only where a has no missing wedge.
    bands
        Upper ends of the bands whose correlations the loss is the mean of, rising shares of the Nyquist frequency, as
        (0.25, 0.5, 1); the whole band alone, as in the paper, unless given.
    epochs_per_band
        Begin with the lowest band alone and add the next after so many epochs; 0 for all from the start. Validation
        counts all bands always.
    consistency
        Weight of how far the pose of a on b is from the inverse of that of b on a, see `gumnet.model.consistency`.
        Above 0, both directions of a pair count in the correlation too. 0, as in the paper, for one direction.
    precision
        Of the network; the geometry of the loss always runs in float32.
    seed
        Of the starting weights, the split and the pairs.
    device
        auto, cpu, cuda or cuda:N.
    cache_gigabytes
        Particles are kept in memory once read, up to this much.
    """

    network: GumNetConfig = field(default_factory=lambda: PRESETS["small"])
    epochs: int = 20
    pairs_per_epoch: int = 5000
    batch_size: int = 32
    learning_rate: float = 1e-3
    learning_rate_decay: float = 0.9
    validation_fraction: float = 0.1
    validation_pairs: int = 500
    unobserved: Unobserved = "leave-out"
    bands: tuple[float, ...] = WHOLE_BAND
    epochs_per_band: int = 0
    consistency: float = 0.0
    precision: Precision = "float32"
    seed: int = 0
    device: str = "auto"
    cache_gigabytes: float = 4.0

    def __post_init__(self) -> None:
        least = {"epochs": 1, "pairs_per_epoch": 2, "batch_size": 2, "validation_pairs": 1, "seed": 0}
        least |= {"epochs_per_band": 0, "consistency": 0}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise InputError(f"{name} is {getattr(self, name)}", cure=f"give {minimum} or more")
        ranges = {
            "learning_rate": 0 < self.learning_rate < float("inf"),
            "learning_rate_decay": 0 < self.learning_rate_decay <= 1,
            "validation_fraction": 0 <= self.validation_fraction < 1,
            "cache_gigabytes": self.cache_gigabytes >= 0,
            "bands": rising(self.bands),
            "unobserved": self.unobserved in ("leave-out", "impute"),
            "precision": self.precision in ("float32", "bfloat16"),
        }
        cures = {
            "learning_rate": "give a number above 0",
            "learning_rate_decay": "give a number above 0, at most 1",
            "validation_fraction": "give 0 or more, below 1",
            "cache_gigabytes": "give 0 or more",
            "bands": "give rising numbers above 0, up to 1",
            "unobserved": "use leave-out or impute",
            "precision": "use float32 or bfloat16",
        }
        for name, right in ranges.items():
            if not right:
                raise InputError(f"{name} is {getattr(self, name)}", cure=cures[name])
