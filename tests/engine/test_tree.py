from __future__ import annotations

import pytest
import torch

from gumnet.engine.tree import TreeSum


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
def test_any_order_of_arrival_gives_the_same_bits(count: int, generator: torch.Generator) -> None:
    parts = torch.randn(count, 7, generator=generator) * 10.0 ** torch.randint(-8, 8, (count, 1), generator=generator)
    sums = []
    for _ in range(4):
        tree = TreeSum(count)
        for number in torch.randperm(count, generator=generator).tolist():
            tree.add(number, {"sum": parts[number]})
        result = tree.result()
        assert result is not None
        sums.append(result["sum"])
    assert all(torch.equal(each, sums[0]) for each in sums)
    largest = float(parts.abs().max())
    torch.testing.assert_close(sums[0].double(), parts.double().sum(dim=0), rtol=0, atol=1e-6 * largest)


def test_the_sum_of_pairs_of_pairs() -> None:
    # (1e16 + 1) + (-1e16 + 1), each rounded to even, is 0; from left to right it would be 1.
    tree = TreeSum(4)
    for number, value in ((3, 1.0), (0, 1e16), (2, -1e16), (1, 1.0)):
        tree.add(number, {"x": torch.tensor(value, dtype=torch.float64)})
    result = tree.result()
    assert result is not None
    assert result["x"] == 0.0


def test_parts_in_order_are_held_one_a_level() -> None:
    tree = TreeSum(1000)
    most = 0
    for number in range(1000):
        tree.add(number, {"x": torch.ones(1)})
        most = max(most, len(tree._held))
    result = tree.result()
    assert result is not None
    assert result["x"] == 1000
    assert most <= 10


def test_no_parts_have_no_sum() -> None:
    assert TreeSum(0).result() is None
