"""Weights on disk: they come back, they are small, and a wrong file says what is wrong."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gumnet.errors import InputError
from gumnet.model.gumnet import PRESETS, GumNet
from gumnet.model.weights import load_model, save_model

TINY = replace(PRESETS["tiny"], box=24, head="euler")
HEADER = {"format": "gumnet-1", "network": json.dumps(asdict(TINY))}


@pytest.fixture
def network(generator: torch.Generator) -> GumNet:
    """Return a network in which every tensor, the statistics of batch norms too, differs from its start."""
    model = GumNet(TINY, generator=generator)
    torch.nn.init.normal_(model.head.last.weight, std=0.2, generator=generator)
    for _ in range(3):
        model(*torch.randn(2, 2, 24, 24, 24, generator=generator))
    return model.eval()


def test_round_trip_gives_the_same_network(network: GumNet, tmp_path: Path, generator: torch.Generator) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, network)
    loaded = load_model(path)
    assert loaded.config == network.config
    assert not loaded.training
    a, b = torch.randn(2, 2, 24, 24, 24, generator=generator)
    with torch.no_grad():
        for found, expected in zip(loaded(a, b), network(a, b), strict=True):
            assert torch.equal(found, expected)


def test_half_precision_halves_the_file_and_keeps_the_pose(
    network: GumNet, tmp_path: Path, generator: torch.Generator
) -> None:
    save_model(tmp_path / "full.safetensors", network)
    save_model(tmp_path / "half.safetensors", network, half=True)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.55 * sizes[0]
    loaded = load_model(tmp_path / "half.safetensors")
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    a, b = torch.randn(2, 2, 24, 24, 24, generator=generator)
    with torch.no_grad():
        for found, expected in zip(loaded(a, b), network(a, b), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=0.02)


def test_loads_for_another_box(network: GumNet, tmp_path: Path) -> None:
    save_model(tmp_path / "m.safetensors", network)
    assert load_model(tmp_path / "m.safetensors", box=32).config == replace(TINY, box=32)


def test_existing_file_is_refused(network: GumNet, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, network)
    with pytest.raises(InputError, match="exists"):
        save_model(path, network)
    save_model(path, network, overwrite=True)


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.safetensors: there is no such file"):
        load_model(tmp_path / "none.safetensors")
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"not tensors at all")
    with pytest.raises(InputError, match=r"junk\.safetensors: is not a whole safetensors file"):
        load_model(junk)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"w": torch.ones(1)}, foreign)
    with pytest.raises(InputError, match=r"foreign\.safetensors: .* not of the format gumnet-1"):
        load_model(foreign)


def test_truncated_file_is_named(network: GumNet, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, network)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"m\.safetensors: is not a whole safetensors file"):
        load_model(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"weights 'head.last.bias' are missing"),
        ("shape", r"weights 'head.last.bias' have shape \(7,\), .* \(6,\)"),
        ("extra", r"weights 'other' belong to no layer"),
        ("nan", r"weights 'head.last.bias' hold NaN"),
    ],
)
def test_weights_that_do_not_fit_are_named(network: GumNet, tmp_path: Path, change: str, message: str) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, network)
    tensors = load_file(path)
    if change == "missing":
        del tensors["head.last.bias"]
    elif change == "shape":
        tensors["head.last.bias"] = torch.zeros(7)
    elif change == "extra":
        tensors["other"] = torch.zeros(1)
    else:
        tensors["head.last.bias"][0] = torch.nan
    save_file(tensors, path, metadata=HEADER)
    with pytest.raises(InputError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ("{}", "cannot be read"),
        (json.dumps({**asdict(TINY), "depth": 3}), "unknown field 'depth'"),
        (json.dumps({**asdict(TINY), "pooling": "median"}), "unknown pooling"),
        (json.dumps({**asdict(TINY), "box": 4}), "too small"),
    ],
)
def test_descriptions_that_make_no_network_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"w": torch.ones(1)}, path, metadata={"format": "gumnet-1", "network": text})
    with pytest.raises(InputError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
