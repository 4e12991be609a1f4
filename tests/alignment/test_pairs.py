from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gumnet
from gumnet.alignment.aligner import AlignerOptions
from gumnet.alignment.batch import batching_for
from gumnet.alignment.pairs import align_pairs
from gumnet.errors import InputError
from gumnet.geometry.so3 import angular_distance_degrees, rotation_from_vector
from gumnet.geometry.wedge import missing_wedge
from gumnet.model.gumnet import GumNet, preset
from gumnet.model.weights import save_model
from tests.oracles.gaussians import density

BOX = 28
ROTATION = rotation_from_vector(torch.deg2rad(torch.tensor([6.0, -8.0, 5.0], dtype=torch.float64)))
SHIFT = torch.tensor([1.4, -0.8, 2.2], dtype=torch.float64)


def one_pair() -> tuple[torch.Tensor, torch.Tensor]:
    return density(BOX)[None], density(BOX, ROTATION, SHIFT)[None]


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "big-endian", "read-only", "tensor"])
def test_arrays_and_tensors_of_any_real_type(kind: str) -> None:
    a, b = one_pair()
    give: Any = {
        "float16": lambda v: v.numpy().astype(np.float16),
        "float32": lambda v: v.numpy().astype(np.float32),
        "float64": lambda v: v.numpy(),
        "big-endian": lambda v: v.numpy().astype(">f4"),
        "read-only": lambda v: _read_only(v.numpy()),
        "tensor": lambda v: v,
    }[kind]
    poses = align_pairs(give(a), give(b))
    assert angular_distance_degrees(poses.rotations, ROTATION[None]).item() < 0.5
    torch.testing.assert_close(poses.shifts, SHIFT[None], atol=0.05, rtol=0)


def _read_only(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values.flags.writeable = False
    return values


def test_the_batch_size_does_not_change_the_result(generator: torch.Generator) -> None:
    a, b = (v.expand(3, -1, -1, -1).float() for v in one_pair())
    b = b + 0.05 * torch.randn(b.shape, generator=generator)
    wedge = missing_wedge(BOX, 60.0)
    one = align_pairs(a, b, weights_b=wedge, batch_size=1)
    two = align_pairs(a, b, weights_b=wedge.expand(3, -1, -1, -1), batch_size=2)
    torch.testing.assert_close(one.rotations, two.rotations, atol=1e-3, rtol=0)
    torch.testing.assert_close(one.shifts, two.shifts, atol=1e-3, rtol=0)


def test_memory_bounds_the_batch() -> None:
    small, large = (
        batching_for(AlignerOptions(), box, torch.device("cpu"), shared_reference=False, threads=1).size
        for box in (32, 96)
    )
    assert small > 4
    assert large < 4


GOOD = torch.randn(2, 16, 16, 16, generator=torch.Generator().manual_seed(1))
SPOILT = GOOD.clone()
SPOILT[1, 3, 4, 5] = torch.nan
FLAT = GOOD.clone()
FLAT[1] = 2.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"a": GOOD[0]}, r"a has shape \(16, 16, 16\).*\(n, N, N, N\)"),
        ({"a": GOOD[:, :, :8]}, "a has shape"),
        ({"b": GOOD[:1]}, "b has shape"),
        ({"b": GOOD[:, :12, :12, :12]}, "same box"),
        ({"a": GOOD[:0], "b": GOOD[:0]}, "a holds no volume"),
        ({"b": SPOILT}, r"b\[1\] holds NaN"),
        ({"a": FLAT}, r"a\[1\] is constant"),
        ({"a": np.array(["x"])}, "a is of type"),
        ({"a": GOOD.to(torch.complex64)}, "a is of type"),
        ({"weights_a": torch.ones(16, 16, 16)}, r"weights_a has shape \(16, 16, 16\).*\(16, 16, 9\)"),
        ({"weights_b": torch.ones(3, 16, 16, 9)}, "weights_b has shape"),
        ({"weights_b": -torch.ones(16, 16, 9)}, "weights_b holds negative"),
        ({"weights_b": torch.zeros(16, 16, 9)}, "0 everywhere"),
        ({"method": "magic"}, "unknown method 'magic'.*exhaustive, fa, gumnet, ht"),
        ({"max_shift": -1.0}, "max_shift"),
        ({"max_shift": float("nan")}, "max_shift"),
        ({"max_shift": 8.5}, "max_shift 8.5 is not possible in a box of 16 voxels; give 0 to 8 voxels"),
        ({"memory_gigabytes": 0.1}, "0.1 GB of memory do not hold one particle of box 16; allow"),
        ({"batch_size": 0}, "batch_size"),
        ({"device": "toaster"}, "unknown device"),
    ],
)
def test_bad_input_gets_one_line_that_names_the_argument(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        align_pairs(**{"a": GOOD, "b": GOOD, **arguments})
    assert "\n" not in str(caught.value)


def test_the_network_gives_a_start_that_is_refined(tmp_path: Path, generator: torch.Generator) -> None:
    # A fresh network answers the identity, 11 degrees from the truth.
    model = GumNet(preset("tiny", BOX), generator=generator)
    shift = 0.5 * SHIFT
    a, b = density(BOX)[None], density(BOX, ROTATION, shift)[None]
    plain = align_pairs(a, b, method="gumnet", model=model, refine=False)
    torch.testing.assert_close(plain.rotations, torch.eye(3, dtype=torch.float64)[None], atol=1e-3, rtol=0)
    assert model.training
    path = tmp_path / "model.safetensors"
    save_model(path, model)
    refined = align_pairs(a, b, method="gumnet", model=path)
    assert angular_distance_degrees(refined.rotations, ROTATION[None]).item() < 0.5
    assert refined.scores.item() > plain.scores.item()


def test_a_model_for_another_box_is_refused(generator: torch.Generator) -> None:
    model = GumNet(preset("tiny", 32), generator=generator)
    with pytest.raises(InputError, match="box of 32, the volumes are of 28"):
        align_pairs(*one_pair(), method="gumnet", model=model)


def test_the_public_name_is_this_function() -> None:
    assert gumnet.align_pairs is align_pairs
