from __future__ import annotations

import pytest
import torch

from gumnet.errors import InputError
from gumnet.evaluation.partition import adjusted_rand_index, contingency, rightly_classified


def test_names_of_classes_mean_nothing() -> None:
    truth = torch.tensor([1, 1, 1, 2, 2, 3])
    found = torch.tensor([7, 7, 2, 2, 2, 5])
    assert rightly_classified(found, truth).tolist() == [True, True, False, True, True, True]
    assert contingency(found, truth).tolist() == [[1, 2, 0], [0, 0, 1], [2, 0, 0]]


def test_the_best_assignment_is_not_the_greedy_one() -> None:
    # Class 1 holds 5 of A and 4 of B, class 2 holds 4 of A and none of B: A is 2 and B is 1.
    found = torch.tensor([1] * 9 + [2] * 4)
    truth = torch.tensor([1] * 5 + [2] * 4 + [1] * 4)
    assert int(rightly_classified(found, truth).sum()) == 8


def test_more_classes_than_labels_leave_some_without() -> None:
    assert int(rightly_classified(torch.tensor([1, 2, 3, 4]), torch.tensor([1, 1, 2, 2])).sum()) == 2


def test_adjusted_rand_index_of_a_known_table() -> None:
    # Table 3 2 / 1 4: 3 + 1 + 0 + 6 pairs together, 10 + 10 and 6 + 15 in the margins, 45 in all.
    found = torch.tensor([1] * 5 + [2] * 5)
    truth = torch.tensor([1, 1, 1, 2, 2, 1, 2, 2, 2, 2])
    expected = 20 * 21 / 45
    assert adjusted_rand_index(found, truth) == pytest.approx((10 - expected) / (20.5 - expected))
    assert adjusted_rand_index(found, 3 - found) == 1
    assert adjusted_rand_index(torch.ones(4), torch.ones(4)) == 1
    assert adjusted_rand_index(torch.arange(4), torch.arange(4)) == 1
    assert adjusted_rand_index(torch.ones(4), torch.arange(4)) == 0


def test_adjusted_rand_index_is_nought_on_average(generator: torch.Generator) -> None:
    truth = torch.arange(60) % 3
    values = [adjusted_rand_index(truth[torch.randperm(60, generator=generator)], truth) for _ in range(200)]
    assert abs(sum(values) / 200) < 0.01


def test_labels_must_fit() -> None:
    with pytest.raises(InputError, match="3 found labels"):
        contingency(torch.ones(3), torch.ones(2))
    with pytest.raises(InputError, match="0 found labels"):
        contingency(torch.ones(0), torch.ones(0))
