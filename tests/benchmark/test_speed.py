"""Counted operations against closed forms, and growth against what it is of."""

from __future__ import annotations

import math

import pytest
import torch

from gumnet.benchmark import speed
from gumnet.benchmark.peaks import busy, fastest
from gumnet.benchmark.seconds import Seconds
from gumnet.benchmark.speed import in_box, power_of
from gumnet.benchmark.traffic import Traffic
from gumnet.geometry.fourier import resize, shell_sums, to_fourier

CPU = torch.device("cpu")


def test_products_of_matrices_count_two_operations_a_term() -> None:
    a, b = torch.rand(3, 10, 20), torch.rand(3, 20, 30)
    with Traffic() as traffic:
        torch.bmm(a, b)
    assert traffic.flops == 2 * 3 * 10 * 20 * 30
    assert traffic.bytes == 4 * (a.numel() + b.numel() + 3 * 10 * 30)


def test_fourier_transforms_count_five_n_log_n_and_real_ones_half() -> None:
    volumes = torch.rand(4, 8, 8, 8)
    points = 4 * 8**3
    with Traffic() as real:
        torch.fft.irfftn(torch.fft.rfftn(volumes, dim=(1, 2, 3)), s=(8, 8, 8), dim=(1, 2, 3))
    assert real.flops >= 2 * 2.5 * points * math.log2(8**3) * 0.99
    with Traffic() as whole:
        torch.fft.fftn(volumes.to(torch.complex64), dim=(1, 2, 3))
    assert whole.flops == pytest.approx(5 * points * math.log2(8**3))


def test_views_move_nothing_and_expanded_tensors_no_more_than_they_hold() -> None:
    a = torch.rand(100)
    with Traffic() as views:
        a.view(10, 10).T[2:5].expand(4, 3, 10)
    assert views.bytes == 0
    with Traffic() as sums:
        a[:1].expand(1000) + 1.0
    assert sums.bytes == 4 * (100 + 1000)


def test_busy_time_is_that_of_the_threads_on_a_cpu_and_of_the_wall_on_a_gpu() -> None:
    assert busy(Seconds(8.0, 3.0), CPU) == pytest.approx(3.0 / torch.get_num_threads())
    assert busy(Seconds(8.0, 3.0), torch.device("cuda")) == 8.0
    done: list[int] = []
    assert fastest(lambda: done.append(1), CPU, repeats=3) > 0
    assert len(done) == 4


def test_power_of_growth() -> None:
    assert power_of({"16": 2.0, "32": 16.0, "64": 128.0}) == pytest.approx(3.0)
    assert power_of({"16": 2.0}) is None


def test_boxes_of_growing_size_have_the_same_noise_in_the_same_shells(
    structure: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "phantom", lambda seed, box: resize(structure[None], box)[0])
    power = []
    for box in (24, 32):
        made = in_box(box, 4, seed=1)
        shells = shell_sums(to_fourier(made.particles.read_volumes([0, 2, 4, 6])).abs() ** 2, box).mean(dim=0)
        shells /= shell_sums(torch.ones(box, box, box // 2 + 1), box)
        # The structure over the noise, which is alone in high shells.
        power.append(float(shells[1:4].mean() / shells[10:12].mean()))
    assert power[0] == pytest.approx(power[1], rel=0.2)
