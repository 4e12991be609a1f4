"""What is printed of methods that ran on different pairs, and of confidences."""

import pytest
import torch

import gumnet
from gumnet.benchmark.measured import Calibration, Measured, differences
from gumnet.benchmark.seconds import Seconds
from gumnet.benchmark.text_table import differences_table
from gumnet.geometry.so3 import random_rotations, rotation_from_vector


def _turned(truth, degrees):
    vectors = torch.zeros(len(truth), 3, dtype=torch.float64)
    vectors[:, 2] = torch.deg2rad(torch.as_tensor(degrees, dtype=torch.float64))
    return gumnet.Poses.of(truth.rotations @ rotation_from_vector(vectors), truth.shifts)


def test_methods_are_compared_on_the_pairs_that_both_had(generator):
    seconds = Seconds(1.0, 1.0)
    truth = gumnet.Poses.of(random_rotations(6, generator=generator), torch.zeros(6, 3, dtype=torch.float64))
    few = torch.tensor([1, 4])
    measured = {
        "all": Measured.of(torch.arange(6), _turned(truth, [50, 1, 50, 50, 2, 50]), truth, seconds),
        "few": Measured.of(few, _turned(truth[few], [10, 20]), truth[few], seconds),
    }
    (found,) = differences({"snr": 1.0, "noise": "white"}, measured)
    angles = torch.deg2rad(torch.tensor([[1.0, 2.0], [10.0, 20.0]], dtype=torch.float64))
    chords = 8**0.5 * torch.sin(angles / 2)
    assert found["n"] == 2
    assert found["frobenius"]["mean"] == pytest.approx(float((chords[0] - chords[1]).mean()), rel=1e-6)
    assert "few" in differences_table([found])


def test_calibration_counts_what_is_right_among_the_sure():
    confidences = torch.tensor([0.95, 0.9, 0.99, 0.5, 0.2])
    found = Calibration.of(confidences, torch.tensor([1.0, 16.0, 14.0, 1.0, 100.0]))
    assert found.sure == pytest.approx(3 / 5)
    assert found.right == pytest.approx(2 / 3)
    assert Calibration.of(torch.zeros(5), torch.zeros(5)).right is None
