"""The statistics of the benchmarks against closed forms and scipy."""

import math

import pytest
import torch
from scipy import stats

from gumnet.benchmark.intervals import mean_interval, paired_difference


def test_interval_of_a_mean_is_that_of_the_central_limit_theorem(generator):
    values = torch.randn(400, generator=generator, dtype=torch.float64) * 2 + 5
    found = mean_interval(values)
    half = 1.96 * float(values.std()) / math.sqrt(400)
    assert found.mean == pytest.approx(float(values.mean()))
    assert found.high - found.mean == pytest.approx(half, rel=0.05)
    assert found.mean - found.low == pytest.approx(half, rel=0.05)


def test_pairing_removes_what_both_methods_share(generator):
    hardness = torch.rand(100, generator=generator, dtype=torch.float64) * 10
    noise = torch.randn(100, generator=generator, dtype=torch.float64) * 0.1
    found = paired_difference(hardness + 0.2 + noise, hardness)
    assert found.mean == pytest.approx(0.2, abs=0.05)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.1 / 10, rel=0.3)
    assert found.low > 0
    assert found.n == 100


def test_p_is_that_of_the_exact_permutation_test(generator):
    differences = torch.randn(12, generator=generator, dtype=torch.float64) + 0.5
    exact = stats.permutation_test(
        (differences.numpy(),), lambda x: x.mean(), permutation_type="samples", n_resamples=math.inf
    )
    found = paired_difference(differences, torch.zeros(12))
    assert found.p == pytest.approx(exact.pvalue, abs=0.015)  # three standard errors of 10,000 draws


def test_equal_methods_differ_by_nothing():
    found = paired_difference(torch.ones(10), torch.ones(10))
    assert (found.mean, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_p_of_errors_from_one_source_is_uniform(generator):
    draws = torch.randn(60, 2, 30, generator=generator, dtype=torch.float64)
    p = [paired_difference(first, second).p for first, second in draws]
    assert stats.kstest(p, "uniform").pvalue > 0.01
