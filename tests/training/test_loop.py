"""Training runs: they learn, they resume exactly, and they refuse what cannot work."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import gumnet.training.loop as loop
from gumnet.errors import InputError
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.warp import voxel_coordinates
from gumnet.geometry.wedge import missing_wedge
from gumnet.model.gumnet import PRESETS, GumNet
from gumnet.model.loss import alignment_loss
from gumnet.model.weights import load_model
from gumnet.particles import Particles
from gumnet.training.config import TrainConfig
from gumnet.training.loop import train

BOX = 20
SMALL = replace(PRESETS["tiny"], channels=(2, 2, 4, 4, 8), branch_channels=4, hidden=16)
QUICK = TrainConfig(
    network=SMALL,
    epochs=3,
    pairs_per_epoch=8,
    batch_size=4,
    learning_rate=1e-2,
    validation_fraction=0.25,
    validation_pairs=4,
    device="cpu",
)


def phantoms(n: int, box: int, generator: torch.Generator, spread_voxels: float) -> torch.Tensor:
    """Return n randomly turned and shifted copies (n, N, N, N) of one asymmetric sum of Gaussian blobs."""
    places = torch.randn(6, 3, generator=generator) * box / 8
    rotations = random_rotations(n, generator=generator).float()
    shifts = (2 * torch.rand(n, 3, generator=generator) - 1) * spread_voxels
    x = voxel_coordinates(box)
    volumes = torch.zeros(n, box, box, box)
    for k in range(6):
        centres = rotations @ places[k] + shifts
        volumes += (k + 1) * torch.exp(-(x - centres[:, None, None, None]).square().sum(-1) / (2 * 2.5**2))
    return volumes


@pytest.fixture
def particles(generator: torch.Generator) -> Particles:
    """Return 12 small clean particles with a wedge."""
    return Particles.from_tensors(
        phantoms(12, BOX, generator, 2.0), voxel_size_angstrom=10.0, weights=missing_wedge(BOX, 60.0)
    )


def metrics(folder: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k != "pairs_per_second"} for record in records]


def test_run_leaves_its_files_and_returns_the_best(particles: Particles, tmp_path: Path) -> None:
    model = train(particles, QUICK, out=tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"run.json", "checkpoint.safetensors", "model.safetensors", "metrics.jsonl"}
    assert model.config == replace(SMALL, box=BOX)
    best = load_model(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(best.state_dict()[k], v) for k, v in model.state_dict().items())
    records = metrics(tmp_path / "run")
    steps = [r for r in records if "step" in r]
    epochs = [r for r in records if "train_loss" in r]
    assert [r["step"] for r in steps] == list(range(6))
    assert [r["learning_rate"] for r in steps[::2]] == pytest.approx([1e-2, 0.9e-2, 0.81e-2])
    assert [r["epoch"] for r in epochs] == [0, 1, 2]
    assert all(0 <= r["loss"] <= 2 for r in steps)
    assert all(0 <= r["validation_loss"] <= 2 for r in epochs)
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert line["pairs_per_second"] > 0


def test_best_by_validation_is_kept(particles: Particles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.5, 0.2, 0.9])
    kept: list[dict[str, torch.Tensor]] = []

    def scored(session: loop._Session, pairs: torch.Tensor) -> float:
        kept.append({k: v.clone() for k, v in session.network.state_dict().items()})
        return next(scores)

    monkeypatch.setattr(loop._Session, "validate", scored)
    model = train(particles, QUICK, out=tmp_path / "run")
    assert all(torch.equal(kept[1][k], v) for k, v in model.state_dict().items())
    assert not torch.equal(kept[1]["head.last.weight"], kept[2]["head.last.weight"])


def test_resuming_goes_on_exactly(particles: Particles, tmp_path: Path) -> None:
    whole = train(particles, QUICK, out=tmp_path / "whole")
    train(particles, replace(QUICK, epochs=2), out=tmp_path / "parts")
    # As if it had been killed within the third epoch, on half a line.
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "step": 4, "loss": 0.1}\n{"epoch": 2, "st')
    parts = train(particles, QUICK, out=tmp_path / "parts", resume=True)
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    assert all(torch.equal(parts.state_dict()[k], v) for k, v in whole.state_dict().items())


def test_bands_open_from_low_to_high_and_both_directions_are_trained(particles: Particles, tmp_path: Path) -> None:
    config = replace(QUICK, bands=(0.25, 0.5, 1.0), epochs_per_band=1, consistency=0.5)
    assert [loop.open_bands(config, epoch) for epoch in range(4)] == [(0.25,), (0.25, 0.5), *[(0.25, 0.5, 1.0)] * 2]
    assert loop.open_bands(replace(config, epochs_per_band=0), 0) == config.bands
    whole = train(particles, config, out=tmp_path / "whole")
    train(particles, replace(config, epochs=1), out=tmp_path / "parts")
    parts = train(particles, config, out=tmp_path / "parts", resume=True)
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    assert all(torch.equal(parts.state_dict()[k], v) for k, v in whole.state_dict().items())
    train(particles, replace(config, epochs=1, consistency=0.0), out=tmp_path / "one-way")
    one_way, both = (metrics(tmp_path / name)[1]["loss"] for name in ("one-way", "parts"))
    assert one_way != both


def test_killed_in_the_first_epoch_it_starts_again(
    particles: Particles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(session: loop._Session, pairs: torch.Tensor) -> float:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop._Session, "validate", killed)
        with pytest.raises(KeyboardInterrupt):
            train(particles, QUICK, out=tmp_path / "run")
    train(particles, QUICK, out=tmp_path / "run", resume=True)
    train(particles, QUICK, out=tmp_path / "whole")
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")


def test_resuming_a_finished_run_changes_nothing(particles: Particles, tmp_path: Path) -> None:
    first = train(particles, QUICK, out=tmp_path / "run")
    before = metrics(tmp_path / "run")
    again = train(particles, QUICK, out=tmp_path / "run", resume=True)
    assert metrics(tmp_path / "run") == before
    assert all(torch.equal(again.state_dict()[k], v) for k, v in first.state_dict().items())


def test_folder_that_holds_something_is_refused(particles: Particles, tmp_path: Path) -> None:
    train(particles, replace(QUICK, epochs=1), out=tmp_path / "run")
    with pytest.raises(InputError, match="not empty"):
        train(particles, QUICK, out=tmp_path / "run")
    train(particles, replace(QUICK, epochs=1, seed=5), out=tmp_path / "run", overwrite=True)
    assert [r["epoch"] for r in metrics(tmp_path / "run") if "train_loss" in r] == [0]


def test_resuming_needs_a_run_with_the_same_settings(particles: Particles, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run to resume"):
        train(particles, QUICK, out=tmp_path / "none", resume=True)
    train(particles, replace(QUICK, epochs=1), out=tmp_path / "run")
    with pytest.raises(InputError, match=r"run\.json: the run was started with batch_size 4, not 8"):
        train(particles, replace(QUICK, batch_size=8), out=tmp_path / "run", resume=True)
    with pytest.raises(InputError, match="started with particles 12, not 11"):
        train(particles.select(range(11)), QUICK, out=tmp_path / "run", resume=True)


def test_starts_from_given_weights_and_leaves_them_alone(
    particles: Particles, tmp_path: Path, generator: torch.Generator
) -> None:
    start = GumNet(replace(SMALL, box=BOX, head="euler"), generator=generator)
    before = {k: v.clone() for k, v in start.state_dict().items()}
    tuned = train(particles, replace(QUICK, epochs=1, learning_rate=1e-7), out=tmp_path / "run", model=start)
    assert tuned.config == start.config
    assert all(torch.equal(start.state_dict()[k], v) for k, v in before.items())
    moved = [float((p.detach() - before[k]).abs().max()) for k, p in tuned.named_parameters()]
    assert 0 < max(moved) < 1e-6


def test_what_cannot_be_trained_on_is_refused(particles: Particles, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 particles are too few"):
        train(particles.select([0]), QUICK, out=tmp_path / "run")
    other = GumNet(replace(SMALL, box=24))
    with pytest.raises(InputError, match="a model for another box: it is for 24 voxels a side, the particles have 20"):
        train(particles, QUICK, out=tmp_path / "run", model=other)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 1),
        ("learning_rate", 0.0),
        ("learning_rate_decay", 1.5),
        ("validation_fraction", 1.0),
        ("unobserved", "guess"),
        ("precision", "float16"),
        ("bands", (0.5, 0.25)),
        ("epochs_per_band", -1),
        ("consistency", -0.5),
        ("cache_gigabytes", -1.0),
    ],
)
def test_settings_that_make_no_sense_are_named(name: str, value: object) -> None:
    with pytest.raises(InputError, match=re.escape(f"{name} is {value}")):
        replace(QUICK, **{name: value})  # type: ignore[arg-type]


def test_two_particles_train_without_validation_and_without_weights(tmp_path: Path, generator: torch.Generator) -> None:
    two = Particles.from_tensors(phantoms(2, BOX, generator, 1.0), voxel_size_angstrom=10.0)
    config = replace(QUICK, validation_fraction=0.0, precision="bfloat16", epochs=1)
    train(two, config, out=tmp_path / "run")
    assert metrics(tmp_path / "run")[-1]["validation_loss"] is None


def test_a_loss_that_blows_up_stops_the_run(particles: Particles, tmp_path: Path) -> None:
    blown = GumNet(replace(SMALL, box=BOX))
    torch.nn.init.constant_(blown.head.last.weight, torch.inf)
    with pytest.raises(FloatingPointError, match="the loss is nan at step 0; train with a lower learning_rate"):
        train(particles, QUICK, out=tmp_path / "run", model=blown)
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_thirty_steps_bring_the_loss_down_on_clean_phantoms(tmp_path: Path, generator: torch.Generator) -> None:
    # Shifts can be read off the features at once, so few pairs are learnt by heart in few steps.
    box = 24
    volumes = phantoms(4, box, generator, 4.0)
    particles = Particles.from_tensors(volumes, voxel_size_angstrom=10.0)
    config = TrainConfig(
        network=PRESETS["tiny"],
        epochs=10,
        pairs_per_epoch=24,
        batch_size=8,
        learning_rate=3e-3,
        learning_rate_decay=1.0,
        validation_fraction=0.0,
        device="cpu",
    )
    train(particles, config, out=tmp_path / "run")
    losses = [r["loss"] for r in metrics(tmp_path / "run") if "step" in r]
    assert len(losses) == 30
    pairs = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    still = alignment_loss(
        volumes[pairs[:, 0]], volumes[pairs[:, 1]], torch.eye(3).expand(12, 3, 3), torch.zeros(12, 3)
    )
    assert losses[0] == pytest.approx(float(still.mean()), abs=0.15)
    assert sum(losses[-6:]) / 6 < 0.6 * float(still.mean())
