"""What is printed of methods that ran on different pairs, and of confidences."""

import importlib

import numpy as np
import pytest
import torch

import gumnet
from gumnet.geometry.fourier import to_fourier
from gumnet.geometry.so3 import random_rotations, rotation_from_vector


@pytest.fixture(scope="module")
def tables(benchmarks):
    return importlib.import_module("tables")


def _turned(truth, degrees):
    vectors = torch.zeros(len(truth), 3, dtype=torch.float64)
    vectors[:, 2] = torch.deg2rad(torch.as_tensor(degrees, dtype=torch.float64))
    return gumnet.Poses.of(truth.rotations @ rotation_from_vector(vectors), truth.shifts)


def test_methods_are_compared_on_the_pairs_that_both_had(tables, benchmarks, generator):
    seconds = importlib.import_module("common").Seconds(1.0, 1.0)
    truth = gumnet.Poses.of(random_rotations(6, generator=generator), torch.zeros(6, 3, dtype=torch.float64))
    few = torch.tensor([1, 4])
    measured = {
        "all": tables.Measured.of(torch.arange(6), _turned(truth, [50, 1, 50, 50, 2, 50]), truth, seconds),
        "few": tables.Measured.of(few, _turned(truth[few], [10, 20]), truth[few], seconds),
    }
    (found,) = tables.differences({"snr": 1.0, "noise": "white"}, measured)
    angles = torch.deg2rad(torch.tensor([[1.0, 2.0], [10.0, 20.0]], dtype=torch.float64))
    chords = 8**0.5 * torch.sin(angles / 2)
    assert found["n"] == 2
    assert found["frobenius"]["mean"] == pytest.approx(float((chords[0] - chords[1]).mean()), rel=1e-6)
    assert "few" in tables.differences_table([found])


def test_calibration_counts_what_is_right_among_the_sure(tables):
    confidences = torch.tensor([0.95, 0.9, 0.99, 0.5, 0.2])
    found = tables.Calibration.of(confidences, torch.tensor([1.0, 16.0, 14.0, 1.0, 100.0]))
    assert found.sure == pytest.approx(3 / 5)
    assert found.right == pytest.approx(2 / 3)
    assert tables.Calibration.of(torch.zeros(5), torch.zeros(5)).right is None


@pytest.mark.parametrize("box", [6, 7])
def test_weights_of_the_half_transform_become_those_of_the_whole(benchmarks, box, generator):
    acryo_pairs = importlib.import_module("peers.acryo_pairs")
    volume = torch.rand(box, box, box, generator=generator)
    whole = acryo_pairs.both_halves(to_fourier(volume).abs().square())
    np.testing.assert_allclose(whole, np.abs(np.fft.fftn(volume.numpy())) ** 2, rtol=1e-3, atol=1e-3)


def test_cache_gives_back_what_was_put_in(benchmarks, tmp_path, generator):
    cache, seconds = importlib.import_module("peers.cache"), importlib.import_module("common").Seconds
    volumes = torch.rand(2, 4, 4, 4, generator=generator)
    keys = [cache.key_of("program 1", {"low_pass": None}, [volume, None]) for volume in volumes]
    pose = gumnet.Poses.of(random_rotations(1, generator=generator), torch.ones(1, 3, dtype=torch.float64))
    cache.Cache(tmp_path / "found.jsonl").put(keys[0], pose, seconds(2.0, 1.0))
    again = cache.Cache(tmp_path / "found.jsonl")
    found, cost = again.get(keys[0])
    assert torch.equal(found.rotations, pose.rotations)
    assert torch.equal(found.shifts, pose.shifts)
    assert cost == seconds(2.0, 1.0)
    assert again.get(keys[1]) is None
    assert again.get(cache.key_of("program 2", {"low_pass": None}, [volumes[0], None])) is None
    assert again.hits == 1
