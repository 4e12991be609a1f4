"""The order of methods says what is significant, and what is a tie."""

from __future__ import annotations

import torch
from torch import Tensor

from gumnet.benchmark.order import Order


def errors(generator: torch.Generator, n: int = 60) -> dict[str, Tensor]:
    """Return errors of a method, of one that is the same but for noise, and of one that is half as far off again."""
    hardness = torch.rand(n, generator=generator, dtype=torch.float64)
    noise = 0.02 * torch.randn(n, generator=generator, dtype=torch.float64)
    noise = noise - noise.mean() + 1e-4
    return {"far": 1.5 * hardness + 0.1, "near": hardness - noise, "same": hardness + noise}


def test_the_clearly_worse_is_last_and_the_rest_is_a_tie(generator: torch.Generator) -> None:
    order = Order.of(errors(generator))
    best, second, last = order.names
    assert (best, second, last) == ("near", "same", "far")
    assert order.tied_with_best() == (second,)
    assert order.chain() == f"{best} ~ {second} < far"
    assert order.verdict() == f"Best: {best}; not significantly worse: {second}."


def test_a_winner_is_called_one_only_against_all(generator: torch.Generator) -> None:
    given = errors(generator)
    order = Order.of({name: given[name] for name in ("far", "near")})
    assert order.chain() == "near < far"
    assert order.verdict().startswith("Best: near, significantly better than every other")


def test_what_differs_by_chance_is_called_equal(generator: torch.Generator) -> None:
    called = 0
    for _ in range(10):
        draws = torch.rand(5, 20, generator=generator, dtype=torch.float64)
        called += len(Order.of({str(i): draw for i, draw in enumerate(draws)}).tied_with_best()) < 4
    assert called <= 2, "ten pairs are tested in each of ten rounds: without adjustment five rounds would find one"


def test_one_method_has_no_rival(generator: torch.Generator) -> None:
    assert Order.of({"ht": torch.rand(5, generator=generator)}).verdict() == "Only ht ran."
