"""The statistics of the benchmarks against closed forms and scipy."""

import math

import pytest
import torch
from scipy import stats

from gumnet.benchmark.intervals import holm, mean_interval, paired_difference, rate_interval, share_interval


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


@pytest.mark.parametrize(("count", "total"), [(0, 12), (3, 40), (12, 12)])
def test_interval_of_a_share_is_that_of_wilson(count, total):
    wanted = stats.binomtest(count, total).proportion_ci(method="wilson")
    found = share_interval(count, total)
    assert found.mean == count / total
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


def test_rate_weighs_batches_by_their_size():
    found = rate_interval([16, 16, 4], [3.2, 1.6, 0.4])
    assert found.mean == pytest.approx(5.2 / 36)
    # Resampled batches cannot cost less than the cheapest, or more than the dearest.
    assert 0.1 - 1e-12 <= found.low < found.mean < found.high <= 0.2 + 1e-12
    assert math.isnan(rate_interval([16], [1.0]).low), "one batch says nothing of the spread"


def test_holm_on_the_example_of_its_paper():
    # Sorted p times 3, 2, 1, and never less than one before it.
    assert holm([0.02, 0.01, 0.04]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
