"""Method "auto" is the method that is advised, wherever a method is named, and takes no model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import gumnet
from gumnet.alignment import pairs, work
from gumnet.alignment.auto import PAIRS, TO_MAP, chosen
from gumnet.averaging import paired
from gumnet.averaging.checkpoint import Checkpoint
from gumnet.averaging.paired import begun_from_pairs
from gumnet.clustering import searched
from gumnet.errors import InputError
from gumnet.particles import Particles, Poses
from gumnet.types import Volumes

BOX, COUNT = 12, 4
AUTO: Any = {"method": "auto"}


class Told:
    """Stands in for all aligners: keeps the names by which they were asked for, and finds nothing."""

    def __init__(self) -> None:
        self.methods: list[str] = []

    def make(self, method: str, *_: object) -> Told:
        self.methods.append(method)
        return self

    def align(self, reference: Volumes, particles: Volumes, *_: object) -> Poses:
        return Poses(
            torch.eye(3, dtype=torch.float64).expand(len(particles), 3, 3).clone(),
            torch.zeros(len(particles), 3, dtype=torch.float64),
            torch.linspace(0.1, 0.9, len(particles), dtype=torch.float64),
        )


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    stand_in = Told()
    for module in (pairs, work, searched, paired):
        monkeypatch.setattr(module, "make_aligner", stand_in.make)
    return stand_in


@pytest.fixture
def particles(generator: torch.Generator) -> Particles:
    return Particles.from_tensors(torch.rand(COUNT, BOX, BOX, BOX, generator=generator), voxel_size_angstrom=24.0)


def test_pairs_are_matched_and_maps_are_searched(told: Told, particles: Particles) -> None:
    volumes = particles.read_volumes(range(COUNT))
    gumnet.align_pairs(volumes[:2], volumes[2:], method="auto")
    assert told.methods == ["matched"]
    gumnet.align(particles, volumes[0], gumnet.AlignConfig(method="auto"))
    assert told.methods == ["matched", "exhaustive"]


def test_classes_are_of_pairs_and_the_result_says_which_method_it_was(told: Told, particles: Particles) -> None:
    made = gumnet.cluster(particles, gumnet.ClusterConfig(k=2, method="auto"))
    assert set(told.methods) == {"matched"}, "those on the medoid too: it is one noisy particle"
    assert made.config.method == "matched"


def test_averages_search_their_maps_and_match_the_pairs_of_a_start(told: Told, particles: Particles) -> None:
    gumnet.average(particles, gumnet.AverageConfig(method="auto", start="blob", iterations=1))
    assert set(told.methods) == {"exhaustive"}
    told.methods.clear()
    config = gumnet.AverageConfig(method="auto", start="pairs", device="cpu")
    begun_from_pairs(particles, config, 1, "half 1", generator=torch.Generator().manual_seed(1), kept=Checkpoint())
    assert told.methods == ["matched"]
    assert config.method_words == "exhaustive, matched for pairs"
    assert gumnet.AverageConfig(method="auto").method_words == "exhaustive"
    assert gumnet.AverageConfig(method="ht", start="pairs").method_words == "ht"


def test_a_cone_goes_with_auto_since_the_search_takes_one() -> None:
    config = gumnet.AlignConfig(method="auto", local=True, cone_degrees=10.0)
    assert config.options(10.0).near is not None


@pytest.mark.parametrize(
    "call",
    [
        lambda p, v, m: gumnet.align_pairs(v[:1], v[1:2], **AUTO, model=m),
        lambda p, v, m: gumnet.align(p, v[0], gumnet.AlignConfig(**AUTO, model=m)),
        lambda p, v, m: gumnet.average(p, gumnet.AverageConfig(**AUTO, model=m)),
        lambda p, v, m: gumnet.cluster(p, gumnet.ClusterConfig(**AUTO, model=m)),
    ],
    ids=["align_pairs", "align", "average", "cluster"],
)
def test_a_model_is_refused(call: Callable[..., object], told: Told, particles: Particles) -> None:
    with pytest.raises(InputError, match="method 'auto' takes no model; leave it out, or name the method"):
        call(particles, particles.read_volumes(range(COUNT)), "model.safetensors")
    assert told.methods == []


def test_other_names_stay_and_the_reason_is_one_line() -> None:
    assert chosen("ht", PAIRS) == chosen("ht", TO_MAP) == "ht"
    for task in (PAIRS, TO_MAP):
        assert task.words().startswith(f"method auto: {chosen('auto', task)}, since ")
        assert "\n" not in task.words()
