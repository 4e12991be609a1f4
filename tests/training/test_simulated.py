"""Training of the regressing network on simulated pairs."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from gumnet.devices import seeded
from gumnet.errors import InputError
from gumnet.geometry.warp import voxel_coordinates
from gumnet.model.consistency import inverse_poses
from gumnet.model.gumnet import GumNetConfig
from gumnet.model.loss import alignment_loss
from gumnet.model.weights import load_model
from gumnet.training.contrast_data import Views, ViewSource
from gumnet.training.simulated import (
    SimulatedConfig,
    learning_rate,
    lesson,
    snr_range,
    train_simulated,
)

BOX = 20
TINY = SimulatedConfig(
    network=GumNetConfig(box=BOX, channels=(2, 2, 4, 4, 8), branch_channels=4, hidden=16),
    steps=3,
    pairs=4,
    microscopes=2,
    record_every=2,
    half_precision=False,
)


def blobs(count: int) -> torch.Tensor:
    centres = torch.randn(count, 6, 3, generator=seeded(0)) * 0.12 * BOX
    distance = (voxel_coordinates(BOX) - centres[:, :, None, None, None]).square().sum(-1)
    return torch.exp(-distance / (2 * (0.08 * BOX) ** 2)).sum(1)


def source() -> ViewSource:
    return ViewSource(blobs(3), BOX, microscopes=2, snr=(0.1, 0.1), generator=seeded(1))


class Told(nn.Module):
    """Stands for a network: says the true poses, from both sides if asked."""

    def __init__(self, rotations: torch.Tensor, shifts: torch.Tensor) -> None:
        super().__init__()
        self.there, self.back = (rotations, shifts), inverse_poses(rotations, shifts)

    def forward(self, a: torch.Tensor, b: torch.Tensor, *, both_ways: bool = False) -> tuple[torch.Tensor, ...]:
        if not both_ways:
            return self.there
        return tuple(torch.cat(pair) for pair in zip(self.there, self.back, strict=True))


def true_poses(views: Views) -> tuple[torch.Tensor, torch.Tensor]:
    first = torch.arange(0, len(views.volumes), 2)
    return views.poses_on(first, first + 1)


def test_the_true_poses_cost_nothing_and_put_clean_pairs_on_each_other() -> None:
    views = source().draw(4, 2, seeded(2), snr=(1e5, 1e5))
    told = Told(*true_poses(views))
    parts = lesson(told, views, TINY)  # type: ignore[arg-type]
    assert float(parts["truth"]) == pytest.approx(0, abs=1e-9)
    assert float(parts["consistency"]) == pytest.approx(0, abs=1e-9)
    a, b = views.volumes[0::2], views.volumes[1::2]
    wedges = views.transfer[0::2], views.transfer[1::2]
    still = alignment_loss(a, b, torch.eye(3).expand(4, 3, 3), torch.zeros(4, 3), *wedges, bands=TINY.bands)
    assert float(parts["correlation"]) < 0.5 * float(still.mean())
    wrong = Told(told.there[0].mT, told.there[1])
    assert float(lesson(wrong, views, TINY)["truth"]) > 0.1  # type: ignore[arg-type]


def test_parts_of_the_loss_can_be_switched_off() -> None:
    views = source().draw(2, 2, seeded(2))
    told = Told(*true_poses(views))

    def parts(**changed: float) -> set[str]:
        return set(lesson(told, views, replace(TINY, **changed)))  # type: ignore[arg-type]

    assert parts() == {"correlation", "consistency", "truth"}
    assert parts(consistency=0.0) == {"correlation", "truth"}
    assert parts(truth=0.0, consistency=0.0) == {"correlation"}
    assert parts(correlation=0.0, consistency=0.0) == {"truth"}
    with pytest.raises(InputError, match="idle"):
        replace(TINY, correlation=0.0, truth=0.0)


def test_noise_grows_and_the_step_size_falls() -> None:
    config = replace(TINY, snr=(0.03, 0.3), curriculum=0.5, warmup=0.1, learning_rate=1.0)
    assert snr_range(config, 0.0)[0] == pytest.approx(30.0)
    assert snr_range(config, 0.25)[0] == pytest.approx(math.sqrt(30.0 * 0.03))
    assert snr_range(config, 0.5) == snr_range(config, 1.0) == (0.03, 0.3)
    assert snr_range(replace(config, curriculum=0.0), 0.0)[0] == 0.03
    rates = [learning_rate(config, i / 100) for i in range(101)]
    assert max(rates) == rates[10] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.0, abs=1e-9)


def test_a_run_leaves_its_weights_and_its_record(tmp_path: Path) -> None:
    first = train_simulated(TINY, tmp_path / "one", structures=blobs(3))
    again = train_simulated(TINY, tmp_path / "two", structures=blobs(3))
    assert all(torch.equal(again.state_dict()[k], v) for k, v in first.state_dict().items())
    lines = [json.loads(line) for line in (tmp_path / "one" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 3]
    assert set(lines[0]) == {"step", "correlation", "consistency", "truth", "seconds"}
    written = load_model(tmp_path / "one" / "model.safetensors")
    assert written.config == TINY.network
    moved = (written.head.last.weight - first.head.last.weight).abs().max()
    assert float(moved.detach()) < 1e-3
    assert float(written.head.last.weight.detach().abs().max()) > 0
