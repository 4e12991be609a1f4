"""What the runners of other programs share."""

import importlib

import numpy as np
import pytest
import torch

import gumnet
from gumnet.benchmark.seconds import Seconds
from gumnet.geometry.fourier import to_fourier
from gumnet.geometry.so3 import random_rotations


@pytest.mark.parametrize("box", [6, 7])
def test_weights_of_the_half_transform_become_those_of_the_whole(benchmarks, box, generator):
    acryo_pairs = importlib.import_module("peers.acryo_pairs")
    volume = torch.rand(box, box, box, generator=generator)
    whole = acryo_pairs.both_halves(to_fourier(volume).abs().square())
    np.testing.assert_allclose(whole, np.abs(np.fft.fftn(volume.numpy())) ** 2, rtol=1e-3, atol=1e-3)


def test_cache_gives_back_what_was_put_in(benchmarks, tmp_path, generator):
    cache = importlib.import_module("peers.cache")
    volumes = torch.rand(2, 4, 4, 4, generator=generator)
    keys = [cache.key_of("program 1", {"low_pass": None}, [volume, None]) for volume in volumes]
    pose = gumnet.Poses.of(random_rotations(1, generator=generator), torch.ones(1, 3, dtype=torch.float64))
    cache.Cache(tmp_path / "found.jsonl").put(keys[0], pose, Seconds(2.0, 1.0))
    again = cache.Cache(tmp_path / "found.jsonl")
    found, cost = again.get(keys[0])
    assert torch.equal(found.rotations, pose.rotations)
    assert torch.equal(found.shifts, pose.shifts)
    assert cost == Seconds(2.0, 1.0)
    assert again.get(keys[1]) is None
    assert again.get(cache.key_of("program 2", {"low_pass": None}, [volumes[0], None])) is None
    assert again.hits == 1
